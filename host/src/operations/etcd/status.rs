//! `ksp etcd status`: is etcd healthy, and how much may still fail? Read-only.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::members::{self, Certificate, LastBackup, Listed, Seen, Status, hex};
use super::{Etcd, backup::mib, layout::RunBy};
use crate::operations::Failure;
use crate::operations::prepare::Prepared;

/// etcd makes its log in files of this size, in bytes, each whole from its beginning; a member that cannot write ends.
const DISK_LOW: u64 = 64 << 20;

/// The whole picture.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The cluster's name.
    pub cluster: String,
    /// Every member votes and answers, they agree, nothing is wrong with any of them.
    pub healthy: bool,
    /// Who keeps the members running.
    pub run_by: RunBy,
    /// etcd's own id of the cluster, in hex.
    pub cluster_id: Option<String>,
    /// The node of the leader.
    pub leader: Option<String>,
    /// The newest revision that a member has.
    pub revision: Option<u64>,
    /// How much may fail.
    pub quorum: Quorum,
    /// In the manifest's order; members that belong to no node come last.
    pub members: Vec<Member>,
    /// What is wrong with the whole.
    pub problems: Vec<String>,
    /// Certificates on the nodes, the one that ends first in front.
    pub certificates: Vec<Certificate>,
    /// The newest good backup that a node knows of.
    pub last_backup: Option<LastBackup>,
    /// The newest note of a backup, when it failed.
    pub failed_backup: Option<LastBackup>,
}

/// The arithmetic of a majority.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Quorum {
    /// Members that vote; 0 when no member says.
    pub voting: usize,
    /// Those of them that answer and know a leader.
    pub answering: usize,
    /// How many must.
    pub needed: usize,
    /// How many more may fail; none when there are too few already.
    pub may_fail: Option<usize>,
}

impl Quorum {
    fn of(voting: usize, answering: usize) -> Self {
        let needed = voting / 2 + 1;
        Self { voting, answering, needed, may_fail: answering.checked_sub(needed) }
    }
}

/// A member.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Member {
    /// The node's name, which is the member's; empty for a member that was added and has not started yet.
    pub node: String,
    /// Its id in hex, when some member knows it.
    pub id: Option<String>,
    /// How it is.
    pub state: State,
    /// Why it is so, and what is wrong with it.
    pub reasons: Vec<String>,
    /// "3.6.8".
    pub version: Option<String>,
    /// Bytes on disk.
    pub db_size: Option<u64>,
    /// Bytes of them in use.
    pub db_size_in_use: Option<u64>,
    /// Term.
    pub raft_term: Option<u64>,
    /// Last agreed entry of the log.
    pub raft_index: Option<u64>,
    /// The revision of its data.
    pub revision: Option<u64>,
    /// Revisions behind the newest.
    pub lag: Option<u64>,
    /// Within how many milliseconds 99 of 100 writes were on the disk.
    pub fsync_p99_ms: Option<f64>,
}

/// How a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Votes, and leads.
    Leader,
    /// Votes, and knows the leader.
    Follower,
    /// Does not vote yet.
    Learner,
    /// Answers, and knows no leader.
    NoLeader,
    /// Is meant to be a member, or is listed as one, and does not answer.
    NotAnswering,
    /// Its node cannot be reached.
    NotReached,
    /// Is meant to be a member, and nobody lists it.
    NotJoined,
    /// Is listed, and belongs to no node of the manifest.
    Unknown,
}

impl State {
    /// It does what it is there for.
    pub fn works(self) -> bool {
        matches!(self, State::Leader | State::Follower)
    }

    /// In a word or two.
    pub fn words(self) -> &'static str {
        match self {
            State::Leader => "leader",
            State::Follower => "follower",
            State::Learner => "learner",
            State::NoLeader => "no leader",
            State::NotAnswering => "not answering",
            State::NotReached => "not reached",
            State::NotJoined => "not joined",
            State::Unknown => "unknown member",
        }
    }
}

/// Looks at everything.
///
/// # Errors
/// No stage says how etcd is run.
pub async fn status(prepared: &Prepared) -> Result<Report, Failure> {
    let etcd = Etcd::find(&prepared.plan)?;
    let seen = members::ask(&etcd, prepared).await;
    Ok(compose(&prepared.manifest.cluster.name, &etcd, &seen))
}

/// Puts the picture together. Members are known by their ids and names, never by their place.
pub fn compose(cluster: &str, etcd: &Etcd, seen: &[Seen]) -> Report {
    let answers: BTreeMap<&str, &Status> =
        seen.iter().filter_map(|it| Some((it.node.as_str(), it.answer()?))).collect();
    let list = trusted_list(seen);
    let revision = answers.values().map(|status| status.header.revision).max();
    let mut members: Vec<Member> =
        seen.iter().filter(|it| it.member).map(|it| member(it, list, revision)).collect();
    let strange = list.iter().filter(|listed| !etcd.nodes.contains(&listed.name));
    members.extend(strange.map(stranger));

    let voting: BTreeSet<u64> = list.iter().filter(|it| !it.learner).map(|it| it.id).collect();
    let answering = answers
        .values()
        .filter(|status| status.leader != 0 && voting.contains(&status.header.member_id))
        .count();
    let quorum = Quorum::of(voting.len(), answering);
    let problems = problems(&answers, quorum, &members);
    let mut certificates: Vec<Certificate> = seen.iter().flat_map(|it| it.certificates.clone()).collect();
    certificates.sort_by(|a, b| (a.days_left, &a.node, &a.path).cmp(&(b.days_left, &b.node, &b.path)));
    let expired = certificates.first().is_some_and(|first| first.days_left < 0);
    let notes: Vec<&LastBackup> = seen.iter().filter_map(|it| it.backup.as_ref()).collect();
    let newest = |good: bool| {
        notes.iter().filter(|it| it.is_good() == good).max_by_key(|it| it.time).copied().cloned()
    };
    let last_backup = newest(true);
    let failed_backup =
        newest(false).filter(|failed| last_backup.as_ref().is_none_or(|good| good.time < failed.time));
    let sound = members.iter().all(|member| member.state.works() && member.reasons.is_empty());
    let leader =
        members.iter().find(|member| member.state == State::Leader).map(|member| member.node.clone());
    Report {
        cluster: cluster.to_owned(),
        healthy: sound && problems.is_empty() && !expired && !members.is_empty(),
        run_by: etcd.run_by,
        cluster_id: answers.values().next().map(|status| hex(status.header.cluster_id)),
        leader,
        revision,
        quorum,
        members,
        problems,
        certificates,
        last_backup,
        failed_backup,
    }
}

