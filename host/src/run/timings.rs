//! Who took how long, from a journal.

use jiff::Timestamp;

use crate::event::{Event, Outcome, Stamped};

/// The time of one step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepTime {
    /// The stage's name.
    pub stage: String,
    /// None for what happens once for the cluster.
    pub node: Option<String>,
    /// Seconds after the first step of the run.
    pub start: f64,
    /// How long it took; up to the last event when it did not end.
    pub seconds: f64,
    /// None when it did not end.
    pub outcome: Option<Outcome>,
}

/// The steps in the order of starting.
pub fn steps(events: &[Stamped]) -> Vec<StepTime> {
    let mut steps: Vec<StepTime> = Vec::new();
    let mut origin: Option<Timestamp> = None;
    let last = events.last().map(|stamped| stamped.time);
    for stamped in events {
        match &stamped.event {
            Event::StepStarted { stage, node } => {
                let origin = *origin.get_or_insert(stamped.time);
                let rest = last.map_or(0.0, |last| between(stamped.time, last));
                steps.push(StepTime {
                    stage: stage.clone(),
                    node: node.clone(),
                    start: between(origin, stamped.time),
                    seconds: rest,
                    outcome: None,
                });
            }
            Event::StepFinished { stage, node, outcome, seconds } => {
                let open = |step: &&mut StepTime| {
                    step.stage == *stage && step.node == *node && step.outcome.is_none()
                };
                if let Some(step) = steps.iter_mut().find(open) {
                    (step.seconds, step.outcome) = (*seconds, Some(*outcome));
                }
            }
            _ => {}
        }
    }
    steps
}

fn between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}
