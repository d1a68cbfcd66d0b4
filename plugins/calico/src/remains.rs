//! What the agent and the plugin have put on nodes, beside what the ledger knows.

use ksp_sdk::leftovers::Leftovers;
use ksp_sdk::prelude::*;

use crate::pool::{Pool, is_v6};

/// Files and folders.
const PATHS: &[&str] = &[
    "/etc/cni/net.d/10-calico.conflist",
    "/etc/cni/net.d/10-calico.conflist.staged",
    "/etc/cni/net.d/calico-kubeconfig",
    "/opt/cni/bin/calico",
    "/opt/cni/bin/calico-ipam",
    "/run/calico",
    "/var/lib/calico",
    "/var/log/calico",
];

/// Where the agent mounts the machine's control groups for eBPF programs.
const CGROUPS: &str = "/run/calico/cgroup";

/// Takes them away.
pub fn remove(cx: &Context, nodes: &Nodes, pools: &[Pool], spec: &Spec) {
    let plan = cx.plan();
    let unmounted = argv!["test", "!", "-e", format!("{CGROUPS}/cgroup.procs")];
    plan.exec(nodes, ["umount", CGROUPS]).unless(unmounted);
    for path in PATHS {
        plan.absent(nodes, path);
    }
    Leftovers {
        interfaces: &[
            "cali*",
            "vxlan.calico",
            "vxlan-v6.calico",
            "wireguard.cali",
            "wg-v6.cali",
            "bpfin.cali",
            "bpfout.cali",
        ],
        chains: &["cali-", "CNI-"],
        comments: &["cali:"],
        tables: &["ip calico", "ip6 calico"],
        sets: &["cali40", "cali60"],
        // With eBPF; the agent makes the folders in any case.
        pins: &["/sys/fs/bpf/tc/globals/cali_*", "/sys/fs/bpf/ctlb"],
        programs: &["cali"],
    }
    .remove(&plan, nodes);
    // Blocks of the node itself and of others: every route within a pool is Calico's.
    for pool in pools {
        let family = if is_v6(pool.cidr(spec)) { "-6" } else { "-4" };
        plan.exec(nodes, ["ip", family, "route", "flush", "root", pool.cidr(spec)]);
    }
}
