//! `cargo lab ssh`.

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::scenario::Scenario;

pub(super) fn run(scenario: &str, node: &str, user: &str, command: &[String]) -> Result<()> {
    let scenario = Scenario::load(scenario)?;
    let mut ssh = scenario.node(node)?.ssh(user).args(command).into_command();
    // Returns only when it fails.
    Err(ssh.exec()).context("cannot run ssh")
}
