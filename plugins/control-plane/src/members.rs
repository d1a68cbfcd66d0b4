//! The members of the stacked etcd against the nodes of the manifest: who has to go before anybody is added. Pure; a member is
//! known by its peer address and its id, never by its place in a list.

use ksp_sdk::prelude::*;

/// A member as etcd lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Unique among all members that ever were.
    pub id: u64,
    /// Its node's name; empty when it was added and has never started.
    pub name: String,
    /// The IP address in its peer URL.
    pub address: String,
    /// Copies, and does not vote yet.
    pub learner: bool,
    /// Answers with a read that a majority confirms.
    pub alive: bool,
}

#[derive(Deserialize)]
struct List {
    members: Vec<Listed>,
}

#[derive(Deserialize)]
struct Listed {
    #[serde(rename = "ID")]
    id: u64,
    #[serde(default)]
    name: String,
    #[serde(rename = "peerURLs", default)]
    peers: Vec<String>,
    #[serde(rename = "clientURLs", default)]
    clients: Vec<String>,
    #[serde(rename = "isLearner", default)]
    learner: bool,
}

#[derive(Deserialize)]
struct Health {
    endpoint: String,
    health: bool,
}

impl Member {
    /// From what `member list` and `endpoint health --cluster` of etcdctl print as JSON. None when it is no such answer.
    pub fn parse(list: &str, health: &str) -> Option<Vec<Self>> {
        let list: List = serde_json::from_str(list).ok()?;
        let health: Vec<Health> = serde_json::from_str(health).unwrap_or_default();
        let alive = |urls: &[String]| health.iter().any(|it| it.health && urls.contains(&it.endpoint));
        let member = |it: Listed| Self {
            id: it.id,
            alive: alive(&it.clients),
            address: it.peers.first().map(|url| host(url).to_owned()).unwrap_or_default(),
            name: it.name,
            learner: it.learner,
        };
        Some(list.members.into_iter().map(member).collect())
    }

    /// As etcdctl wants it.
    pub fn hex(&self) -> String {
        format!("{:x}", self.id)
    }

    /// How people call it.
    pub fn called(&self) -> &str {
        if self.name.is_empty() { &self.address } else { &self.name }
    }
}

/// "https://10.0.0.1:2380" is "10.0.0.1".
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.rsplit_once(':').map_or(rest, |(host, _)| host).trim_matches(['[', ']'])
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
    /// Its address.
    pub address: &'a str,
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
pub fn compare(places: &[Place<'_>], members: &[Member]) -> Changes {
    let mut changes = Changes::default();
    for member in members {
        let place = places.iter().find(|place| place.address == member.address);
        let mut departs = |why, with_node| {
            changes.departures.push(Departure { member: member.clone(), why, with_node });
        };
        match place.map(|place| place.own) {
            None if member.alive => changes.refusals.push(unlisted(member)),
            None => departs("is not in the manifest and does not answer", true),
            Some(Own::Complete { data: false }) => departs("has lost its data", false),
            Some(Own::Incomplete { data: false }) if !member.name.is_empty() => {
                departs("was on a machine that is set up anew", false);
            }
            Some(Own::Complete { data: true }) if member.learner => changes.promote.push(member.clone()),
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
        format!("put it back, or take it out of the cluster first: `ksp node remove {}`", member.called()),
    )
}

/// The arithmetic of a removal: a majority before it, or it cannot be agreed on, and a majority of those that stay after it.
fn below_quorum(members: &[Member], departures: &[Departure]) -> Option<(&'static str, String, String)> {
    let voters: Vec<&Member> = members.iter().filter(|member| !member.learner).collect();
    let alive = voters.iter().filter(|member| member.alive).count();
    let goes = |member: &&&Member| departures.iter().any(|gone| gone.member.id == member.id);
    let staying: Vec<&&Member> = voters.iter().filter(|member| !goes(member)).collect();
    let staying_alive = staying.iter().filter(|member| member.alive).count();
    let short = |alive: usize, of: usize| alive < of / 2 + 1;
    let text = if short(alive, voters.len()) {
        format!("{alive} of {} etcd members answer, {} are needed", voters.len(), voters.len() / 2 + 1)
    } else if short(staying_alive, staying.len()) {
        let names: Vec<&str> = departures.iter().map(|gone| gone.member.called()).collect();
        format!(
            "without {} {staying_alive} of {} etcd members answer, {} are needed",
            names.join(" and "),
            staying.len(),
            staying.len() / 2 + 1
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
