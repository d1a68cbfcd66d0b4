//! What a plugin records while it plans. Mistakes do not interrupt it: all of them are reported together.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Diagnostic;
use crate::node::NodeId;
use crate::op::{Action, OpId, Recorded, Venue};
use crate::plan::{Check, StageDraft};
use crate::plugin::grant::Denied;
use crate::plugin::resolve::ResolvedStage;
use crate::runtime::limits;

/// Mistakes and denials that are shown; the rest is counted.
const SHOWN: usize = 20;

/// A plan in the making.
#[derive(Debug, Default)]
pub struct Draft {
    /// In the order of recording.
    pub ops: Vec<Recorded>,
    /// Read-only commands.
    pub checks: Vec<Check>,
    /// What the plugin found.
    pub findings: Vec<Diagnostic>,
    /// What it published.
    pub outputs: BTreeMap<String, String>,
    mistakes: Vec<String>,
    denied: Vec<Denied>,
    keys: BTreeSet<(String, Venue)>,
    /// What files and object manifests hold, for the texts of the test harness.
    #[cfg(any(test, feature = "test-support"))]
    pub contents: BTreeMap<OpId, crate::op::Content>,
}

impl Draft {
    /// Notes a mistake; the same one counts once.
    pub fn mistake(&mut self, text: String) {
        if !self.mistakes.contains(&text) {
            self.mistakes.push(text);
        }
    }

    /// Notes something that is not granted; the same thing counts once.
    pub fn deny(&mut self, denied: Denied) {
        if !self.denied.iter().any(|known| known.need == denied.need) {
            self.denied.push(denied);
        }
    }

    /// Puts an op in.
    ///
    /// # Errors
    /// There are too many: ends the guest.
    pub fn record(&mut self, action: Action, nodes: Vec<NodeId>) -> wasmtime::Result<OpId> {
        self.room()?;
        let id = OpId(u32::try_from(self.ops.len())?);
        let recorded = Recorded { id, action, nodes, modifiers: crate::op::Modifiers::default() };
        let key = recorded.key();
        for venue in recorded.venues() {
            if !self.keys.insert((key.clone(), venue)) {
                self.mistake(format!("`{key}` is recorded twice for the same place"));
            }
        }
        self.ops.push(recorded);
        Ok(id)
    }

    /// # Errors
    /// There is no room for one more entry: ends the guest.
    pub fn room(&self) -> wasmtime::Result<()> {
        if self.ops.len() + self.checks.len() + self.findings.len() < limits::PLAN_ENTRIES {
            return Ok(());
        }
        Err(wasmtime::format_err!("the plan has more than {} entries", limits::PLAN_ENTRIES))
    }

    /// A recorded op.
    ///
    /// # Errors
    /// None: handles are made for recorded ops only.
    pub fn op(&mut self, id: OpId) -> wasmtime::Result<&mut Recorded> {
        self.ops.get_mut(id.0 as usize).ok_or_else(|| wasmtime::format_err!("no such op"))
    }

    /// What was recorded, with mistakes and denials as error findings.
    pub fn finish(mut self, stage: &ResolvedStage) -> StageDraft {
        let mut findings: Vec<Diagnostic> = Vec::new();
        if !self.mistakes.is_empty() {
            let mut finding = Diagnostic::error(
                "ksp::plugin::invalid-plan",
                format!(
                    "stage `{}`: plugin {} recorded a plan that cannot be right",
                    stage.name, stage.plugin
                ),
            )
            .hint("report this to the plugin's publisher");
            let more = self.mistakes.len().saturating_sub(SHOWN);
            self.mistakes.truncate(SHOWN);
            finding.notes = self.mistakes;
            if more > 0 {
                finding.notes.push(format!("and {more} more"));
            }
            findings.push(finding);
        }
        findings.extend(self.denied.iter().take(SHOWN).map(|denied| stage.grants.finding(denied)));
        findings.append(&mut self.findings);
        StageDraft { ops: self.ops, checks: self.checks, findings, outputs: self.outputs }
    }
}
