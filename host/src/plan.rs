//! The plan: the ordered set of ops that would change something, computed before anything changes. Data only.
//!
//! [`graph`] orders the stages, [`build`] asks each for its ops, [`probe`] compares them with the nodes, [`pending`] says which
//! of them a run would execute. `ksp up` executes exactly what is pending here.

pub mod build;
pub mod graph;
pub mod outputs;
pub mod pending;
pub mod probe;
#[cfg(test)]
pub mod testing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::node::NodeId;
use crate::op::{OpId, Recorded, Venue, Verdict};
use crate::plugin::PluginId;
use crate::plugin::metadata::Metadata;

/// What `stage.plan()` recorded.
#[derive(Debug, Clone, Default)]
pub struct StageDraft {
    /// In the order of recording.
    pub ops: Vec<Recorded>,
    /// Read-only commands that must exit 0.
    pub checks: Vec<Check>,
    /// Findings of the plugin.
    pub findings: Vec<Diagnostic>,
    /// What it published.
    pub outputs: BTreeMap<String, String>,
}

/// A read-only command that must exit 0 while planning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Where.
    pub nodes: Vec<NodeId>,
    /// Stable code of the finding.
    pub code: String,
    /// What to run.
    pub argv: Vec<String>,
    /// The finding.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

/// A stage with its plugin and what it recorded.
#[derive(Debug, Clone)]
pub struct StagePlan {
    /// The stage's name in the manifest.
    pub name: String,
    /// Which plugin.
    pub plugin: PluginId,
    /// What the plugin says of itself: slots decide the order.
    pub metadata: Arc<Metadata>,
    /// The nodes it is for, when it is not for all.
    pub nodes: Option<BTreeSet<NodeId>>,
    /// What it recorded.
    pub ops: Vec<Recorded>,
    /// What it published for later stages and for the host.
    pub outputs: BTreeMap<String, String>,
    /// What the probes said, by op and venue. Missing means the node could not be probed.
    pub verdicts: BTreeMap<(OpId, Venue), Verdict>,
    /// What a run executes, and why. Nothing else is executed.
    pub pending: BTreeMap<(OpId, Venue), Why>,
}

/// Why an op is executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// Its probe found a difference.
    Change,
    /// It could not be probed yet: there is no API to ask, or the runtime that was asked is replaced.
    Unknown,
    /// Something that it watches or serves is executed.
    Triggered,
    /// Something that it watches was changed by an earlier run, which ended before this op.
    Interrupted,
    /// It checks the result: anything else is executed, or the last run did not end well.
    Gate,
}

impl StagePlan {
    /// The op with this place.
    pub fn op(&self, id: OpId) -> Option<&Recorded> {
        self.ops
            .get(id.0 as usize)
            .filter(|op| op.id == id)
            .or_else(|| self.ops.iter().find(|op| op.id == id))
    }

    /// Everywhere the stage has ops.
    pub fn venues(&self) -> BTreeSet<Venue> {
        self.ops.iter().flat_map(Recorded::venues).collect()
    }

    /// How many ops are pending at a venue.
    pub fn pending_at(&self, venue: Venue) -> usize {
        self.pending.keys().filter(|(_, at)| *at == venue).count()
    }
}

/// The whole plan, in the order of the stages.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// In topological order.
    pub stages: Vec<StagePlan>,
    /// Findings of plugins and checks; an error refuses the run.
    pub findings: Vec<Diagnostic>,
}

impl Plan {
    /// True when a run would do nothing.
    pub fn is_up_to_date(&self) -> bool {
        self.stages.iter().all(|stage| stage.pending.is_empty())
    }

    /// True when a finding refuses the run.
    pub fn is_refused(&self) -> bool {
        self.findings.iter().any(Diagnostic::is_error)
    }

    /// What was published under `key` by the stage that provides `slot`.
    pub fn output(&self, slot: &str, key: &str) -> Option<&str> {
        let provides = |stage: &&StagePlan| stage.metadata.provides.iter().any(|offer| offer.slot == slot);
        self.stages.iter().find(provides)?.outputs.get(key).map(String::as_str)
    }

    /// How many steps (stage at a venue) have something pending.
    pub fn pending_steps(&self) -> usize {
        self.stages
            .iter()
            .map(|stage| stage.pending.keys().map(|(_, at)| *at).collect::<BTreeSet<_>>().len())
            .sum()
    }

    /// How many steps there are.
    pub fn steps(&self) -> usize {
        self.stages.iter().map(|stage| stage.venues().len()).sum()
    }
}

/// Which steps may run. What is not allowed is planned and shown, and never executed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these nodes; none means all. With nodes named, ops of the cluster stay out too.
    pub nodes: Option<BTreeSet<NodeId>>,
    /// Only these stages; none means all.
    pub stages: Option<BTreeSet<String>>,
}

impl Filter {
    /// True when a step may run.
    pub fn allows(&self, stage: &str, venue: Venue) -> bool {
        let at = match venue {
            Venue::Node(node) => self.allows_node(node),
            Venue::Cluster => self.nodes.is_none(),
        };
        at && self.stages.as_ref().is_none_or(|stages| stages.contains(stage))
    }

    /// True when a node may be touched.
    pub fn allows_node(&self, node: NodeId) -> bool {
        self.nodes.as_ref().is_none_or(|nodes| nodes.contains(&node))
    }

    /// True when nothing is left out.
    pub fn is_everything(&self) -> bool {
        self.nodes.is_none() && self.stages.is_none()
    }
}
