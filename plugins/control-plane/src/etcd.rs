//! The stacked etcd: kubeadm makes its static pods; here is what is around them.

use ksp_sdk::etcd::{Etcd, KEPT_WITH_DATA, RunBy};
use ksp_sdk::prelude::*;

use crate::{ControlPlane, settings};

/// Where the members keep their data: kubeadm's default.
pub const DATA: &str = "/var/lib/etcd";

/// etcd's own default, in milliseconds: how long members wait for a leader.
const ELECTION: u64 = 1000;

const API_SERVER: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const MANIFEST: &str = "/etc/kubernetes/manifests/etcd.yaml";

/// `etcdctl` and `etcdutl`, for `ksp etcd` and for people.
pub fn tools(cx: &Context, stage: &ControlPlane, nodes: &Nodes) -> Result<()> {
    let release = cx.release("etcd", &stage.etcd_tools)?;
    cx.plan().unpack(nodes, "/usr/local/bin", &release, 1, &["etcdctl", "etcdutl"]).prepare();
    Ok(())
}

/// What a member that is about to be made finds in place. Never put back later: see [`KEPT_WITH_DATA`].
pub fn prepare(cx: &Context, nodes: &Nodes) -> Result<()> {
    let plan = cx.plan();
    plan.directory(nodes, DATA).mode(0o700);
    plan.directory(nodes, format!("{DATA}/member")).mode(0o700);
    plan.file(nodes, trusted(), ksp_sdk::etcd::authority(cx)?.certificate());
    ksp_sdk::etcd::require_disk(cx, nodes, DATA, ELECTION);
    Ok(())
}

/// A control plane whose etcd has lost its data gets a new member: first nothing may run there that would begin with the empty
/// folder, then it is filled by the others. `before` is done by then.
///
/// The API server goes meanwhile: the kubelet asks the one on its own node, which without its etcd does not answer for minutes, and the
/// kubelet starts no static pod until it does.
pub fn refill(cx: &Context, node: &Node, join: &Secret, before: &Op) -> Result<Op> {
    let plan = cx.plan();
    plan.absent(node, API_SERVER).after(before);
    plan.absent(node, MANIFEST);
    let silent = "test -z \"$(crictl pods --name '^(etcd|kube-apiserver)-' --state ready -q)\"";
    plan.wait_for(node, ["sh", "-c", silent], Duration::from_secs(120))
        .summary("neither etcd nor the API server runs here");
    prepare(cx, &std::iter::once(node.clone()).collect())?;
    plan.exec(node, ["kubeadm", "join", "phase", "etcd-join", "--config=/dev/stdin"])
        .summary("make a new member of etcd with kubeadm")
        .stdin_secret(join)
        .timeout(Duration::from_secs(300));
    Ok(settings::api_server(cx, node))
}

/// The authority that a member checks the others against.
pub fn trusted() -> String {
    format!("{DATA}/{KEPT_WITH_DATA}")
}

/// How others find it.
pub fn layout(nodes: &Nodes) -> Etcd {
    let pki = "/etc/kubernetes/pki/etcd";
    Etcd {
        run_by: RunBy::Kubelet,
        nodes: nodes.iter().map(|node| node.name.clone()).collect(),
        data_dir: DATA.into(),
        ca: format!("{pki}/ca.crt"),
        certificate: format!("{pki}/healthcheck-client.crt"),
        key: format!("{pki}/healthcheck-client.key"),
    }
}
