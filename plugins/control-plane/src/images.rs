//! Images of the control plane, pulled while other nodes and stages are still being prepared.

use ksp_sdk::prelude::*;

use crate::ControlPlane;

/// etcd's image for a Kubernetes minor, as the last kubeadm of that minor lists it (`SupportedEtcdVersion` in its constants.go);
/// others are left for kubeadm to pull.
fn etcd_tag(minor: u64) -> Option<&'static str> {
    match minor {
        34..=36 => Some("3.6.8-0"),
        _ => None,
    }
}

/// Pulls them; etcd's only when it is `stacked`.
pub fn pull(cx: &Context, stage: &ControlPlane, nodes: &Nodes, stacked: bool) -> Result<()> {
    let version = cx.spec()?.kubernetes;
    let repository = &stage.image_repository;
    if let Some(tag) = etcd_tag(version.minor).filter(|_| stacked) {
        cx.plan().image(nodes, format!("{repository}/etcd:{tag}")).prepare();
    }
    for name in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
        cx.plan().image(nodes, format!("{repository}/{name}:v{version}")).prepare();
    }
    Ok(())
}
