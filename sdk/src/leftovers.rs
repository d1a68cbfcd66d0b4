//! What the pods of a network leave in a node's kernel, for `teardown`: they write there themselves, so that no ledger lists it.

use std::time::Duration;

use crate::node::Targets;
use crate::{Op, Plan, argv};

const SCRIPT: &str = include_str!("leftovers.sh");

/// Names of one network's own things. Nothing else is touched: tables are never flushed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Leftovers<'a> {
    /// Interfaces; `*` stands for any characters: "cali*".
    pub interfaces: &'a [&'a str],
    /// What the names of iptables' chains begin with. The rules that lead to them go as well.
    pub chains: &'a [&'a str],
    /// What the comments of rules begin with that stand in other chains: "cali:". Rules that lead to `chains` need none.
    pub comments: &'a [&'a str],
    /// Tables of nftables with their family: "ip flannel-ipv4".
    pub tables: &'a [&'a str],
    /// What the names of IP sets begin with. Seen only where the node has `ipset`.
    pub sets: &'a [&'a str],
    /// Paths below /sys/fs/bpf, folders with what is in them; `*` stands for any characters: "/sys/fs/bpf/tc/globals/cali_*".
    pub pins: &'a [&'a str],
    /// What the names of eBPF programs begin with that are filters of interfaces: "cil_". Seen only where the node has `tc`.
    pub programs: &'a [&'a str],
}

impl Leftovers<'_> {
    /// Removes them, after what uses them has ended. Needs the grant `exec`.
    pub fn remove(&self, plan: &Plan, nodes: impl Targets) -> Op {
        plan.exec(nodes, self.argv())
            .stdin(SCRIPT)
            .summary(format!("remove {} from the kernel", self.words().join(", ")))
            .timeout(Duration::from_secs(60))
    }

    fn words(&self) -> Vec<&str> {
        [self.interfaces, self.chains, self.comments, self.tables, self.sets, self.pins, self.programs]
            .concat()
    }

    fn argv(&self) -> Vec<String> {
        let mut argv = argv!["sh", "-s", "--"];
        let kinds = [
            ("interface", self.interfaces),
            // Before the chains, which some of them lead to.
            ("comment", self.comments),
            ("chain", self.chains),
            ("table", self.tables),
            ("set", self.sets),
            ("program", self.programs),
            ("pin", self.pins),
        ];
        for (kind, names) in kinds {
            argv.extend(names.iter().map(|name| format!("{kind}={name}")));
        }
        argv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_an_argument_with_its_kind() {
        let leftovers = Leftovers {
            interfaces: &["cni0", "cali*"],
            chains: &["KUBE-"],
            comments: &["kube:"],
            tables: &["ip kube-proxy"],
            pins: &["/sys/fs/bpf/tc/globals/cali_*"],
            programs: &["cali"],
            ..Leftovers::default()
        };
        let argv = leftovers.argv();
        assert_eq!(
            argv[3..],
            [
                "interface=cni0",
                "interface=cali*",
                "comment=kube:",
                "chain=KUBE-",
                "table=ip kube-proxy",
                "program=cali",
                "pin=/sys/fs/bpf/tc/globals/cali_*"
            ]
        );
    }
}