/// The list of the member that is furthest and knows a leader: one that was cut off may have an old list.
fn trusted_list(seen: &[Seen]) -> &[Listed] {
    let furthest = seen
        .iter()
        .filter(|it| !it.list.is_empty())
        .max_by_key(|it| it.answer().map(|status| (status.leader != 0, status.raft_term, status.raft_index)));
    furthest.map_or(&[], |it| &it.list)
}

fn member(seen: &Seen, list: &[Listed], newest: Option<u64>) -> Member {
    let status = seen.answer();
    let listed = match status {
        Some(status) => list.iter().find(|it| it.id == status.header.member_id),
        None => list.iter().find(|it| it.name == seen.node),
    };
    let mut reasons = Vec::new();
    let state = match (&seen.unreachable, &seen.status) {
        (Some(reason), _) => {
            reasons.push(reason.clone());
            State::NotReached
        }
        (None, Some(Ok(status))) => {
            reasons.extend(status.errors.iter().map(|error| error.trim().to_owned()));
            state(status)
        }
        (None, answer) => {
            if let Some(Err(reason)) = answer {
                reasons.push(reason.clone());
            }
            if !seen.has_data && listed.is_some() {
                reasons.push("its data is gone: it must not start again under its old identity".into());
            }
            if listed.is_none() && !list.is_empty() { State::NotJoined } else { State::NotAnswering }
        }
    };
    if let Some(free) = seen.free.filter(|free| *free < DISK_LOW) {
        reasons.push(format!("its disk is full or nearly so: {} are free for its data", mib(free)));
    }
    Member {
        node: seen.node.clone(),
        id: status.map(|it| it.header.member_id).or(listed.map(|it| it.id)).map(hex),
        state,
        reasons,
        version: status.map(|it| it.version.clone()),
        db_size: status.map(|it| it.db_size),
        db_size_in_use: status.map(|it| it.db_size_in_use),
        raft_term: status.map(|it| it.raft_term),
        raft_index: status.map(|it| it.raft_index),
        revision: status.map(|it| it.header.revision),
        lag: status.and_then(|it| Some(newest?.saturating_sub(it.header.revision))),
        fsync_p99_ms: seen.fsync_p99_ms,
    }
}

fn state(status: &Status) -> State {
    match status {
        _ if status.is_learner => State::Learner,
        _ if status.leader == 0 => State::NoLeader,
        _ if status.leader == status.header.member_id => State::Leader,
        _ => State::Follower,
    }
}

fn stranger(listed: &Listed) -> Member {
    let reason = if listed.name.is_empty() {
        "it was added and has not started yet"
    } else {
        "the manifest has no such node"
    };
    Member {
        node: listed.name.clone(),
        id: Some(hex(listed.id)),
        state: State::Unknown,
        reasons: vec![reason.to_owned()],
        version: None,
        db_size: None,
        db_size_in_use: None,
        raft_term: None,
        raft_index: None,
        revision: None,
        lag: None,
        fsync_p99_ms: None,
    }
}

fn problems(answers: &BTreeMap<&str, &Status>, quorum: Quorum, members: &[Member]) -> Vec<String> {
    let mut found = Vec::new();
    let by = |key: fn(&Status) -> u64| {
        let mut groups: BTreeMap<u64, Vec<&str>> = BTreeMap::new();
        for (node, status) in answers {
            groups.entry(key(status)).or_default().push(node);
        }
        groups
    };
    let clusters = by(|status| status.header.cluster_id);
    if clusters.len() > 1 {
        let named: Vec<String> =
            clusters.iter().map(|(id, nodes)| format!("{} ({})", hex(*id), nodes.join(", "))).collect();
        found.push(format!("members belong to different clusters: {}", named.join("; ")));
    }
    let mut leaders = by(|status| status.leader);
    leaders.remove(&0);
    if leaders.len() > 1 {
        let named: Vec<String> =
            leaders.iter().map(|(id, nodes)| format!("{} says {}", nodes.join(", "), hex(*id))).collect();
        found.push(format!("members do not agree on the leader: {}", named.join("; ")));
    }
    if quorum.may_fail.is_none() {
        found.push(match (quorum.voting, answers.is_empty()) {
            (_, true) => "no member answers".to_owned(),
            (voting, _) => {
                format!(
                    "no quorum: {} of {voting} voting members work, {} are needed",
                    quorum.answering, quorum.needed
                )
            }
        });
    }
    if quorum.voting > 1
        && quorum.voting.is_multiple_of(2)
        && members.iter().all(|member| member.state.works())
    {
        found.push(format!(
            "{} voting members bear no more failures than {}",
            quorum.voting,
            quorum.voting - 1
        ));
    }
    found
}

#[cfg(test)]
pub(crate) mod tests;
