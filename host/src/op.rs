//! Ops: one declared, idempotent change on one node or once for the cluster. One file per kind: how it is probed, applied,
//! shown, and taken back.
//!
//! Adding a kind: a file in `op/`, one line in [`teardown_script`], one function in `wit/` and in `runtime/imports/plan.rs`.

pub mod absent;
mod context;
pub mod diff;
pub mod directory;
pub mod drain;
mod error;
pub mod exec;
pub mod fetch;
pub mod file;
pub mod image;
pub mod install;
pub mod kernel_modules;
pub mod kube_apply;
pub mod kube_apply_release;
pub mod kube_delete;
pub mod kube_node;
pub mod kube_recreate;
pub mod kube_wait;
pub mod link;
pub mod packages;
pub mod path;
pub mod restart;
pub mod service;
pub mod sh;
pub mod swap_off;
pub mod sysctl;
pub mod take_back;
#[cfg(test)]
pub(crate) mod testing;
pub mod uncordon;
pub mod unpack;
pub mod wait_for;

pub use context::{ApplyContext, FENCED_STATUS, NodeContext};
pub use error::OpError;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::kubernetes::Kubernetes;
use crate::node::NodeId;
use crate::plugin::capability::Need;
use crate::transport::{Output, Stdin};

/// What a probe says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do.
    Satisfied,
    /// This would change.
    Change(Change),
    /// Known only after an earlier step (there is no API to ask yet).
    Unknown,
}

/// What would change, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What kind of change.
    pub action: ChangeAction,
    /// Lines of a diff, each with its sign (`+`, `-`, ` `) in front; secrets never appear.
    pub diff: Vec<String>,
}

/// The sign of a change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChangeAction {
    /// `+`
    Create,
    /// `~`
    #[default]
    Modify,
    /// `-`
    Remove,
    /// A command runs.
    Run,
}

/// What a modifier said. Which of the kind-specific ones an op accepts, its [`NodeOp::accepts`] lists.
#[derive(Debug, Clone, Default)]
pub struct Modifiers {
    /// Replaces the generated line.
    pub summary: Option<String>,
    /// Cross-node order: all nodes of these are done first.
    pub after: Vec<OpId>,
    /// Only when one of these changed something on the node.
    pub on_change: Vec<OpId>,
    /// Only when one of these will run on some node.
    pub only_for: Vec<OpId>,
    /// Needs only node-wide slots.
    pub prepare: bool,
    /// Slots that are there when this op is done on all its nodes.
    pub provides: Vec<String>,
    /// Runs when anything else does, or when the last run did not end well.
    pub gate: bool,
    /// Permission bits.
    pub mode: Option<u32>,
    /// User and group.
    pub owner: Option<(String, String)>,
    /// Satisfied when the path exists.
    pub creates: Option<String>,
    /// Satisfied when the command exits 0.
    pub unless: Option<Vec<String>>,
    /// Environment of the command.
    pub env: Vec<(String, String)>,
    /// Input of the command.
    pub stdin: Option<Stdin>,
    /// Polled after applying.
    pub verify: Option<(Vec<String>, Duration)>,
    /// For one attempt.
    pub timeout: Option<Duration>,
    /// Further attempts, and the pause before each.
    pub retry: Option<(u32, Duration)>,
    /// Nodes at a time.
    pub batch: Option<u32>,
    /// Why it interrupts what the node serves.
    pub disruptive: Option<String>,
}

/// An op's place in its stage's plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u32);

/// Where an op takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Venue {
    /// On a node.
    Node(NodeId),
    /// Through the Kubernetes API.
    Cluster,
}

/// Bytes of a file or of an object manifest.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Ordinary bytes.
    Plain(bytes::Bytes),
    /// Bytes that must not be shown.
    Secret(crate::redact::Secret),
}

impl Content {
    /// The bytes to write.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Content::Plain(bytes) => bytes,
            Content::Secret(secret) => secret.expose(),
        }
    }
}

/// What reset may remove, because ksp made it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LedgerEntry {
    /// The op's kind.
    pub kind: String,
    /// The op's target: a path, a unit, …
    pub target: String,
    /// The stage that wrote it.
    pub stage: String,
    /// "sha256:…" of the content as written, when there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// What the kind needs to take it back.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

/// The script that takes back what an entry of the ledger stands for. None when there is nothing to do, or when a newer ksp
/// wrote the entry. Safe to repeat; never removes more than the entry names.
pub fn teardown_script(entry: &LedgerEntry) -> Option<String> {
    let script = match entry.kind.as_str() {
        "directory" => directory::teardown(entry),
        "file" => file::teardown(entry),
        "install" => install::teardown(entry),
        "kernel-modules" => kernel_modules::teardown(entry),
        "link" => link::teardown(entry),
        "packages" => packages::teardown(entry),
        "service" => service::teardown(entry),
        "swap-off" => swap_off::teardown(entry),
        "sysctl" => sysctl::teardown(entry),
        "unpack" => unpack::teardown(entry),
        _ => return None,
    };
    Some(format!("{}{script}", sh::HEADER)).filter(|_| !script.is_empty())
}

