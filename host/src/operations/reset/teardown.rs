//! What plugins do before nodes are reset: draining, leaving the cluster. One stage after another in the order of the chain, because
//! a node leaves before what its pods need, such as their network, is taken away. Each is a plan of its own, executed as every plan
//! is.

use crate::diagnostic::Diagnostic;
use crate::exec::RunReport;
use crate::node::NodeId;
use crate::op::Verdict;
use crate::operations::Failure;
use crate::operations::context::Context;
use crate::operations::prepare::{self, Prepared};
use crate::plan::{Filter, Plan, StageDraft, Why};

/// The plans, and what they are executed with.
#[derive(Default)]
pub struct Teardown {
    /// In the order of execution: the stage's name and its plan.
    pub plans: Vec<(String, Plan)>,
    /// Why plugins could not be asked: only what the ledgers list is removed then.
    pub skipped: Vec<Diagnostic>,
    prepared: Option<Box<Prepared>>,
}

/// Asks the plugins. A cluster that is half made may be beyond planning: that is no reason not to remove it.
pub(super) async fn plan(context: &Context, nodes: &[NodeId]) -> Teardown {
    let asked = async {
        let mut prepared = prepare::prepare(context, Filter::default()).await?;
        prepared.command = "ksp reset".to_owned();
        let drafts = prepared.teardown(nodes).await?;
        Ok::<_, Failure>((prepared, drafts))
    };
    match asked.await {
        Ok((prepared, mut drafts)) => {
            let chain = prepared.plan.stages.iter();
            let plans = chain
                .filter_map(|stage| {
                    let draft = drafts.remove(&stage.name)?;
                    Some((stage.name.clone(), shape(&prepared.plan, &stage.name, draft)))
                })
                .collect();
            Teardown { plans, skipped: Vec::new(), prepared: Some(Box::new(prepared)) }
        }
        Err(failure) => Teardown { skipped: failure.findings, ..Teardown::default() },
    }
}

/// The whole plan with nothing to do but one stage's draft. What the stages published stays: it says how to reach the API.
fn shape(plan: &Plan, stage: &str, draft: StageDraft) -> Plan {
    let mut shaped = plan.clone();
    shaped.findings.clear();
    for known in &mut shaped.stages {
        known.ops.clear();
        known.verdicts.clear();
        known.pending.clear();
        if known.name == stage {
            let places = draft.ops.iter().flat_map(|op| op.venues().into_iter().map(|venue| (op.id, venue)));
            let places: Vec<_> = places.collect();
            known.verdicts = places.iter().map(|place| (*place, Verdict::Unknown)).collect();
            known.pending = places.into_iter().map(|place| (place, Why::Unknown)).collect();
            known.ops.clone_from(&draft.ops);
        }
    }
    shaped
}

/// Executes the plans, up to the first that fails.
///
/// # Errors
/// The cluster is locked, or cannot be.
pub(super) async fn execute(
    context: &Context,
    teardown: &mut Teardown,
    run: &str,
) -> Result<RunReport, Failure> {
    let mut whole = RunReport::default();
    let Some(prepared) = &mut teardown.prepared else { return Ok(whole) };
    for (_, plan) in &teardown.plans {
        prepared.plan = plan.clone();
        let part = prepare::apply(context, prepared, run).await?;
        let good = part.failed == 0 && part.not_started == 0;
        absorb(&mut whole, part);
        if !good || context.cancel.is_stopping() {
            break;
        }
    }
    Ok(whole)
}

fn absorb(whole: &mut RunReport, part: RunReport) {
    whole.steps.extend(part.steps);
    whole.failures.extend(part.failures);
    whole.changed += part.changed;
    whole.failed += part.failed;
    whole.not_started += part.not_started;
    whole.ops += part.ops;
    whole.stopped = whole.stopped.take().or(part.stopped);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::ChangeAction;
    use crate::operations::testing::{self, change};

    #[test]
    fn only_the_draft_of_the_stage_is_to_be_done() {
        let create = || change(ChangeAction::Create, &[]);
        let mut network = testing::stage("network", &[(None, "apply", create())]);
        network.outputs.insert("key".into(), "value".into());
        let plan = testing::plan(vec![testing::stage("workers", &[(Some(0), "join", create())]), network]);
        let drained = testing::stage("workers", &[(Some(0), "drain", None), (None, "delete the node", None)]);
        let shaped = shape(&plan, "workers", StageDraft { ops: drained.ops, ..StageDraft::default() });
        assert_eq!(shaped.stages[0].pending.len(), 2);
        assert_eq!(shaped.stages[0].verdicts.len(), 2);
        assert!(shaped.stages[1].pending.is_empty() && shaped.stages[1].ops.is_empty());
        assert_eq!(shaped.stages[1].outputs["key"], "value");
        assert_eq!(shaped.pending_steps(), 2);
    }
}
