//! Nodes: machines that are managed.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A node's place in the manifest; what plugins call a node by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct NodeId(pub u32);

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the Kubernetes control plane.
    ControlPlane,
    /// Runs a member of an external etcd.
    Etcd,
    /// Runs workloads.
    Worker,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::ControlPlane => "control-plane",
            Role::Etcd => "etcd",
            Role::Worker => "worker",
        })
    }
}

/// How a node is reached: everything resolved, nothing optional left to guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connection {
    /// This machine itself.
    Local,
    /// Over SSH.
    Ssh(SshTarget),
}

/// One SSH endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshTarget {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Login name.
    pub user: String,
    /// Private key files, tried in order; empty means the agent only.
    pub identities: Vec<PathBuf>,
    /// A pinned host key, `SHA256:…`; wins over known_hosts.
    pub host_key: Option<String>,
    /// Where known host keys are kept.
    pub known_hosts: PathBuf,
    /// Bastions to go through, nearest to the workstation first. Their own `via` is empty.
    pub via: Vec<SshTarget>,
}

/// A machine that is managed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its place in the manifest.
    pub id: NodeId,
    /// Its name, which is also the name of the Kubernetes node.
    pub name: String,
    /// The address that other nodes reach it by.
    pub address: IpAddr,
    /// What it is for; never empty.
    pub roles: Vec<Role>,
    /// Kubernetes labels.
    pub labels: BTreeMap<String, String>,
    /// Kubernetes taints, `key=value:Effect`.
    pub taints: Vec<String>,
    /// How to reach it.
    pub connection: Connection,
}

impl Node {
    /// True when it has the role.
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}
