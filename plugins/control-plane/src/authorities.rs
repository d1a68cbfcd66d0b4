//! The certificate authorities that kubeadm finds in place, on control planes only. It signs its own leaf certificates with them.

use ksp_sdk::prelude::*;

/// The authority of the API server and of all its clients.
pub const CLUSTER: &str = "kubernetes";

/// Ten years, as kubeadm's own.
const DAYS: u32 = 3650;

/// The authority of the API server and of all its clients.
pub fn cluster(cx: &Context) -> Result<Authority> {
    cx.authority(CLUSTER, "kubernetes", DAYS)
}

/// Names as kubeadm gives them; paths below `/etc/kubernetes/pki`.
pub fn place(cx: &Context, nodes: &Nodes) -> Result<()> {
    put(cx, nodes, "ca", &cluster(cx)?);
    put(cx, nodes, "front-proxy-ca", &cx.authority("front-proxy", "front-proxy-ca", DAYS)?);
    let service_account = cx.keypair("service-account")?;
    cx.plan().file(nodes, "/etc/kubernetes/pki/sa.pub", service_account.certificate()).mode(0o600);
    cx.plan().secret_file(nodes, "/etc/kubernetes/pki/sa.key", &service_account.key());
    Ok(())
}

/// The authority that kubeadm signs the certificates of a stacked etcd with.
pub fn place_etcd(cx: &Context, nodes: &Nodes) -> Result<()> {
    put(cx, nodes, "etcd/ca", &ksp_sdk::etcd::authority(cx)?);
    Ok(())
}

fn put(cx: &Context, nodes: &Nodes, name: &str, authority: &Authority) {
    cx.plan().file(nodes, format!("/etc/kubernetes/pki/{name}.crt"), authority.certificate());
    cx.plan().secret_file(nodes, format!("/etc/kubernetes/pki/{name}.key"), &authority.key());
}
