//! The settings of control planes that live: kept beside kubeadm as files, and rolled out when they change. One control plane at a
//! time; within one, etcd before the API server, each healthy before the next.

use ksp_sdk::kubeadm::{self, API_PORT};
use ksp_sdk::prelude::*;

use crate::external_etcd::ExternalEtcd;
use crate::{ControlPlane, config};

/// kubeadm's configuration of this node: what `kubeadm` on it can be run with by hand.
const CLUSTER: &str = "/etc/kubernetes/kubeadm/cluster.yaml";
/// The part that the member of etcd is made of: it changes only when etcd has to be restarted.
const ETCD: &str = "/etc/kubernetes/kubeadm/etcd.yaml";
/// Names in the API server's certificate, one a line.
const NAMES: &str = "/etc/kubernetes/kubeadm/cert-sans";

/// Longer than the script's own deadlines together.
const LONGEST: Duration = Duration::from_secs(1200);

/// The files on every node, and what follows a change of them on those that live. `first` tells the cluster.
///
/// Returns the op after which the cluster knows the settings.
pub fn keep(
    cx: &Context,
    stage: &ControlPlane,
    external: Option<&ExternalEtcd>,
    nodes: &Nodes,
    living: &Nodes,
    first: &Node,
) -> Result<Option<Op>> {
    let plan = cx.plan();
    let spec = cx.spec()?;
    let mut told = None;
    for node in nodes {
        let cri_socket = kubeadm::cri_socket(cx, node)?;
        let cluster = plan
            .file(node, CLUSTER, config::cluster_file(stage, &spec, external, node, &cri_socket))
            .mode(0o600);
        let etcd = external
            .is_none()
            .then(|| plan.file(node, ETCD, config::etcd_file(stage, &spec, node)).mode(0o600));
        let names = plan.file(node, NAMES, config::names(stage, &spec).join("\n") + "\n").mode(0o600);
        if !living.iter().any(|it| it.id == node.id) {
            continue;
        }
        if let Some(etcd) = &etcd {
            roll(cx, node, &Roll { phase: "etcd local", config: ETCD, components: "etcd", force: false })?
                .summary("roll out the settings of etcd")
                .on_change(etcd)
                .disruptive(
                    "this member of etcd and the API server beside it are restarted; the others go on",
                );
        }
        certificate(cx, node)?.on_change(&names);
        roll(
            cx,
            node,
            &Roll {
                phase: "control-plane apiserver",
                config: CLUSTER,
                components: "kube-apiserver",
                force: true,
            },
        )?
        .summary("serve with the new certificate")
        .on_change(&names)
        .disruptive("the API server of this node is restarted; the others go on");
        roll(
            cx,
            node,
            &Roll { phase: "control-plane all", config: CLUSTER, components: COMPONENTS, force: false },
        )?
        .summary("roll out the settings of the control plane")
        .on_change(&cluster)
        .disruptive(
            "API server, controller manager and scheduler of this node are restarted; the others go on",
        );
        // A run that was killed may have taken it away.
        api_server(cx, node).creates("/etc/kubernetes/manifests/kube-apiserver.yaml");
        if node.id == first.id {
            let upload = ["kubeadm", "init", "phase", "upload-config", "kubeadm", "--config", CLUSTER];
            told = Some(plan.exec(node, upload).summary("tell the cluster its settings").on_change(&cluster));
        }
    }
    Ok(told)
}

/// Puts the manifest of a node's API server in place.
pub fn api_server(cx: &Context, node: &Node) -> Op {
    let argv = ["kubeadm", "init", "phase", "control-plane", "apiserver", "--config", CLUSTER];
    cx.plan().exec(node, argv).summary("start the API server")
}

const COMPONENTS: &str = "kube-apiserver kube-controller-manager kube-scheduler";

struct Roll {
    phase: &'static str,
    config: &'static str,
    components: &'static str,
    force: bool,
}

fn roll(cx: &Context, node: &Node, roll: &Roll) -> Result<Op> {
    let server = node.at_port(API_PORT);
    let mut argv = argv![
        "sh",
        "-s",
        "--",
        roll.phase,
        roll.config,
        roll.components,
        node.name.as_str(),
        server,
        CLUSTER
    ];
    if roll.force {
        argv.push("restart".into());
    }
    Ok(cx.plan().exec(node, argv).stdin(&cx.asset("roll.sh")?).timeout(LONGEST))
}

/// See T20: other names do not make kubeadm issue another certificate.
fn certificate(cx: &Context, node: &Node) -> Result<Op> {
    let op = cx.plan().exec(node, ["sh", "-s", "--", CLUSTER]).stdin(&cx.asset("certificate.sh")?);
    Ok(op.summary("issue the API server's certificate anew"))
}

#[cfg(test)]
mod tests;
