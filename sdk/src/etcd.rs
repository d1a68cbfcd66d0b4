//! How the cluster's etcd is run and reached. The stage that runs it publishes this under [`OUTPUT`], so that other stages and the
//! host (`ksp etcd`, `ksp status`) find its members without knowing the stage.

mod disk;
mod members;

use serde::{Deserialize, Serialize};

use crate::{Authority, Context, NodeSpec, Result, argv};

pub use disk::require_disk;
pub use members::{Health, Member, Members, majority};

/// The key of the output.
pub const OUTPUT: &str = "etcd";

/// The key of the output of a stage that makes timed backups: the file on each node with a member that tells of the last one.
pub const LAST_BACKUP: &str = "etcd-last-backup";

/// Where members listen for clients.
pub const CLIENT_PORT: u16 = 2379;

/// Where members listen for each other.
pub const PEER_PORT: u16 = 2380;

/// The name of the authority in the host's keeping that all certificates of etcd come from.
pub const AUTHORITY: &str = "etcd";

/// How long [`AUTHORITY`] lives: ten years, as kubeadm's own.
const AUTHORITY_DAYS: u32 = 3650;

/// The authority of all members and clients, with the name that kubeadm gives it.
///
/// # Errors
/// The plugin was not granted `pki:etcd`.
pub fn authority(cx: &Context) -> Result<Authority> {
    cx.authority(AUTHORITY, "etcd-ca", AUTHORITY_DAYS)
}

/// Where a member on this node listens for clients: "https://10.0.0.1:2379".
pub fn client_url(node: &NodeSpec) -> String {
    format!("https://{}", node.at_port(CLIENT_PORT))
}

/// Where a member on this node listens for other members: "https://10.0.0.1:2380".
pub fn peer_url(node: &NodeSpec) -> String {
    format!("https://{}", node.at_port(PEER_PORT))
}

/// The authority that the other members are checked against (`peer-trusted-ca-file`), below the data directory: `member` is where
/// etcd keeps its data, and whoever loses that loses this too. etcd reads it before anything else, so that a member without its
/// data does not start, however often it is restarted; with empty data it would begin a second cluster, or come back under its old
/// identity without what it had promised.
pub const KEPT_WITH_DATA: &str = "member/ca.crt";

/// Who keeps a member running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunBy {
    /// A static pod, `/etc/kubernetes/manifests/etcd.yaml`.
    Kubelet,
    /// `etcd.service`.
    Systemd,
}

/// An etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Etcd {
    /// Who keeps its members running.
    pub run_by: RunBy,
    /// The names of the nodes with a member; a member has the name of its node.
    pub nodes: Vec<String>,
    /// Where members keep their data.
    pub data_dir: String,
    /// On each of the nodes: the certificate of the authority.
    pub ca: String,
    /// On each of the nodes: a client's certificate that may do everything.
    pub certificate: String,
    /// On each of the nodes: its key.
    pub key: String,
}

impl Etcd {
    /// Publishes it.
    ///
    /// # Errors
    /// It was published already.
    pub fn publish(&self, cx: &Context) -> Result<()> {
        cx.publish(OUTPUT, serde_json::to_string(self)?)
    }

    /// The beginning of an `etcdctl` command on one of its nodes, about the member on that node.
    pub fn ctl(&self) -> Vec<String> {
        argv![
            "/usr/local/bin/etcdctl",
            format!("--endpoints=https://127.0.0.1:{CLIENT_PORT}"),
            format!("--cacert={}", self.ca),
            format!("--cert={}", self.certificate),
            format!("--key={}", self.key),
        ]
    }
}
