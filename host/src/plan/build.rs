//! Asks every stage for its ops, in topological order, each with the outputs of the earlier ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;

use crate::diagnostic::Diagnostic;
use crate::node::{Node, NodeId};
use crate::op::{OpId, Recorded, Venue};
use crate::plan::graph::{self, Stage};
pub use crate::plan::outputs::Outputs;
use crate::plan::{Plan, StageDraft, StagePlan};
use crate::plugin::PluginId;
use crate::plugin::metadata::Metadata;

/// What can plan a stage: a loaded plugin with everything it may see but the outputs.
#[async_trait]
pub trait Planner: Send + Sync {
    /// Records the stage's ops.
    ///
    /// # Errors
    /// The plugin failed, or refused.
    async fn plan(&self, outputs: &Outputs) -> Result<StageDraft, Diagnostic>;
}

/// A stage to be planned.
pub struct Candidate {
    /// Its name in the manifest.
    pub name: String,
    /// Its plugin.
    pub plugin: PluginId,
    /// What the plugin says of itself.
    pub metadata: Arc<Metadata>,
    /// The nodes it is for, when it is not for all.
    pub nodes: Option<BTreeSet<NodeId>>,
    /// Asks the plugin.
    pub planner: Box<dyn Planner>,
}

/// A plan without verdicts, and the read-only commands that must succeed, by stage.
#[derive(Debug, Default)]
pub struct Built {
    /// In topological order.
    pub plan: Plan,
    /// Place of the stage in the plan, and what to check.
    pub checks: Vec<(usize, crate::plan::Check)>,
}

/// Plans every stage. `stages` is in the manifest's order. Findings of plugins are part of the plan.
///
/// # Errors
/// Everything that makes planning impossible: order, plugins that fail.
pub async fn build(
    stages: &[Candidate],
    nodes: &[Node],
    offers: impl Fn(&str) -> Vec<String>,
) -> Result<Built, Vec<Diagnostic>> {
    let seen: Vec<Stage<'_>> = stages
        .iter()
        .map(|stage| Stage { name: &stage.name, metadata: &stage.metadata, nodes: stage.nodes.as_ref() })
        .collect();
    let order = graph::order(&seen, offers)?;
    let needs = graph::dependencies(&seen);
    let mut built = Built::default();
    let mut failures = Vec::new();
    let mut outputs = Outputs::default();
    let mut failed: BTreeSet<usize> = BTreeSet::new();
    for at in order {
        // A stage whose inputs are incomplete would only repeat the finding in other words.
        if !needs[at].is_disjoint(&failed) {
            failed.insert(at);
            continue;
        }
        let stage = &stages[at];
        match stage.planner.plan(&outputs).await {
            Ok(draft) => {
                failures.extend(defects(stage, &draft, nodes));
                outputs.add(&stage.metadata, stage.nodes.as_ref(), &draft.outputs);
                accept(&mut built, stage, draft);
            }
            Err(finding) => {
                failed.insert(at);
                failures.push(finding);
            }
        }
    }
    if failures.is_empty() { Ok(built) } else { Err(failures) }
}

fn accept(built: &mut Built, stage: &Candidate, draft: StageDraft) {
    let place = built.plan.stages.len();
    built.checks.extend(draft.checks.into_iter().map(|check| (place, check)));
    built.plan.findings.extend(draft.findings);
    built.plan.stages.push(StagePlan {
        name: stage.name.clone(),
        plugin: stage.plugin.clone(),
        metadata: Arc::clone(&stage.metadata),
        nodes: stage.nodes.clone(),
        ops: draft.ops,
        outputs: draft.outputs,
        verdicts: BTreeMap::new(),
        pending: BTreeMap::new(),
    });
}

/// What a plugin must not record: nodes or ops that do not exist, slots that are not its own, ops that wait for each other.
fn defects(stage: &Candidate, draft: &StageDraft, nodes: &[Node]) -> Vec<Diagnostic> {
    let refuse = |op: &Recorded, what: String| {
        Diagnostic::error(
            "ksp::plan::plugin-defect",
            format!("stage `{}`: `{}` {what}", stage.name, op.summary()),
        )
        .note(format!("plugin: {}", stage.plugin))
        .hint("this is a defect of the plugin; report it to its publisher")
    };
    let known: BTreeSet<OpId> = draft.ops.iter().map(|op| op.id).collect();
    let mut findings = Vec::new();
    for op in &draft.ops {
        let modifiers = &op.modifiers;
        let named = modifiers.after.iter().chain(&modifiers.on_change).chain(&modifiers.only_for);
        if named.into_iter().any(|other| !known.contains(other)) {
            findings.push(refuse(op, "names an op that does not exist".into()));
        }
        if op.nodes.iter().any(|node| !nodes.iter().any(|known| known.id == *node)) {
            findings.push(refuse(op, "names a node that does not exist".into()));
        }
        if stage.nodes.as_ref().is_some_and(|own| op.nodes.iter().any(|node| !own.contains(node))) {
            findings.push(refuse(op, "names a node that the stage is not for".into()));
        }
        for slot in &modifiers.provides {
            if !stage.metadata.provides.iter().any(|own| own.slot == *slot) {
                findings
                    .push(refuse(op, format!("provides slot `{slot}`, which the plugin does not declare")));
            }
        }
    }
    if findings.is_empty()
        && let Some(op) = waits_for_itself(&draft.ops)
    {
        findings.push(refuse(op, "waits for an op that waits for it".into()));
    }
    findings
}

