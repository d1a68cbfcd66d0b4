//! Past runs of this workstation.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{LATEST, RunDirectory, RunId, replay};
use crate::event::Event;
use crate::exec::RunReport;
use crate::paths::Paths;

/// The content of `report.json`: how a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its id.
    pub run: String,
    /// The cluster's name.
    pub cluster: String,
    /// "up", "reset", …
    pub command: String,
    /// When it ended.
    pub ended: Timestamp,
    /// What the process exited with.
    pub exit_code: u8,
    /// What became of the steps.
    #[serde(flatten)]
    pub report: RunReport,
}

/// One line of the list of runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Its id.
    pub run: String,
    /// The cluster's name.
    pub cluster: String,
    /// "up", "reset", …
    pub command: String,
    /// When it began.
    pub started: Option<Timestamp>,
    /// None when it did not end by itself.
    pub exit_code: Option<u8>,
    /// Wall time, when it ended.
    pub seconds: Option<f64>,
    /// Steps that changed something.
    pub changed: Option<u32>,
    /// Steps that failed.
    pub failed: Option<u32>,
}

/// All runs of a cluster (of all clusters when none is named), newest first.
///
/// # Errors
/// The state folder exists and cannot be read.
pub fn list(paths: &Paths, cluster: Option<&str>) -> io::Result<Vec<(RunDirectory, Summary)>> {
    let clusters = match cluster {
        Some(name) => vec![name.to_owned()],
        None => names(&paths.state)?,
    };
    let mut found = Vec::new();
    for name in clusters {
        for (directory, _) in directories(&paths.runs(&name))? {
            let summary = summarise(&directory, &name);
            found.push((directory, summary));
        }
    }
    found.sort_by(|(_, a), (_, b)| b.started.cmp(&a.started).then_with(|| b.run.cmp(&a.run)));
    Ok(found)
}

/// A run by its id, or the newest for `latest`.
///
/// # Errors
/// The state folder cannot be read.
pub fn find(paths: &Paths, cluster: Option<&str>, run: &str) -> io::Result<Option<(RunDirectory, Summary)>> {
    let mut all = list(paths, cluster)?.into_iter();
    Ok(if run == LATEST { all.next() } else { all.find(|(directory, _)| directory.id.as_str() == run) })
}

/// Removes all but the newest runs; `current` always stays.
pub(super) fn prune(runs: &Path, keep: usize, current: &RunId) -> io::Result<()> {
    let mut all = directories(runs)?;
    all.sort_by_key(|(_, modified)| std::cmp::Reverse(*modified));
    for (directory, _) in
        all.into_iter().filter(|(directory, _)| directory.id != *current).skip(keep.saturating_sub(1))
    {
        fs::remove_dir_all(&directory.path)?;
    }
    Ok(())
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

/// Only what looks like a run and is a real folder: nothing else is ever listed or removed.
fn directories(runs: &Path) -> io::Result<Vec<(RunDirectory, SystemTime)>> {
    let run = |name: String| {
        let directory = RunDirectory::of(runs, RunId::parse(&name)?);
        let metadata = fs::symlink_metadata(&directory.path).ok().filter(fs::Metadata::is_dir)?;
        Some((directory, metadata.modified().ok()?))
    };
    Ok(names(runs)?.into_iter().filter_map(run).collect())
}

fn summarise(directory: &RunDirectory, cluster: &str) -> Summary {
    let mut summary = Summary {
        run: directory.id.to_string(),
        cluster: cluster.to_owned(),
        command: String::new(),
        started: None,
        exit_code: None,
        seconds: None,
        changed: None,
        failed: None,
    };
    if let Some((time, command)) = beginning(directory) {
        summary.started = Some(time);
        summary.command = command;
    }
    if let Some(record) = record(directory) {
        summary.exit_code = Some(record.exit_code);
        summary.seconds = Some(record.report.seconds);
        summary.changed = Some(record.report.changed);
        summary.failed = Some(record.report.failed);
    }
    summary
}

/// How a run ended, when it did.
pub fn record(directory: &RunDirectory) -> Option<Record> {
    serde_json::from_slice(&fs::read(directory.report()).ok()?).ok()
}

fn beginning(directory: &RunDirectory) -> Option<(Timestamp, String)> {
    let replay =
        replay::read_until(&directory.journal(), |stamped| matches!(stamped.event, Event::RunStarted { .. }))
            .ok()??;
    match replay.event {
        Event::RunStarted { command, .. } => Some((replay.time, command)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use jiff::ZonedDateTime;

    use super::*;
    use crate::event::Events;
    use crate::redact::Redactor;
    use crate::run::{KEPT_RUNS, atomic, journal::Journal};

    fn paths(root: &Path) -> Paths {
        Paths { state: root.join("state"), cache: root.join("cache") }
    }

    fn run(paths: &Paths, finished: Option<u8>) -> RunDirectory {
        let directory = RunDirectory::create(paths, "prod", &ZonedDateTime::now()).unwrap();
        let journal = Journal::default();
        journal.open(&directory).unwrap();
        let events = Events::new(vec![Box::new(journal)], Redactor::default());
        events.emit(Event::PhaseFinished { phase: "facts".into(), detail: String::new(), seconds: 0.1 });
        let run = directory.id.to_string();
        events.emit(Event::RunStarted {
            run: run.clone(),
            cluster: "prod".into(),
            command: "up".into(),
            nodes: 3,
        });
        if let Some(exit_code) = finished {
            let report = RunReport { changed: 4, seconds: 2.5, ..RunReport::default() };
            let record = Record {
                run,
                cluster: "prod".into(),
                command: "up".into(),
                ended: Timestamp::now(),
                exit_code,
                report,
            };
            atomic::write(&directory.report(), &serde_json::to_vec(&record).unwrap(), 0o600).unwrap();
        }
        directory
    }

    #[test]
    fn runs_are_listed_newest_first_with_their_end() {
        let root = tempfile::tempdir().unwrap();
        let paths = paths(root.path());
        let first = run(&paths, Some(0));
        std::thread::sleep(std::time::Duration::from_millis(5));
        let second = run(&paths, None);
        let found = list(&paths, None).unwrap();
        let seen: Vec<_> =
            found.iter().map(|(it, summary)| (it.id.clone(), summary.exit_code, summary.changed)).collect();
        assert_eq!(seen, [(second.id.clone(), None, None), (first.id.clone(), Some(0), Some(4))]);
        assert_eq!(find(&paths, Some("prod"), LATEST).unwrap().unwrap().0.id, second.id);
        assert_eq!(find(&paths, None, first.id.as_str()).unwrap().unwrap().0.id, first.id);
        assert_eq!(find(&paths, Some("other"), LATEST).unwrap(), None);
    }

    #[test]
    fn only_the_newest_runs_are_kept_and_nothing_else_is_touched() {
        let root = tempfile::tempdir().unwrap();
        let paths = paths(root.path());
        let foreign = paths.runs("prod").join("notes");
        fs::create_dir_all(&foreign).unwrap();
        let mut last = None;
        for _ in 0..KEPT_RUNS + 3 {
            last = Some(RunDirectory::create(&paths, "prod", &ZonedDateTime::now()).unwrap());
        }
        assert_eq!(list(&paths, None).unwrap().len(), KEPT_RUNS);
        assert!(last.unwrap().path.exists() && foreign.exists());
    }
}
