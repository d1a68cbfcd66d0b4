//! Members that live: what changed takes effect one member at a time, and only while the others are a quorum without it (T3).

use ksp_sdk::etcd::majority;
use ksp_sdk::prelude::*;

use crate::layout::{self, UNIT};
use crate::membership::Standing;
use crate::{Cluster, ctl};

/// Keeps them as the manifest wants them. Membership comes first: a restart beside a change of it could cost the quorum.
pub fn renew(cluster: &Cluster<'_>, mut restarts_on: Vec<Op>, members: Option<&Op>) -> Result<()> {
    let plan = cluster.cx.plan();
    let living: Nodes = cluster.standing(Standing::Lives).into_iter().map(|(_, node)| node.clone()).collect();
    if living.is_empty() {
        return Ok(());
    }
    for node in &living {
        restarts_on.push(cluster.config(node, None));
    }
    plan.absent(&living, layout::BEGINNING);
    restarts_on.push(cluster.unit(&living));
    // One that was stopped starts now, so that nobody waits for it in vain.
    plan.service(&living, UNIT);
    for node in &living {
        let others: Vec<&Node> = cluster.nodes.iter().filter(|other| other.id != node.id).collect();
        // One or two members can spare nobody, and still have to be maintained.
        let needed = if others.len() < 2 { 0 } else { majority(cluster.nodes.len()) };
        let watching = |op: Op| restarts_on.iter().fold(op, |op, change| op.on_change(change));
        // Takes the turn: from here to the end nobody else is interrupted.
        let mut spared = watching(plan.wait_for(node, ctl::answer(&others, needed), Duration::from_secs(60)))
            .summary("check that the other members are a quorum")
            .disruptive("etcd is restarted on this member");
        if let Some(members) = members {
            spared = spared.after(members);
        }
        let restart = watching(plan.restart(node, UNIT)).disruptive("etcd is restarted on this member");
        plan.wait_for(node, ctl::healthy(), Duration::from_secs(120))
            .summary("wait for the member to take part again")
            .on_change(&restart);
    }
    Ok(())
}
