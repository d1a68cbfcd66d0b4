//! The manifest as TOML: these structs are the file format, one to one, and the JSON Schema is generated from them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::node::Role;

/// A cluster manifest.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ManifestFile {
    /// What the cluster is.
    pub cluster: ClusterSection,
    /// How nodes are reached, unless a node says otherwise.
    #[serde(default)]
    pub ssh: SshSection,
    /// The machines.
    #[serde(default)]
    pub node: Vec<NodeSection>,
    /// The chain of stages.
    #[serde(default)]
    pub stage: Vec<StageSection>,
    /// Files and images from elsewhere.
    #[serde(default)]
    pub mirrors: MirrorsSection,
    /// Secrets that plugins may ask for, by name.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretSection>,
}

/// What the cluster is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClusterSection {
    /// A DNS label: names the cluster everywhere.
    pub name: String,
    /// The Kubernetes version, such as "1.36.3".
    pub kubernetes: String,
    /// `host:port` by which nodes and users reach the API: a name or address that can move between machines.
    pub endpoint: String,
    /// Addresses of pods.
    #[serde(default = "default_pod_cidr")]
    pub pod_cidr: String,
    /// Addresses of Services.
    #[serde(default = "default_service_cidr")]
    pub service_cidr: String,
    /// The DNS domain of Services.
    #[serde(default = "default_dns_domain")]
    pub dns_domain: String,
}

fn default_pod_cidr() -> String {
    "10.244.0.0/16".into()
}
fn default_service_cidr() -> String {
    "10.96.0.0/16".into()
}
fn default_dns_domain() -> String {
    "cluster.local".into()
}

/// How nodes are reached. Every key can be given for all nodes in `[ssh]` and for one in its `ssh` table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SshSection {
    /// Login name; default "root". Anybody else needs `sudo` without a password.
    pub user: Option<String>,
    /// TCP port; default 22.
    pub port: Option<u16>,
    /// Private key file, relative to the manifest; `~/` is the home folder. Without it the agent and the usual files are tried.
    pub identity: Option<String>,
    /// File of known host keys, relative to the manifest; default `~/.ssh/known_hosts`.
    pub known_hosts: Option<String>,
    /// The host key's fingerprint, `SHA256:…`; better given for each node.
    pub host_key: Option<String>,
    /// Bastions to go through, in order: `user@host:port`.
    pub via: Option<Vec<String>>,
}

/// A machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeSection {
    /// The name of the Kubernetes node: lower case, RFC 1123.
    pub name: String,
    /// The IP address that other nodes reach it by.
    pub address: String,
    /// What it is for.
    pub roles: Vec<Role>,
    /// Kubernetes labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Kubernetes taints, `key=value:Effect` or `key:Effect`.
    #[serde(default)]
    pub taints: Vec<String>,
    /// `ssh` (default) or `local` for this machine itself.
    #[serde(default)]
    pub connection: ConnectionKind,
    /// What differs from `[ssh]`; `host` is where to connect when that is not `address`.
    #[serde(default)]
    pub ssh: NodeSshSection,
}

/// How a node is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionKind {
    /// Over SSH.
    #[default]
    Ssh,
    /// This machine itself.
    Local,
}

/// What differs from `[ssh]` for one node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NodeSshSection {
    /// Where to connect when that is not the node's `address`.
    pub host: Option<String>,
    /// See `[ssh]`.
    pub user: Option<String>,
    /// See `[ssh]`.
    pub port: Option<u16>,
    /// See `[ssh]`.
    pub identity: Option<String>,
    /// See `[ssh]`.
    pub known_hosts: Option<String>,
    /// See `[ssh]`.
    pub host_key: Option<String>,
    /// See `[ssh]`.
    pub via: Option<Vec<String>>,
}

impl NodeSshSection {
    /// What can also stand in `[ssh]`.
    pub fn shared_part(&self) -> SshSection {
        SshSection {
            user: self.user.clone(),
            port: self.port,
            identity: self.identity.clone(),
            known_hosts: self.known_hosts.clone(),
            host_key: self.host_key.clone(),
            via: self.via.clone(),
        }
    }
}

/// One entry of the chain.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StageSection {
    /// The plugin: a short name (`ksp/containerd`), `oci://…`, or a path to a `.wasm` file.
    #[serde(rename = "use")]
    pub plugin: String,
    /// The stage's name, when the plugin is used twice.
    pub name: Option<String>,
    /// Accepted plugin versions; default: any.
    pub version: Option<String>,
    /// The nodes it is for: `name=w1`, `label=disk:ssd`, `role=worker`, several with commas, `!` before one negates it; default: all.
    pub nodes: Option<String>,
    /// The stage's config; each plugin's README lists its keys.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
    /// Capabilities granted to a plugin that is not first-party.
    #[serde(default)]
    pub grants: Vec<String>,
}

/// Files and images from elsewhere.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MirrorsSection {
    /// Base address for files: `https://a/b` is fetched from `<files>/a/b`.
    pub files: Option<String>,
    /// A file in the format of `sha256sum`, relative to the manifest, for what the mirror serves with other content: its names
    /// are upstream addresses without `https://`.
    pub checksums: Option<String>,
    /// Nodes cannot fetch anything themselves: ksp fetches and pushes.
    #[serde(default)]
    pub push: bool,
    /// Registry host to mirror address.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
}

/// Where a secret comes from: exactly one of the two.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SecretSection {
    /// A file, relative to the manifest, that only its owner can read. A line break at its end is not part of the secret.
    pub file: Option<String>,
    /// An environment variable.
    pub env: Option<String>,
}
