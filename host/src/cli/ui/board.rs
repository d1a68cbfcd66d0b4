//! What a run looks like at this moment, from its events. Pure state: `tty` draws it, `plain` takes its heartbeat from it.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;

use super::{sanitize, text};
use crate::event::{Event, Outcome, Stamped};

/// How many lines of output are kept.
const LOG_LINES: usize = 6;

/// What a step does between two ops; long, when the next one needs another step.
pub const OTHERS: &str = "waiting for other steps";

/// Where a step is.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Not begun.
    Waiting,
    /// Since when, and what it does now.
    Running {
        /// When it began.
        since: Timestamp,
        /// The newest word of it; may be empty.
        activity: String,
    },
    /// How it ended, and how long it took in seconds.
    Ended(Outcome, f64),
}

/// A stage's steps, by node (none: the cluster).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its steps.
    pub steps: BTreeMap<Option<String>, Progress>,
    began: Option<Timestamp>,
    ended: Option<Timestamp>,
}

/// A stage as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageState {
    /// Something failed.
    Failed,
    /// Something runs, or some steps ended and others did not begin.
    Running,
    /// Nothing began.
    Waiting,
    /// All ended well.
    Done,
}

impl Stage {
    /// Where it is.
    pub fn state(&self) -> StageState {
        let any = |wanted: fn(&Progress) -> bool| self.steps.values().any(wanted);
        if any(|step| matches!(step, Progress::Ended(Outcome::Failed, _))) {
            StageState::Failed
        } else if !any(|step| !matches!(step, Progress::Waiting | Progress::Ended(Outcome::NotStarted, _))) {
            StageState::Waiting
        } else if any(|step| matches!(step, Progress::Waiting | Progress::Running { .. })) {
            StageState::Running
        } else {
            StageState::Done
        }
    }

    /// Steps that ended well.
    pub fn done(&self) -> usize {
        let done =
            |step: &&Progress| matches!(step, Progress::Ended(Outcome::Changed | Outcome::Unchanged, _));
        self.steps.values().filter(done).count()
    }

    /// From its first step to its last, or to now.
    pub fn seconds(&self, now: Timestamp) -> f64 {
        let end = if self.state() == StageState::Done { self.ended.unwrap_or(now) } else { now };
        self.began.map_or(0.0, |began| end.duration_since(began).as_secs_f64())
    }
}

/// Everything at this moment.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// "up prod".
    pub title: String,
    /// When the run began; none before.
    pub began: Option<Timestamp>,
    /// Work before the plan, as long as it goes on.
    pub phases: Vec<(String, Timestamp)>,
    /// In the order of the plan.
    pub stages: Vec<Stage>,
    /// The newest lines of output: node, stage, text.
    pub log: VecDeque<(String, String, String)>,
    /// The run is over.
    pub ended: bool,
}

impl Board {
    /// Takes an event in.
    pub fn apply(&mut self, stamped: &Stamped) {
        let now = stamped.time;
        match &stamped.event {
            Event::RunStarted { cluster, command, .. } => {
                self.title = format!("{command} {cluster}");
                self.began = Some(now);
            }
            Event::PhaseStarted { phase } => self.phases.push((phase.clone(), now)),
            Event::PhaseFinished { phase, .. } => self.phases.retain(|(known, _)| known != phase),
            Event::PlanStep { stage, node, .. } => {
                self.stage(stage).steps.insert(node.clone(), Progress::Waiting);
            }
            Event::StepStarted { stage, node } => {
                self.stage(stage).began.get_or_insert(now);
                self.set(stage, node, Progress::Running { since: now, activity: String::new() });
            }
            Event::OpFinished { stage, node, .. } => self.activity(stage, node, now, OTHERS.to_owned()),
            Event::OpStarted { stage, node, summary, .. } => self.activity(stage, node, now, summary.clone()),
            Event::StepWaiting { stage, node, waiting_for, reason } => {
                let reason = if reason.is_empty() { String::new() } else { format!(": {reason}") };
                self.activity(stage, node, now, format!("waiting for {waiting_for}{reason}"));
            }
            Event::StepProgress { stage, node, done, total, unit } => {
                let amount = text::progress(*done, *total, unit);
                if let Some(Progress::Running { activity, .. }) = self.stage(stage).steps.get_mut(node) {
                    let what = activity.split("  ").next().unwrap_or_default().to_owned();
                    *activity = format!("{what}  {amount}");
                }
            }
            Event::StepLog { stage, node, text } => {
                let node = node.clone().unwrap_or_else(|| "cluster".into());
                self.log.push_back((node, stage.clone(), sanitize::line(text)));
                if self.log.len() > LOG_LINES {
                    self.log.pop_front();
                }
            }
            Event::StepFinished { stage, node, outcome, seconds } => {
                self.stage(stage).ended = Some(now);
                self.set(stage, node, Progress::Ended(*outcome, *seconds));
            }
            Event::RunFinished { .. } => self.ended = true,
            _ => {}
        }
    }

    /// Steps that run now: stage, node, since, activity.
    pub fn running(&self) -> impl Iterator<Item = (&str, Option<&str>, Timestamp, &str)> {
        self.stages.iter().flat_map(|stage| {
            stage.steps.iter().filter_map(|(node, step)| match step {
                Progress::Running { since, activity } => {
                    Some((stage.name.as_str(), node.as_deref(), *since, activity.as_str()))
                }
                _ => None,
            })
        })
    }

    /// Steps that ended, and all steps.
    pub fn counts(&self) -> (usize, usize) {
        let steps = || self.stages.iter().flat_map(|stage| stage.steps.values());
        (steps().filter(|step| matches!(step, Progress::Ended(..))).count(), steps().count())
    }

    fn stage(&mut self, name: &str) -> &mut Stage {
        let index = self.stages.iter().position(|stage| stage.name == name).unwrap_or_else(|| {
            self.stages.push(Stage { name: name.to_owned(), ..Stage::default() });
            self.stages.len() - 1
        });
        &mut self.stages[index]
    }

    fn set(&mut self, stage: &str, node: &Option<String>, progress: Progress) {
        self.stage(stage).steps.insert(node.clone(), progress);
    }

    fn activity(&mut self, stage: &str, node: &Option<String>, now: Timestamp, words: String) {
        let words = sanitize::line(&words);
        match self.stage(stage).steps.get_mut(node) {
            Some(Progress::Running { activity, .. }) => *activity = words,
            // A step that has not begun may say what it waits for; the rows show it as waiting all the same.
            Some(_) => {}
            None => self.set(stage, node, Progress::Running { since: now, activity: words }),
        }
    }
}