/// An op on nodes.
#[async_trait]
pub trait NodeOp: Debug + Send + Sync {
    /// "file", "service", …
    fn kind(&self) -> &'static str;
    /// What it acts on: unique for its kind within a stage and node.
    fn target(&self) -> String;
    /// One line for people: "write /etc/crictl.yaml".
    fn summary(&self) -> String;
    /// The kind-specific modifiers it understands: "mode", "owner", "creates", "unless", "env", "stdin".
    fn accepts(&self) -> &'static [&'static str] {
        &[]
    }
    /// What must be granted.
    fn needs(&self) -> Vec<Need>;
    /// A read-only shell fragment, whose standard output and exit status [`Self::judge`] sees; empty when facts suffice or when the op always runs.
    fn probe(&self, cx: NodeContext<'_>) -> String;
    /// Compares what the node answered with what is declared.
    ///
    /// # Errors
    /// The answer makes no sense, or the op is impossible on this node.
    fn judge(&self, cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError>;
    /// Makes it so. Must be safe to repeat at every point.
    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError>;
    /// What it leaves behind on the node.
    fn ledger(&self, cx: NodeContext<'_>) -> Vec<LedgerEntry>;
    /// What the node's ledger does not list any more when it is done.
    fn forgets(&self) -> Option<&LedgerEntry> {
        None
    }
}

/// An op through the Kubernetes API.
#[async_trait]
pub trait ClusterOp: Debug + Send + Sync {
    /// "kube-apply", …
    fn kind(&self) -> &'static str;
    /// What it acts on: unique for its kind within a stage.
    fn target(&self) -> String;
    /// One line for people.
    fn summary(&self) -> String;
    /// What must be granted.
    fn needs(&self) -> Vec<Need>;
    /// Asks the API whether something would change. Read-only (dry runs included).
    async fn probe(&self, kubernetes: &Kubernetes) -> Result<Verdict, OpError>;
    /// Makes it so; waits send their last reason to `lines`.
    async fn apply(
        &self,
        kubernetes: &Kubernetes,
        timeout: Option<Duration>,
        lines: &tokio::sync::mpsc::UnboundedSender<String>,
    ) -> Result<(), OpError>;
}

/// An op about one Kubernetes node, through the API, in its place among the other ops of that node.
#[async_trait]
pub trait NodeApiOp: Debug + Send + Sync {
    /// "drain", …
    fn kind(&self) -> &'static str;
    /// What it acts on: unique for its kind within a stage and node.
    fn target(&self) -> String;
    /// One line for people.
    fn summary(&self) -> String;
    /// What must be granted.
    fn needs(&self) -> Vec<Need>;
    /// Asks the API whether something would change about the node of this name. Read-only.
    async fn probe(&self, kubernetes: &Kubernetes, node: &str) -> Result<Verdict, OpError>;
    /// Makes it so; waits send their last reason to `lines`. Must be safe to repeat at every point.
    async fn apply(
        &self,
        kubernetes: &Kubernetes,
        node: &str,
        timeout: Option<Duration>,
        lines: &tokio::sync::mpsc::UnboundedSender<String>,
    ) -> Result<(), OpError>;
}

/// What an op does.
#[derive(Debug, Clone)]
pub enum Action {
    /// On each of its nodes.
    Node(Arc<dyn NodeOp>),
    /// About each of its nodes, through the API.
    NodeApi(Arc<dyn NodeApiOp>),
    /// Once, through the API.
    Cluster(Arc<dyn ClusterOp>),
    /// Calls the plugin back on each of its nodes.
    Custom {
        /// Handed back to the plugin.
        tag: String,
        /// One line for people.
        summary: String,
    },
}

/// An op as a plugin recorded it.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its place in the stage.
    pub id: OpId,
    /// What it does.
    pub action: Action,
    /// On which nodes; empty for ops of the cluster.
    pub nodes: Vec<NodeId>,
    /// What the modifiers said.
    pub modifiers: Modifiers,
}

impl Recorded {
    /// Stable within its stage: "file:/etc/crictl.yaml".
    pub fn key(&self) -> String {
        match &self.action {
            Action::Node(op) => format!("{}:{}", op.kind(), op.target()),
            Action::NodeApi(op) => format!("{}:{}", op.kind(), op.target()),
            Action::Cluster(op) => format!("{}:{}", op.kind(), op.target()),
            Action::Custom { tag, .. } => format!("custom:{tag}"),
        }
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        if let Some(text) = &self.modifiers.summary {
            return text.clone();
        }
        match &self.action {
            Action::Node(op) => op.summary(),
            Action::NodeApi(op) => op.summary(),
            Action::Cluster(op) => op.summary(),
            Action::Custom { summary, .. } => summary.clone(),
        }
    }

    /// Where it takes effect.
    pub fn venues(&self) -> Vec<Venue> {
        match &self.action {
            Action::Cluster(_) => vec![Venue::Cluster],
            _ => self.nodes.iter().copied().map(Venue::Node).collect(),
        }
    }
}