/// An op in a loop of "recorded before on the same node" and "after". Without a look ahead there is none.
fn waits_for_itself(ops: &[Recorded]) -> Option<&Recorded> {
    let place: BTreeMap<OpId, usize> = ops.iter().enumerate().map(|(at, op)| (op.id, at)).collect();
    let looks_ahead =
        |(at, op): (usize, &Recorded)| op.modifiers.after.iter().any(|other| place[other] >= at);
    if !ops.iter().enumerate().any(looks_ahead) {
        return None;
    }
    // Takes away every op that can start, venue by venue, until nothing more can.
    let mut left: BTreeSet<(usize, Venue)> = ops
        .iter()
        .enumerate()
        .flat_map(|(at, op)| op.venues().into_iter().map(move |venue| (at, venue)))
        .collect();
    loop {
        let open = |at: usize| left.iter().any(|(other, _)| *other == at);
        let can_start = |(at, venue): &(usize, Venue)| {
            let earlier = left.iter().any(|(other, there)| {
                other < at && there == venue && (ops[*other].modifiers.prepare || !ops[*at].modifiers.prepare)
            });
            !earlier && !ops[*at].modifiers.after.iter().any(|other| open(place[other]))
        };
        let ready: Vec<(usize, Venue)> = left.iter().filter(|entry| can_start(entry)).copied().collect();
        if ready.is_empty() {
            return left.first().map(|(at, _)| &ops[*at]);
        }
        ready.iter().for_each(|entry| {
            left.remove(entry);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Action, Modifiers};
    use crate::plan::testing;

    struct Scripted {
        wants: Vec<&'static str>,
        draft: Result<StageDraft, Diagnostic>,
    }

    #[async_trait]
    impl Planner for Scripted {
        async fn plan(&self, outputs: &Outputs) -> Result<StageDraft, Diagnostic> {
            for slot in &self.wants {
                assert!(outputs.get(slot, "authority").is_some(), "outputs of {slot} are missing");
            }
            self.draft.clone()
        }
    }

    fn candidate(name: &str, slots: &str, planner: Scripted) -> Candidate {
        let stage = testing::stage(name, slots, Vec::new());
        Candidate {
            name: name.to_owned(),
            plugin: stage.plugin,
            metadata: stage.metadata,
            nodes: None,
            planner: Box::new(planner),
        }
    }

    fn draft(outputs: &[(&str, &str)]) -> StageDraft {
        let outputs = outputs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        StageDraft { outputs, ..StageDraft::default() }
    }

    fn custom() -> Action {
        Action::Custom { tag: "t".into(), summary: "do it".into() }
    }

    fn planner(draft: StageDraft) -> Scripted {
        Scripted { wants: Vec::new(), draft: Ok(draft) }
    }

    #[tokio::test]
    async fn outputs_travel_by_slot_in_topological_order() {
        let late = Scripted { wants: vec!["api"], ..planner(draft(&[])) };
        let stages = [
            candidate("late", "needs:api", late),
            candidate("early", "gives:api", planner(draft(&[("authority", "k")]))),
        ];
        let built = build(&stages, &[], |_| Vec::new()).await.unwrap();
        assert_eq!(
            built.plan.stages.iter().map(|stage| stage.name.as_str()).collect::<Vec<_>>(),
            ["early", "late"]
        );
        assert_eq!(built.plan.output("api", "authority"), Some("k"));
    }

    #[tokio::test]
    async fn all_failures_are_reported_but_not_their_echoes() {
        let broken =
            |code: &str| Scripted { draft: Err(Diagnostic::error(code, "broken")), ..planner(draft(&[])) };
        let stages = [
            candidate("a", "gives:a", broken("one")),
            candidate("b", "needs:a", broken("echo")),
            candidate("c", "", broken("two")),
        ];
        let findings = build(&stages, &[], |_| Vec::new()).await.unwrap_err();
        assert_eq!(findings.iter().map(|finding| finding.code.as_str()).collect::<Vec<_>>(), ["one", "two"]);
    }

    #[tokio::test]
    async fn ops_that_wait_for_each_other_are_a_defect_of_the_plugin() {
        let after = |id: u32| Modifiers { after: vec![OpId(id)], ..Modifiers::default() };
        let ahead_elsewhere = testing::stage(
            "x",
            "",
            vec![(custom(), vec![], after(1)), (custom(), vec![], Modifiers::default())],
        );
        assert!(waits_for_itself(&ahead_elsewhere.ops).is_none());
        let nodes_apart = testing::stage(
            "x",
            "",
            vec![(custom(), vec![0], after(1)), (custom(), vec![1], Modifiers::default())],
        );
        assert!(waits_for_itself(&nodes_apart.ops).is_none());
        let same_node = testing::stage(
            "x",
            "",
            vec![(custom(), vec![0], after(1)), (custom(), vec![0], Modifiers::default())],
        );
        assert!(waits_for_itself(&same_node.ops).is_some());
        let draft = StageDraft { ops: same_node.ops, ..StageDraft::default() };
        let findings = build(&[candidate("x", "", planner(draft))], &[], |_| Vec::new()).await.unwrap_err();
        assert!(findings.iter().all(|finding| finding.code == "ksp::plan::plugin-defect"));
    }
}
