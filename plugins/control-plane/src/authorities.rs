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

/// The authority of etcd's members and clients.
pub fn etcd(cx: &Context) -> Result<Authority> {
    cx.authority(ksp_sdk::etcd::AUTHORITY, "etcd-ca", DAYS)
}

/// Names as kubeadm gives them; paths below `/etc/kubernetes/pki`.
pub fn place(cx: &Context, nodes: &Nodes) -> Result<()> {
    put(cx, nodes, "ca", &cluster(cx)?);
    put(cx, nodes, "front-proxy-ca", &cx.authority("front-proxy", "front-proxy-ca", DAYS)?);
    put(cx, nodes, "etcd/ca", &etcd(cx)?);
    let service_account = cx.keypair("service-account")?;
    cx.plan().file(nodes, "/etc/kubernetes/pki/sa.pub", service_account.certificate()).mode(0o600);
    cx.plan().secret_file(nodes, "/etc/kubernetes/pki/sa.key", &service_account.key());
    Ok(())
}

fn put(cx: &Context, nodes: &Nodes, name: &str, authority: &Authority) {
    cx.plan().file(nodes, format!("/etc/kubernetes/pki/{name}.crt"), authority.certificate());
    cx.plan().secret_file(nodes, format!("/etc/kubernetes/pki/{name}.key"), &authority.key());
}
