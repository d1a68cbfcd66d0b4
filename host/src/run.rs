//! Runs on the workstation: `<state>/<cluster>/runs/<run-id>/` with the journal, a text log per node, the plan and the report.
//!
//! Everything in it belongs to the user alone (folders 0700, files 0600). The cluster itself is the memory; losing this folder
//! loses history and nothing else.

pub mod atomic;
pub mod history;
pub mod journal;
pub mod node_log;
pub mod replay;
pub mod timings;

use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::ZonedDateTime;

use crate::paths::Paths;

/// How many runs of a cluster are kept.
pub const KEPT_RUNS: usize = 20;

/// The link to the newest run.
pub const LATEST: &str = "latest";

/// Names a run: time and four hex digits, easy to read aloud: `0821-1412-7f3a`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RunId(String);

impl RunId {
    /// A new one for this moment.
    pub fn new(now: &ZonedDateTime) -> Self {
        Self(format!("{}-{:04x}", now.strftime("%m%d-%H%M"), rand::random::<u16>()))
    }

    /// Reads one; none when the text is not a run id, which also keeps paths out.
    pub fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let digits = |part: &str| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_digit());
        let hex = |part: &str| {
            part.len() == 4 && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        };
        match parts.as_slice() {
            [day, minute, random] if digits(day) && digits(minute) && hex(random) => {
                Some(Self(text.to_owned()))
            }
            _ => None,
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDirectory {
    /// The run.
    pub id: RunId,
    /// Its folder.
    pub path: PathBuf,
}

impl RunDirectory {
    /// Makes the folder of a new run, points `latest` at it, and removes runs beyond the newest [`KEPT_RUNS`].
    ///
    /// # Errors
    /// The state folder cannot be written.
    pub fn create(paths: &Paths, cluster: &str, now: &ZonedDateTime) -> io::Result<Self> {
        let runs = paths.runs(cluster);
        private_directory(&runs)?;
        let directory = Self::claim(&runs, now)?;
        DirBuilder::new().mode(0o700).create(directory.path.join("nodes"))?;
        point_latest(&runs, &directory.id)?;
        history::prune(&runs, KEPT_RUNS, &directory.id)?;
        Ok(directory)
    }

    /// The folder of a known run.
    pub fn of(runs: &Path, id: RunId) -> Self {
        Self { path: runs.join(id.as_str()), id }
    }

    /// The journal: one event a line.
    pub fn journal(&self) -> PathBuf {
        self.path.join("events.ndjson")
    }

    /// The text log of a node.
    pub fn node_log(&self, node: &str) -> PathBuf {
        self.path.join("nodes").join(format!("{node}.log"))
    }

    /// How the run ended.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.json")
    }

    /// What was going to be done.
    pub fn plan(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    /// Two runs may start in the same minute and draw the same digits: the folder decides.
    fn claim(runs: &Path, now: &ZonedDateTime) -> io::Result<Self> {
        let mut last = None;
        for _ in 0..16 {
            let directory = Self::of(runs, RunId::new(now));
            match DirBuilder::new().mode(0o700).create(&directory.path) {
                Ok(()) => return Ok(directory),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| io::Error::other("no free run id")))
    }
}

fn private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn point_latest(runs: &Path, id: &RunId) -> io::Result<()> {
    let fresh = runs.join(format!(".{LATEST}-{id}"));
    std::os::unix::fs::symlink(id.as_str(), &fresh)?;
    std::fs::rename(&fresh, runs.join(LATEST))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    pub(crate) fn paths(root: &Path) -> Paths {
        Paths { state: root.join("state"), cache: root.join("cache") }
    }

    #[test]
    fn a_run_id_is_read_back_and_nothing_else_is() {
        let now: ZonedDateTime = "2026-08-21T14:12:03[UTC]".parse().unwrap();
        let id = RunId::new(&now);
        assert!(id.as_str().starts_with("0821-1412-"));
        assert_eq!(RunId::parse(id.as_str()), Some(id));
        for wrong in
            ["", "latest", "../../etc", "0821-1412", "0821-1412-7F3A", "0821-1412-7f3a/..", "0821-1412-7f3a-"]
        {
            assert_eq!(RunId::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_run_directory_is_private_and_latest_points_at_it() {
        let root = tempfile::tempdir().unwrap();
        let now = ZonedDateTime::now();
        let first = RunDirectory::create(&paths(root.path()), "prod", &now).unwrap();
        let second = RunDirectory::create(&paths(root.path()), "prod", &now).unwrap();
        assert_ne!(first.id, second.id);
        let runs = paths(root.path()).runs("prod");
        assert_eq!(std::fs::read_link(runs.join(LATEST)).unwrap(), Path::new(second.id.as_str()));
        for folder in [runs.as_path(), &second.path, &second.path.join("nodes")] {
            assert_eq!(
                std::fs::metadata(folder).unwrap().permissions().mode() & 0o777,
                0o700,
                "{}",
                folder.display()
            );
        }
    }
}
