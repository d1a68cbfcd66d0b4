//! Members of a cluster that runs: those that are gone for good are removed first, then others join one by one (T2). Each is a learner
//! until it has all data, so that the quorum never depends on a member that has none.

use ksp_sdk::etcd::peer_url;
use ksp_sdk::prelude::*;

use crate::config::Beginning;
use crate::layout::{DATA, UNIT};
use crate::membership::Standing;
use crate::{Cluster, ctl};

/// Removes and joins. The op after which membership is as the manifest wants it.
pub fn join(cluster: &Cluster<'_>) -> Result<Option<Op>> {
    let plan = cluster.cx.plan();
    let via = cluster.via();
    let joining = cluster.standing(Standing::Joins);
    let new: Nodes = joining.iter().map(|(_, node)| (*node).clone()).collect();
    // Nobody is removed before those that come instead are ready to.
    let unit = (!new.is_empty()).then(|| cluster.unit(&new));
    let mut before: Option<Op> = None;
    for member in &cluster.decision.removed {
        let Some(on) = via.first().copied() else { break };
        let removed = plan
            .exec(on, ctl::remove(member.id))
            .summary(format!("remove {} from the etcd cluster", member.called()))
            .unless(ctl::is_removed(member.id));
        before = Some(match &unit {
            Some(unit) => removed.after(unit),
            None => removed,
        });
    }
    let mut members: Vec<(String, String)> =
        cluster.decision.kept.iter().map(|it| (it.name.clone(), it.peer_urls.join(","))).collect();
    for (at, node) in joining {
        let url = peer_url(node);
        members.retain(|(_, known)| *known != url);
        members.push((node.name.clone(), url));
        // In an order of its own: an interrupted run goes on with the same file.
        let mut sorted = members.clone();
        sorted.sort_by(|a, b| a.1.cmp(&b.1));
        let lost = cluster.decision.lost.get(&at).copied();
        let joiner = Joiner { node, members: named(sorted), lost };
        before = Some(one(cluster, &joiner, &via, unit.as_ref(), before.as_ref())?);
    }
    Ok(before)
}

struct Joiner<'a> {
    node: &'a Node,
    /// Names and peer addresses when it starts, its own too.
    members: Vec<(String, String)>,
    /// The id of its member whose data were lost.
    lost: Option<u64>,
}

/// One node joins. The op after which it has a voice.
fn one(
    cluster: &Cluster<'_>,
    joiner: &Joiner<'_>,
    via: &[&Node],
    unit: Option<&Op>,
    before: Option<&Op>,
) -> Result<Op> {
    let Joiner { node, members, lost } = joiner;
    let (node, lost) = (*node, *lost);
    let plan = cluster.cx.plan();
    let added = plan
        .exec(node, ctl::add(node, via))
        .summary("join the etcd cluster as a learner")
        .unless(ctl::is_listed(node, via, lost))
        .retry(10, Duration::from_secs(2));
    if let Some(before) = before {
        drop(added.after(before));
    }
    if lost.is_some() {
        let aside = format!("[ ! -e {DATA}/member ] || mv {DATA}/member {DATA}/member.aside.$(date +%s)");
        plan.exec(node, argv!["sh", "-c", aside]).summary("put aside what is left of the data").unless([
            "test",
            "!",
            "-e",
            &format!("{DATA}/member"),
        ]);
    }
    let config = cluster.config(node, Some(&Beginning::Existing { members: members.clone() }));
    cluster.guard(node)?;
    let restart = plan.restart(node, UNIT).on_change(&config);
    if let Some(unit) = unit {
        drop(restart.on_change(unit));
    }
    plan.service(node, UNIT);
    let promoted = plan
        .exec(node, ctl::promote(node, via))
        .summary("give the learner a voice as soon as it has all data")
        .unless(ctl::is_voter(node, via, lost))
        .retry(60, Duration::from_secs(2));
    plan.wait_for(node, ctl::healthy(), Duration::from_secs(60)).summary("wait for the member to take part");
    cluster.forget_the_beginning(node);
    Ok(promoted)
}

/// A member that was never started has told no name yet; any will do, etcd goes by addresses.
fn named(members: Vec<(String, String)>) -> Vec<(String, String)> {
    let name = |(at, (name, url)): (usize, (String, String))| match name.is_empty() {
        true => (format!("unnamed-{at}"), url),
        false => (name, url),
    };
    members.into_iter().enumerate().map(name).collect()
}
