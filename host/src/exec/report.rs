//! What became of a run: data only.

use serde::{Deserialize, Serialize};

use crate::event::Outcome;

/// What became of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RunReport {
    /// Every step that had something to do.
    pub steps: Vec<StepReport>,
    /// Every op that failed.
    pub failures: Vec<StepFailure>,
    /// Nodes that were left out because they could not be reached.
    #[serde(default)]
    pub unreachable: Vec<Unreachable>,
    /// Steps that changed something.
    pub changed: u32,
    /// Steps that failed.
    pub failed: u32,
    /// Steps that were not started, or not to their end.
    pub not_started: u32,
    /// Ops that were executed.
    #[serde(default)]
    pub ops: u32,
    /// Wall time.
    pub seconds: f64,
    /// The user stopped it.
    pub interrupted: bool,
    /// Why the run was stopped before its end, when not by the user: the lease was lost, the journal cannot be written.
    #[serde(default)]
    pub stopped: Option<String>,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// The stage's name.
    pub stage: String,
    /// None for what happens once for the cluster.
    pub node: Option<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// From its first op to its last.
    pub seconds: f64,
    /// Why it was not started.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A node that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreachable {
    /// Its name.
    pub node: String,
    /// What came back.
    pub reason: String,
}

/// An op that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepFailure {
    /// The stage's name.
    pub stage: String,
    /// None for what happens once for the cluster.
    pub node: Option<String>,
    /// The node's address.
    pub address: Option<String>,
    /// "publisher/name version".
    pub plugin: String,
    /// The op's key.
    pub op: String,
    /// The op, for people.
    #[serde(default)]
    pub summary: String,
    /// The command that was tried, secrets hidden.
    pub command: Option<String>,
    /// Stable.
    pub code: String,
    /// Lowercase phrase without a full stop.
    pub message: String,
    /// Last lines of output.
    pub tail: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
}

impl AsRef<RunReport> for RunReport {
    fn as_ref(&self) -> &RunReport {
        self
    }
}

impl RunReport {
    /// True when everything that was pending is done on every node.
    pub fn is_success(&self) -> bool {
        let clean = self.failures.is_empty() && self.failed == 0 && self.not_started == 0;
        clean && self.unreachable.is_empty() && !self.interrupted && self.stopped.is_none()
    }

    /// The steps that took longest, longest first.
    pub fn slowest(&self, count: usize) -> Vec<&StepReport> {
        let mut steps: Vec<&StepReport> =
            self.steps.iter().filter(|step| step.outcome != Outcome::NotStarted).collect();
        steps.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        steps.truncate(count);
        steps
    }
}
