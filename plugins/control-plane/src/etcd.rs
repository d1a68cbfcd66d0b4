//! The stacked etcd: kubeadm makes its static pods; here is what is around them.

use ksp_sdk::etcd::{Etcd, KEPT_WITH_DATA, RunBy};
use ksp_sdk::prelude::*;

use crate::{ControlPlane, authorities};

/// Where the members keep their data: kubeadm's default.
pub const DATA: &str = "/var/lib/etcd";

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
    plan.file(nodes, trusted(), authorities::etcd(cx)?.certificate());
    Ok(())
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
