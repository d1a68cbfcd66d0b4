//! `cargo lab test`: formatting, lints, tests, then the tests that need real nodes; stops at the first failure.

use anyhow::{Context, Result};

use crate::build::{self, Wanted};
use crate::{process, tell};

use super::node_tests::{self, Choice};

/// Everything, and of the tests with real nodes those that are chosen.
pub(super) fn run(nodes: Option<&Choice>) -> Result<()> {
    // Ordinary tests run a real API server, too.
    tell::timed("what the tests need", || build::ensure(Wanted::With(&[])))?;
    cargo("formatting", &["fmt", "--all", "--check"], 300)?;
    cargo("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], 3600)?;
    cargo("tests", &["test", "--workspace"], 3600)?;
    if let Some(choice) = nodes {
        node_tests::run(choice)?;
    }
    tell::say("all tests passed");
    Ok(())
}

fn cargo(what: &str, args: &[&str], deadline: u64) -> Result<()> {
    tell::timed(what, || process::cargo().args(args).deadline(deadline).shown())
        .with_context(|| format!("{what} failed; what follows was not run"))
}
