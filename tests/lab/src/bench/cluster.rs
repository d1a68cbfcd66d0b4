//! The cluster that ksp makes, and the one with a worker more.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;

use super::{SCENARIO, three, timed};
use crate::process::Run;
use crate::scenario::{self, Scenario};

/// Longest run of ksp.
pub const LONGEST: Duration = Duration::from_secs(900);

/// Nodes, and what ksp remembers of them. Its cache is the user's: warm when ksp has run on this machine before.
pub struct Cluster {
    /// The nodes.
    pub scenario: Scenario,
    state: Rc<TempDir>,
}

impl Cluster {
    /// Three fresh nodes; ksp has not yet been there.
    pub fn fresh() -> Result<Self> {
        scenario::down(SCENARIO)?;
        Self::of(three()?)
    }

    /// The nodes of a scenario, booted.
    pub fn of(scenario: Scenario) -> Result<Self> {
        Ok(Self { scenario: scenario.up()?, state: Rc::new(tempfile::tempdir()?) })
    }

    /// The same with a fresh node more, in the manifest as well.
    pub fn with_another_worker(&self) -> Result<Self> {
        Ok(Self { scenario: Scenario::load(SCENARIO)?.up()?, state: Rc::clone(&self.state) })
    }

    /// `ksp up`.
    pub fn command(&self) -> Run {
        let manifest = self.scenario.manifest_path();
        timed::ksp().arg("up").arg(manifest).arg("--yes").env("KSP_STATE_DIR", self.state.path())
    }

    /// How long `ksp up` takes.
    pub fn up(&self) -> Result<Duration> {
        Ok(timed::once(self.command(), LONGEST)?.0)
    }
}
