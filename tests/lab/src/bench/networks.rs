//! The same three machines with each network: until all nodes are Ready, until all is proven, and once more without a change.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use super::cluster::{self, Cluster};
use super::table::{Table, time};
use super::timed;
use crate::proof::Kubectl;
use crate::scenario::{self, Scenario};
use crate::{build, tell};

/// What the others are compared with, first. One control plane and two workers each.
const SCENARIOS: [&str; 5] = ["e2e", "flannel", "calico", "cilium", "cilium-proxy"];

/// When each node became Ready, in seconds of the epoch.
const READY: &str =
    "get nodes -o jsonpath={.items[*].status.conditions[?(@.type==\"Ready\")].lastTransitionTime}";

/// Measures one after another, and removes the nodes of each, also after an error.
pub fn measure(table: &mut Table) -> Result<()> {
    let mut first: Option<Duration> = None;
    for name in SCENARIOS {
        let ready = of(name, table)?;
        let first = *first.get_or_insert(ready);
        let ratio = ready.as_secs_f64() / first.as_secs_f64();
        table.plain(
            &format!("{name}: until all nodes are Ready"),
            format!("{}, {ratio:.2} x {}", time(ready), SCENARIOS[0]),
        );
    }
    Ok(())
}

fn of(name: &str, table: &mut Table) -> Result<Duration> {
    let _removed = Removed(name);
    scenario::down(name)?;
    let scenario = Scenario::load(name)?;
    build::ensure(build::Wanted::With(&scenario.components))?;
    let cluster = Cluster::of(scenario)?;
    let began = SystemTime::now();
    let whole = tell::timed(&format!("ksp up, {name}"), || cluster.up())?;
    let ready = last_ready(&Kubectl::of(&cluster.scenario)?)?;
    table.plain(&format!("{name}: ksp up, three fresh nodes"), time(whole));
    let again = timed::median(3, || cluster.command(), cluster::LONGEST)?;
    table.below(&format!("{name}: ksp up again, unchanged, median of 3"), again, Duration::from_secs(5));
    ready.duration_since(began).context("a node was Ready before it was made")
}

/// When the last node became Ready; a node that was Ready before and had an interruption counts by its end.
fn last_ready(kubectl: &Kubectl) -> Result<SystemTime> {
    let times = kubectl.run(READY).output()?;
    let parse = |text: &str| -> Result<SystemTime> {
        let output = crate::process::run("date").args(["-d", text, "+%s"]).output()?;
        Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(output.trim().parse()?))
    };
    let times: Vec<SystemTime> = times.split_whitespace().map(parse).collect::<Result<_>>()?;
    times.into_iter().max().context("there are no nodes")
}

/// Removes the nodes when dropped.
struct Removed<'a>(&'a str);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        if let Err(error) = scenario::down(self.0) {
            tell::say(format_args!("`cargo lab down {}` is needed: {error:#}", self.0));
        }
    }
}
