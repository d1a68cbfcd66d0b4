//! `cargo lab demo`: from nothing to a cluster that is shown to work.

use anyhow::Result;

use crate::build::{self, Wanted};
use crate::process::{self, run as program};
use crate::scenario::{Scenario, shown};
use crate::{paths, proof, tell};

pub(super) fn run() -> Result<()> {
    build::ensure(Wanted::With(&[]))?;
    build_ksp()?;
    let scenario = Scenario::load("demo")?.up()?;
    tell::timed(&format!("ksp up {}", shown(&scenario.manifest_path())), || {
        program(paths::ksp())
            .arg("up")
            .arg(scenario.manifest_path())
            .arg("--yes")
            .dir(paths::root())
            .deadline(1200)
            .shown()
    })?;
    proof::show(&scenario)?;
    tell::say(format_args!("the cluster stays: KUBECONFIG={} kubectl …", shown(&scenario.kubeconfig())));
    tell::say("remove it: cargo lab down demo");
    Ok(())
}

/// The program under test. Built with the features that the whole workspace asks of its dependencies, as the tests
/// are: wasmtime is compiled once and not twice.
pub(super) fn build_ksp() -> Result<()> {
    tell::timed("build ksp", || {
        process::cargo().args(["build", "--workspace", "--bin", "ksp"]).deadline(3600).shown()
    })
}
