//! A new cluster: all founders start together on empty data.

use ksp_sdk::etcd::{self, peer_url};
use ksp_sdk::prelude::*;

use crate::config::Beginning;
use crate::layout::UNIT;
use crate::membership::Standing;
use crate::{Cluster, ctl};

/// Begins it, when there are founders.
pub fn begin(cluster: &Cluster<'_>) -> Result<()> {
    let founders: Nodes =
        cluster.standing(Standing::Founds).into_iter().map(|(_, node)| node.clone()).collect();
    if founders.is_empty() {
        return Ok(());
    }
    let (cx, plan) = (cluster.cx, cluster.cx.plan());
    // The authority is made once for a cluster, and so is what is derived from it.
    let authority = etcd::authority(cx)?.public_key_hash();
    let token = format!("{}-{}", cx.spec()?.name, authority.trim_start_matches("sha256:"));
    let members: Vec<_> = founders.iter().map(|node| (node.name.clone(), peer_url(node))).collect();
    let beginning = Beginning::New { founders: members, token };
    let mut changes = Vec::new();
    for node in &founders {
        changes.push(cluster.config(node, Some(&beginning)));
    }
    cluster.guard(&founders)?;
    let unit = cluster.unit(&founders);
    // An interrupted run may have started it with other settings. No founder starts before all of them can.
    let mut restart = plan.restart(&founders, UNIT).on_change(&unit).after(&unit);
    for change in &changes {
        restart = restart.on_change(change);
    }
    plan.service(&founders, UNIT).after(&unit);
    plan.wait_for(&founders, ctl::healthy(), Duration::from_secs(90))
        .summary("wait for the member to take part");
    cluster.forget_the_beginning(&founders);
    Ok(())
}
