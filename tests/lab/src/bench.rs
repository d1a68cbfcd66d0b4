//! `cargo lab bench`: ksp against what a person writes by hand, on the same nodes, in one run.
//! Times compare only with times of the same run; nothing here fails because it was slow.

mod bring_up;
mod cluster;
mod exec;
mod files;
mod high_availability;
mod networks;
mod script;
mod table;
mod timed;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::scenario::{Scenario, shown};
use crate::{build, paths, tell};

use cluster::Cluster;
use table::Table;

/// The scenario that is measured with.
const SCENARIO: &str = "bench";

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Three fresh nodes: a hand-written kubeadm script, then `ksp up`
    BringUp,
    /// `ksp up` on a cluster that is as the manifest says
    Again,
    /// One more worker
    Worker,
    /// `ksp --version`
    Start,
    /// Three control planes and two workers: by hand and by ksp, a rolling change, a control plane that dies
    HighAvailability,
    /// Each network on fresh nodes, beside Flannel
    Networks,
    /// The library's own measurements: scripts over one connection, loading of plugins
    Exec,
}

/// Measures, prints the table, and removes the nodes, also after an error.
pub fn run(only: &[Part]) -> Result<()> {
    let wanted = |part| only.is_empty() || only.contains(&part);
    if only != [Part::Exec] && !paths::ksp().is_file() {
        bail!("there is no {}: `cargo build --package ksp` makes it", shown(&paths::ksp()));
    }
    let mut table = Table::default();
    let result = measure(wanted, &mut table);
    // What was measured before an error is worth showing.
    table.print();
    result
}

fn measure(wanted: impl Fn(Part) -> bool, table: &mut Table) -> Result<()> {
    if wanted(Part::Start) {
        let figure = timed::median(10, || timed::ksp().arg("--version"), Duration::from_secs(10))?;
        table.below("ksp --version, median of 10", figure, Duration::from_millis(20));
    }
    if wanted(Part::Exec) {
        exec::measure(table);
    }
    if [Part::BringUp, Part::Again, Part::Worker].into_iter().any(&wanted) {
        build::ensure(build::Wanted::With(&[]))?;
        with_nodes(&wanted, table)?;
    }
    if wanted(Part::HighAvailability) {
        build::ensure(build::Wanted::With(&[]))?;
        high_availability::measure(table)?;
    }
    if wanted(Part::Networks) {
        networks::measure(table)?;
    }
    Ok(())
}

fn with_nodes(wanted: &impl Fn(Part) -> bool, table: &mut Table) -> Result<()> {
    let _removed = Removed;
    let by_hand = if wanted(Part::BringUp) { Some(bring_up::by_hand()?) } else { None };
    let cluster = Cluster::fresh()?;
    let by_ksp = tell::timed("ksp up, three fresh nodes", || cluster.up())?;
    if let Some(by_hand) = by_hand {
        bring_up::compare(by_hand, by_ksp, table);
    }
    if wanted(Part::Again) {
        tell::say("ksp up again, five times …");
        let figure = timed::median(5, || cluster.command(), cluster::LONGEST)?;
        table.below("ksp up again, unchanged, median of 5", figure, Duration::from_secs(3));
    }
    if wanted(Part::Worker) {
        let before = files::of(&cluster.scenario)?;
        let more = cluster.with_another_worker()?;
        let figure = tell::timed("ksp up, one more worker", || more.up())?;
        table.below("ksp up, one more worker", figure, Duration::from_secs(25));
        let changed = files::changed(&before, &files::of(&cluster.scenario)?);
        table.nothing("files changed on the other nodes", &changed);
    }
    Ok(())
}

/// Removes the nodes when dropped.
struct Removed;

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = crate::scenario::down(SCENARIO) {
            tell::say(format_args!("`cargo lab down {SCENARIO}` is needed: {error:#}"));
        }
    }
}

/// The scenario without its last node.
fn three() -> Result<Scenario> {
    let mut scenario = Scenario::load(SCENARIO)?;
    scenario.nodes.pop();
    Ok(scenario)
}
