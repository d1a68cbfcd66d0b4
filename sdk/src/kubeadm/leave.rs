//! Nodes leave their cluster.

use std::time::Duration;

use crate::leftovers::Leftovers;
use crate::{Context, Node, Op, argv};

/// Ends pods without the pod network.
const END_PODS: &str = include_str!("end_pods.sh");

/// What the kubelet and kubeadm leave when they have ended: an empty cgroup, empty folders.
const CLEAN_UP: &str = "systemctl stop kubepods.slice 2>/dev/null; \
    rmdir /etc/kubernetes/pki /etc/kubernetes/manifests /etc/kubernetes 2>/dev/null; \
    rmdir -p --ignore-fail-on-non-empty /usr/libexec/kubernetes/kubelet-plugins/volume/exec 2>/dev/null; true";

/// Chains of the kubelet's own, which it makes beside any proxy.
const KUBELET_CHAINS: &[&str] = &["KUBE-FIREWALL", "KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"];

/// What may do anything in the cluster, on control planes.
const ADMIN: &str = "--kubeconfig=/etc/kubernetes/admin.conf";

/// Takes a node out of its cluster, as far as kubeadm does, when `before` is done: pods evicted and the node object deleted through
/// `via`, a control plane that stays; then what kubeadm, the kubelet and etcd keep on the node. Returns the last op on the node.
pub fn leave(cx: &Context, node: &Node, via: &Node, before: Option<&Op>) -> Op {
    let name = node.name.as_str();
    let drained = drain(cx, node, via);
    let reset = reset(cx, node).after(&drained).after_all(before);
    // What the network did not let go.
    let ended = end_pods(cx, node).map(|op| op.after(&reset));
    let last = clean_up(cx, node, ended.as_ref().unwrap_or(&reset));
    let delete = argv!["kubectl", ADMIN, "delete", "node", name, "--ignore-not-found", "--timeout=30s"];
    cx.plan().exec(via, delete).summary(format!("delete the node object of {name}")).after(&last);
    last
}

/// Takes away what kubeadm, the kubelet and etcd keep on nodes when no control plane stays: nobody can be asked, and no quorum is left to
/// keep. Pods end everywhere first, so that kubeadm meets no etcd that is about to go.
pub fn dissolve<'a>(cx: &Context, nodes: impl IntoIterator<Item = &'a Node>) {
    let nodes: Vec<&Node> = nodes.into_iter().collect();
    let ended: Vec<Op> = nodes.iter().filter_map(|node| end_pods(cx, node)).collect();
    for node in nodes {
        let reset = reset(cx, node).after_all(&ended);
        drop(clean_up(cx, node, &reset));
    }
}

fn drain(cx: &Context, node: &Node, via: &Node) -> Op {
    let drain = argv![
        "kubectl",
        ADMIN,
        "drain",
        node.name.as_str(),
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--force",
        "--timeout=120s",
    ];
    let gone = argv!["sh", "-c", format!("! kubectl {ADMIN} get node {} >/dev/null 2>&1", node.name)];
    cx.plan()
        .exec(via, drain)
        .summary(format!("evict the pods of {}", node.name))
        .unless(gone)
        .timeout(Duration::from_secs(150))
}

fn reset(cx: &Context, node: &Node) -> Op {
    let mut argv = argv!["kubeadm", "reset", "--force"];
    argv.extend(socket(cx, node).map(|socket| format!("--cri-socket={socket}")));
    cx.plan()
        .exec(node, argv)
        .summary("leave the cluster with kubeadm")
        .unless(["test", "!", "-e", "/var/lib/kubelet/config.yaml"])
        .timeout(Duration::from_secs(180))
}

/// Nothing without a runtime.
fn end_pods(cx: &Context, node: &Node) -> Option<Op> {
    let argv = argv!["sh", "-s", "--", socket(cx, node)?];
    let op = cx.plan().exec(node, argv).stdin(END_PODS).timeout(Duration::from_secs(120));
    Some(op.summary("end what is left of pods"))
}

/// After `gone`, when the kubelet has ended.
fn clean_up(cx: &Context, node: &Node, gone: &Op) -> Op {
    let plan = cx.plan();
    let chains = Leftovers { chains: KUBELET_CHAINS, ..Leftovers::default() };
    let removed = chains.remove(&plan, node).after(gone);
    plan.exec(node, ["sh", "-c", CLEAN_UP]).summary("clean up after the kubelet").after(&removed)
}

fn socket(cx: &Context, node: &Node) -> Option<String> {
    cx.output_on(node, "runtime", "cri-socket")
}
