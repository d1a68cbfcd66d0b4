//! The members of the stacked etcd against the nodes of the manifest: who has to go before anybody is added. Pure; a member is
//! known by its peer address and its id, never by its place in a list.

use ksp_sdk::etcd::{Health, Member, Members, majority};

/// A member as etcd lists it, and whether it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// The member.
    pub member: Member,
    /// It answers with a read that a majority confirms.
    pub alive: bool,
}

impl Heard {
    /// From what etcdctl prints as JSON of the members and of their health. None when it is no such answer.
    pub fn read(list: &str, health: &str) -> Option<Vec<Self>> {
        let health = Health::read(health);
        let heard = |member| Self { alive: health.of(&member), member };
        Some(Members::read(list)?.members.into_iter().map(heard).collect())
    }
}

/// What is known of a node's own part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    /// It cannot be reached.
    Unknown,
    /// No control plane yet, or one whose making was interrupted.
    Incomplete {
        /// etcd has begun to write there.
        data: bool,
    },
    /// A control plane.
    Complete {
        /// etcd's data is there.
        data: bool,
    },
}

/// A node of the manifest with what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where its member is, or would be.
    pub peer_url: &'a str,
    /// What it has.
    pub own: Own,
}

/// A member that has to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// Which.
    pub member: Member,
    /// The end of a sentence that begins with its name.
    pub why: &'static str,
    /// Its node is not in the manifest either.
    pub with_node: bool,
}

/// What has to happen before anybody is added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Removed first.
    pub departures: Vec<Departure>,
    /// Nodes that are control planes and need a new member: their data is gone.
    pub refill: Vec<String>,
    /// Learners on complete nodes: an interrupted run did not promote them.
    pub promote: Vec<Member>,
    /// What refuses the run: code, message, hint.
    pub refusals: Vec<(&'static str, String, String)>,
}

/// Compares members with nodes.
pub fn compare(places: &[Place<'_>], members: &[Heard]) -> Changes {
    let mut changes = Changes::default();
    for Heard { member, alive } in members {
        let place = places.iter().find(|place| member.is_at(place.peer_url));
        let mut departs = |why, with_node| {
            changes.departures.push(Departure { member: member.clone(), why, with_node });
        };
        match place.map(|place| place.own) {
            None if *alive => changes.refusals.push(unlisted(member)),
            None => departs("is not in the manifest and does not answer", true),
            Some(Own::Complete { data: false }) => departs("has lost its data", false),
            Some(Own::Incomplete { data: false }) if !member.name.is_empty() => {
                departs("was on a machine that is set up anew", false);
            }
            Some(Own::Complete { data: true }) if member.is_learner => changes.promote.push(member.clone()),
            Some(_) => {}
        }
    }
    let lost = places.iter().filter(|place| place.own == Own::Complete { data: false });
    changes.refill = lost.map(|place| place.name.to_owned()).collect();
    if !changes.departures.is_empty() {
        changes.refusals.extend(below_quorum(members, &changes.departures));
    }
    changes
}

fn unlisted(member: &Member) -> (&'static str, String, String) {
    (
        "control-plane.unlisted-member",
        format!("{} is a member of etcd and answers, but is no node of the manifest", member.called()),
        "put it back into the manifest; then `ksp node remove` takes it out of the cluster and of the manifest".to_owned(),
    )
}

/// The arithmetic of a removal: a majority before it, or it cannot be agreed on, and a majority of those that stay after it.
fn below_quorum(members: &[Heard], departures: &[Departure]) -> Option<(&'static str, String, String)> {
    let voters: Vec<&Heard> = members.iter().filter(|heard| !heard.member.is_learner).collect();
    let alive = voters.iter().filter(|heard| heard.alive).count();
    let goes = |heard: &&&Heard| departures.iter().any(|gone| gone.member.id == heard.member.id);
    let staying: Vec<&&Heard> = voters.iter().filter(|heard| !goes(heard)).collect();
    let staying_alive = staying.iter().filter(|heard| heard.alive).count();
    let short = |alive: usize, of: usize| alive < majority(of);
    let text = if short(alive, voters.len()) {
        format!("{alive} of {} etcd members answer, {} are needed", voters.len(), majority(voters.len()))
    } else if short(staying_alive, staying.len()) {
        let names: Vec<String> = departures.iter().map(|gone| gone.member.called()).collect();
        format!(
            "without {} {staying_alive} of {} etcd members answer, {} are needed",
            names.join(" and "),
            staying.len(),
            majority(staying.len())
        )
    } else {
        return None;
    };
    Some((
        "control-plane.quorum",
        text,
        "bring a member back, or begin anew from a snapshot: `ksp etcd restore`".to_owned(),
    ))
}

#[cfg(test)]
mod tests;
