//! `ksp logs`: what past runs did, from their journals on this workstation.

use std::collections::BTreeSet;

use crate::diagnostic::Diagnostic;
use crate::event::{Event, Outcome, Stamped};
use crate::operations::{Class, Failure};
use crate::paths::Paths;
use crate::run::RunDirectory;
use crate::run::history::{self, Summary};
use crate::run::replay;

/// Which events are wanted.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// These nodes; all when empty.
    pub nodes: Vec<String>,
    /// These stages; all when empty.
    pub stages: Vec<String>,
    /// Only steps that failed.
    pub failed: bool,
}

impl Filter {
    /// True when everything is wanted.
    fn is_everything(&self) -> bool {
        self.nodes.is_empty() && self.stages.is_empty() && !self.failed
    }

    fn wants(&self, event: &Event, failed: &BTreeSet<(String, Option<String>)>) -> bool {
        if self.is_everything() {
            return true;
        }
        let Some((stage, node)) = place(event) else { return false };
        let node_matches =
            self.nodes.is_empty() || node.is_some_and(|node| self.nodes.iter().any(|it| it == node));
        let stage_matches =
            self.stages.is_empty() || stage.is_some_and(|stage| self.stages.iter().any(|it| it == stage));
        let step = || (stage.unwrap_or_default().to_owned(), node.map(str::to_owned));
        node_matches && stage_matches && (!self.failed || failed.contains(&step()))
    }
}

/// The stage and node that an event is about; none when it is about neither.
fn place(event: &Event) -> Option<(Option<&str>, Option<&str>)> {
    match event {
        Event::PlanStep { stage, node, .. }
        | Event::StepStarted { stage, node }
        | Event::OpStarted { stage, node, .. }
        | Event::OpFinished { stage, node, .. }
        | Event::StepWaiting { stage, node, .. }
        | Event::StepProgress { stage, node, .. }
        | Event::StepLog { stage, node, .. }
        | Event::StepFinished { stage, node, .. } => Some((Some(stage), node.as_deref())),
        Event::NodeUnreachable { node, .. } => Some((None, Some(node))),
        Event::Diagnostic { stage, node, .. } if stage.is_some() || node.is_some() => {
            Some((stage.as_deref(), node.as_deref()))
        }
        _ => None,
    }
}

fn failed_steps(events: &[Stamped]) -> BTreeSet<(String, Option<String>)> {
    let step = |stamped: &Stamped| match &stamped.event {
        Event::StepFinished { stage, node, outcome: Outcome::Failed, .. } => {
            Some((stage.clone(), node.clone()))
        }
        _ => None,
    };
    events.iter().filter_map(step).collect()
}

/// All runs, newest first.
///
/// # Errors
/// The state folder cannot be read.
pub fn list(paths: &Paths, cluster: Option<&str>) -> Result<Vec<Summary>, Failure> {
    let runs = history::list(paths, cluster).map_err(|error| Failure::io("read the list of runs", &error))?;
    Ok(runs.into_iter().map(|(_, summary)| summary).collect())
}

/// One run by its id, or the newest for `latest`.
///
/// # Errors
/// There is none.
pub fn find(paths: &Paths, cluster: Option<&str>, run: &str) -> Result<(RunDirectory, Summary), Failure> {
    let found =
        history::find(paths, cluster, run).map_err(|error| Failure::io("read the list of runs", &error))?;
    found.ok_or_else(|| {
        let message = match cluster {
            Some(cluster) => format!("this workstation knows no run `{run}` of cluster {cluster}"),
            None => format!("this workstation knows no run `{run}`"),
        };
        let finding = Diagnostic::error("ksp::run::unknown", message)
            .hint("`ksp logs` lists the runs; only the newest 20 of a cluster are kept, on the workstation that ran them");
        Failure::new(Class::Usage, finding)
    })
}

/// The wanted events of a run.
///
/// # Errors
/// The journal cannot be read.
pub fn events(directory: &RunDirectory, filter: &Filter) -> Result<Vec<Stamped>, Failure> {
    let mut events = read(directory)?;
    let failed = failed_steps(&events);
    events.retain(|stamped| filter.wants(&stamped.event, &failed));
    Ok(events)
}

/// Hands over the wanted lines of the journal as they are, also those of a newer ksp when nothing is filtered.
///
/// # Errors
/// The journal cannot be read.
pub fn raw(directory: &RunDirectory, filter: &Filter, mut take: impl FnMut(&str)) -> Result<(), Failure> {
    let failed = if filter.failed { failed_steps(&read(directory)?) } else { BTreeSet::new() };
    let line = |line: &[u8]| {
        let wanted = filter.is_everything()
            || serde_json::from_slice::<Stamped>(line)
                .is_ok_and(|stamped| filter.wants(&stamped.event, &failed));
        if wanted {
            take(&format!("{}\n", String::from_utf8_lossy(line)));
        }
    };
    replay::for_each_line(&directory.journal(), line).map_err(|error| unreadable(directory, &error))
}

fn read(directory: &RunDirectory) -> Result<Vec<Stamped>, Failure> {
    Ok(replay::read(&directory.journal()).map_err(|error| unreadable(directory, &error))?.events)
}

fn unreadable(directory: &RunDirectory, error: &std::io::Error) -> Failure {
    Failure::io(format!("read {}", directory.journal().display()), error)
}
