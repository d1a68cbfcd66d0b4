//! The journal: every event of a run, one JSON object a line, on disk before the effect it announces.
//!
//! A run gets its folder only when the user has agreed to the plan; what happened before (facts, probes) is held back and
//! written first.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::RunDirectory;
use super::node_log::NodeLogs;
use crate::event::{Event, Sink, Stamped};

/// How many events are held back before the folder exists; beyond that, the oldest output is not worth the memory.
const HELD_BACK: usize = 20_000;

/// The sink that must not lose events. Clones write to the same journal.
#[derive(Clone, Default)]
pub struct Journal(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// How many records are known to be on disk. Held while syncing, so that those who wait share one sync.
    synced: Mutex<u64>,
}

enum State {
    Waiting(Vec<Stamped>),
    Writing(Writer),
    /// A record may be half written: nothing can be appended any more.
    Failed(io::ErrorKind, String),
}

impl Default for State {
    fn default() -> Self {
        State::Waiting(Vec::new())
    }
}

struct Writer {
    file: Arc<File>,
    logs: NodeLogs,
    written: u64,
}

impl Journal {
    /// Begins to write into the folder of a run.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn open(&self, directory: &RunDirectory) -> io::Result<()> {
        let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(directory.journal())?;
        let mut writer =
            Writer { file: Arc::new(file), logs: NodeLogs::new(directory.path.join("nodes")), written: 0 };
        let mut state = self.state();
        if let State::Waiting(held) = &*state {
            held.iter().try_for_each(|stamped| writer.write(stamped))?;
        }
        *state = State::Writing(writer);
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when record number `record` is on disk.
    fn sync(&self, file: &File, record: u64) -> io::Result<()> {
        let mut synced = self.0.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if *synced >= record {
            return Ok(());
        }
        let written = match &*self.state() {
            State::Writing(writer) => writer.written,
            _ => record,
        };
        file.sync_data()
            .inspect_err(|error| *self.state() = State::Failed(error.kind(), error.to_string()))?;
        *synced = written;
        Ok(())
    }
}

impl Writer {
    fn write(&mut self, stamped: &Stamped) -> io::Result<()> {
        // Percentages are for the screen; there would be thousands.
        if matches!(stamped.event, Event::StepProgress { .. }) {
            return Ok(());
        }
        let mut line = serde_json::to_vec(stamped)?;
        line.push(b'\n');
        (&*self.file).write_all(&line)?;
        self.written += 1;
        self.logs.write(stamped)
    }
}

impl Sink for Journal {
    fn accept(&self, stamped: &Stamped, durable: bool) -> io::Result<()> {
        let mut state = self.state();
        let (file, record) = match &mut *state {
            State::Waiting(_) if durable => return Err(io::Error::other("the run has no folder yet")),
            State::Waiting(held) => {
                if held.len() < HELD_BACK {
                    held.push(stamped.clone());
                }
                return Ok(());
            }
            State::Failed(kind, message) => return Err(io::Error::new(*kind, message.clone())),
            State::Writing(writer) => match writer.write(stamped) {
                Ok(()) => (writer.file.clone(), writer.written),
                Err(error) => {
                    *state = State::Failed(error.kind(), error.to_string());
                    return Err(error);
                }
            },
        };
        drop(state);
        if durable { self.sync(&file, record) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use jiff::ZonedDateTime;

    use super::*;
    use crate::event::Events;
    use crate::paths::Paths;
    use crate::redact::{Redactor, Secret};
    use crate::run::replay;

    fn directory(root: &std::path::Path) -> RunDirectory {
        let paths = Paths { state: root.join("state"), cache: root.join("cache") };
        RunDirectory::create(&paths, "prod", &ZonedDateTime::now()).unwrap()
    }

    fn log(text: &str) -> Event {
        Event::StepLog { stage: "etcd".into(), node: Some("cp1".into()), text: text.into() }
    }

    #[test]
    fn events_before_the_folder_come_first_and_secrets_never_come() {
        let root = tempfile::tempdir().unwrap();
        let redactor = Redactor::default();
        redactor.learn(&Secret::new("canary-secret-value"));
        let journal = Journal::default();
        let events = Events::new(vec![Box::new(journal.clone())], redactor);
        events.emit(log("before"));
        assert!(events.emit_durably(log("too early")).is_err());
        let directory = directory(root.path());
        journal.open(&directory).unwrap();
        events.emit_durably(log("password is canary-secret-value")).unwrap();

        let text = std::fs::read_to_string(directory.journal()).unwrap();
        assert!(!text.contains("canary") && text.contains(crate::redact::MASK));
        let texts: Vec<Event> =
            replay::read(&directory.journal()).unwrap().events.into_iter().map(|it| it.event).collect();
        assert_eq!(texts, [log("before"), log("password is (sensitive)")]);
        assert_eq!(std::fs::metadata(directory.journal()).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(directory.node_log("cp1")).unwrap().contains("canary"));
    }

    #[test]
    fn every_prefix_of_a_journal_reads_as_its_whole_records() {
        let root = tempfile::tempdir().unwrap();
        let journal = Journal::default();
        let directory = directory(root.path());
        journal.open(&directory).unwrap();
        let events = Events::new(vec![Box::new(journal)], Redactor::default());
        for index in 0..5 {
            events.emit_durably(log(&format!("line {index} µ"))).unwrap();
        }
        let bytes = std::fs::read(directory.journal()).unwrap();
        let torn = root.path().join("torn");
        for length in 0..=bytes.len() {
            std::fs::write(&torn, &bytes[..length]).unwrap();
            let whole = bytes[..length].iter().filter(|byte| **byte == b'\n').count();
            let replay = replay::read(&torn).unwrap();
            assert_eq!((replay.events.len(), replay.skipped), (whole, 0), "cut at {length}");
        }
    }

    #[test]
    fn a_write_error_stops_the_run_and_stays() {
        // Every write to this device fails with "no space left".
        let file = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let journal = Journal::default();
        let logs = NodeLogs::new("/nonexistent".into());
        *journal.state() = State::Writing(Writer { file: Arc::new(file), logs, written: 0 });
        let events = Events::new(vec![Box::new(journal)], Redactor::default());
        events.emit(Event::PhaseStarted { phase: "x".into() });
        let error = events.emit_durably(Event::PhaseStarted { phase: "x".into() }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
