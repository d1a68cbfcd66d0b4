//! `cargo lab test`: formatting, lints, tests, then the tests that need real nodes; stops at the first failure.

use anyhow::{Context, Result};

use crate::build::{self, Wanted};
use crate::process::run as program;
use crate::{mirror, paths, tell};

/// Tests that need real nodes are `#[ignore]`d in this test program.
const NODE_TESTS: &str = "e2e";

pub(super) fn run(nodes: bool) -> Result<()> {
    // Ordinary tests run a real API server, too.
    tell::timed("what the tests need", || build::ensure(Wanted::With(&[])))?;
    cargo("formatting", &["fmt", "--all", "--check"], 300)?;
    cargo("lints", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"], 3600)?;
    cargo("tests", &["test", "--workspace"], 3600)?;
    if nodes {
        mirror::ensure()?;
        super::demo::build_ksp()?;
        cargo(
            "tests with real nodes",
            &["test", "--workspace", "--test", NODE_TESTS, "--", "--ignored", "--test-threads=1"],
            5400,
        )?;
    }
    tell::say("all tests passed");
    Ok(())
}

fn cargo(what: &str, args: &[&str], deadline: u64) -> Result<()> {
    tell::timed(what, || program("cargo").args(args).dir(paths::root()).deadline(deadline).shown())
        .with_context(|| format!("{what} failed; what follows was not run"))
}
