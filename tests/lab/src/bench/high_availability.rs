//! Three control planes and two workers: by hand and by ksp, then what a client sees while settings roll and while a control plane
//! dies.

use std::time::Duration;

use anyhow::{Context, Result};

use super::bring_up;
use super::cluster::Cluster;
use super::table::{Table, time};
use crate::scenario::{self, Scenario};
use crate::sequence::Sequence;
use crate::tell;

/// The scenario that is measured with.
const SCENARIO: &str = "bench-ha";
/// A worker, and the API as it sees it.
const CLIENT: (&str, &str) = ("w1", "https://127.0.0.1:7443");

/// Measures, and removes the nodes, also after an error.
pub fn measure(table: &mut Table) -> Result<()> {
    let _removed = Removed;
    scenario::down(SCENARIO)?;
    let by_hand = bring_up::scripted("kubeadm script, three control planes and two workers", {
        // The script has no balancer: its endpoint is the first control plane.
        Scenario::load(SCENARIO)?
    })?;
    scenario::down(SCENARIO)?;
    let cluster = Cluster::of(Scenario::load(SCENARIO)?)?;
    let by_ksp = tell::timed("ksp up, three control planes and two workers", || cluster.up())?;
    table.plain("kubeadm script, three control planes, two workers", time(by_hand));
    table.plain("ksp up, the same with a balancer on each node", time(by_ksp));
    let allowed = (by_hand.mul_f64(1.1)).max(by_hand + Duration::from_secs(20));
    table.below("ksp, against the script and 10 % or 20 s", by_ksp, allowed);
    roll(&cluster, table)?;
    failover(&cluster, table)
}

/// A flag of the API server changes on all three.
fn roll(cluster: &Cluster, table: &mut Table) -> Result<()> {
    let mut scenario = cluster.scenario.clone();
    let flags: toml::Table = toml::from_str("api-server = { \"max-requests-inflight\" = \"500\" }")?;
    scenario.stage_config.insert("ksp/control-plane".into(), flags);
    scenario.write_manifest()?;
    let sequence = Sequence::start(&scenario, CLIENT.0, CLIENT.1)?;
    let took = tell::timed("ksp up, another flag of the API servers", || cluster.up())?;
    let seen = sequence.finish()?;
    table.plain("ksp up, another flag of three API servers", time(took));
    let uncured: Vec<String> = seen.reasons.iter().filter(|_| seen.in_a_row > 1).cloned().collect();
    table.nothing("requests during it that one retry did not cure", &uncured);
    Ok(())
}

/// The control plane that a worker's client talks to dies, whichever it is.
fn failover(cluster: &Cluster, table: &mut Table) -> Result<()> {
    let mut longest = Duration::ZERO;
    for name in ["cp1", "cp2", "cp3"] {
        let node = cluster.scenario.node(name).context("the scenario has three control planes")?;
        let sequence = Sequence::start(&cluster.scenario, CLIENT.0, CLIENT.1)?;
        node.kill()?;
        sequence.passes(5)?;
        longest = longest.max(sequence.finish()?.longest_gap);
        node.start()?;
        // The next one may die only when this one is back.
        tell::timed(&format!("{name} comes back"), || cluster.up())?;
    }
    table.below("longest gap on a worker when a control plane dies", longest, Duration::from_secs(15));
    Ok(())
}

/// Removes the nodes when dropped.
struct Removed;

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = scenario::down(SCENARIO) {
            tell::say(format_args!("`cargo lab down {SCENARIO}` is needed: {error:#}"));
        }
    }
}
