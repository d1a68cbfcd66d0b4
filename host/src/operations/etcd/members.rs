//! What members and their nodes say of themselves: one read-only round trip a node, all nodes beside each other.

use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::{Etcd, disk};
use crate::node::{Node, Role};
use crate::operations::prepare::Prepared;
use crate::pki;
use crate::transport::{Output, Session, batch, quote};

/// How long a node may take for all of it; etcdctl gives up earlier.
const ANSWER_WITHIN: Duration = Duration::from_secs(25);

/// For one question to a member.
const CTL: &str = "--dial-timeout=2s --command-timeout=4s";

/// Where `ksp etcd backup` leaves a note of the last one, on the node that it took the snapshot from.
pub const NOTE: &str = "/var/lib/ksp/etcd-backup.json";

/// What one node says.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Its name.
    pub node: String,
    /// A member is meant to be on it.
    pub member: bool,
    /// Why it was not asked.
    pub unreachable: Option<String>,
    /// The member's own status, or why there is none.
    pub status: Option<Result<Status, String>>,
    /// The members as this one knows them; empty when it does not answer.
    pub list: Vec<Listed>,
    /// The member has data.
    pub has_data: bool,
    /// Bytes free on the disk of its data.
    pub free: Option<u64>,
    /// Within how many milliseconds 99 of 100 of its writes were on the disk.
    pub fsync_p99_ms: Option<f64>,
    /// Certificates on the node.
    pub certificates: Vec<Certificate>,
    /// The newest note of a backup on the node.
    pub backup: Option<LastBackup>,
}

impl Seen {
    /// The member's status, when it answers.
    pub fn answer(&self) -> Option<&Status> {
        self.status.as_ref()?.as_ref().ok()
    }
}

/// What `etcdctl endpoint status -w json` says of a member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Who answers, for which cluster, at which revision.
    pub header: Header,
    /// "3.6.8".
    pub version: String,
    /// Bytes on disk.
    pub db_size: u64,
    /// Bytes of them in use.
    pub db_size_in_use: u64,
    /// Bytes that it may grow to.
    pub db_size_quota: u64,
    /// The leader's id; 0 when there is none.
    pub leader: u64,
    /// Last log entry that is known to be agreed on.
    pub raft_index: u64,
    /// Term.
    pub raft_term: u64,
    /// What etcd finds wrong with itself, alarms among it.
    pub errors: Vec<String>,
    /// It does not vote yet.
    pub is_learner: bool,
}

/// The head of each answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Header {
    /// The cluster's id.
    pub cluster_id: u64,
    /// The id of the member that answers.
    pub member_id: u64,
    /// The revision of its data.
    pub revision: u64,
}

/// An entry of the member list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Listed {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: u64,
    /// Its name; empty until it has started.
    pub name: String,
    /// It does not vote yet.
    #[serde(rename = "isLearner")]
    pub learner: bool,
}

/// A certificate on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Certificate {
    /// The node.
    pub node: String,
    /// Its path there.
    pub path: String,
    /// Until its end; negative when it has passed.
    pub days_left: i64,
}

/// The note that a backup leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastBackup {
    /// When it ended.
    pub time: jiff::Timestamp,
    /// "done" or "failed".
    pub result: String,
    /// The node that it was made on.
    #[serde(default)]
    pub node: String,
    /// The revision in it.
    #[serde(default)]
    pub revision: u64,
    /// Bytes.
    #[serde(default)]
    pub size: u64,
    /// The snapshot's hash, as `etcdutl` computes it.
    #[serde(default)]
    pub hash: u64,
    /// Why it failed.
    #[serde(default)]
    pub error: String,
}

impl LastBackup {
    /// It holds something.
    pub fn is_good(&self) -> bool {
        self.result == "done"
    }
}

/// An id as etcd's tools write it.
pub fn hex(id: u64) -> String {
    format!("{id:x}")
}

/// Asks all nodes with a member, and control planes for their certificates.
pub async fn ask(etcd: &Etcd, prepared: &Prepared) -> Vec<Seen> {
    let concerned = prepared
        .manifest
        .nodes
        .iter()
        .filter(|node| etcd.nodes.contains(&node.name) || node.is(Role::ControlPlane));
    let asked = concerned.map(|node| async {
        match prepared.sessions.get(&node.id) {
            Some(session) => one(etcd, node, session.as_ref()).await,
            None => {
                let reason = prepared.unreachable.get(&node.id).cloned();
                missing(etcd, node, reason.unwrap_or_else(|| "not reached".into()))
            }
        }
    });
    join_all(asked).await
}

fn missing(etcd: &Etcd, node: &Node, reason: String) -> Seen {
    let member = etcd.nodes.contains(&node.name);
    Seen { node: node.name.clone(), member, unreachable: Some(reason), ..Seen::default() }
}

async fn one(etcd: &Etcd, node: &Node, session: &dyn Session) -> Seen {
    let fragments = fragments(etcd);
    match tokio::time::timeout(ANSWER_WITHIN, batch::run(session, &fragments)).await {
        Ok(Ok(outputs)) => read(etcd, &node.name, &outputs),
        Ok(Err(error)) => missing(etcd, node, error.to_string()),
        Err(_) => missing(etcd, node, format!("no answer within {}s", ANSWER_WITHIN.as_secs())),
    }
}

/// Read-only. Alarms are taken from the status: `alarm list` goes through raft and gets no answer without a quorum.
fn fragments(etcd: &Etcd) -> Vec<String> {
    let ctl = etcd.ctl();
    let pki = quote::quote(etcd.pki());
    let log = quote::quote(&format!("{}/member/wal", etcd.data_dir));
    let data = quote::quote(&etcd.data_dir);
    let mut fragments = vec![
        format!("{ctl} {CTL} endpoint status -w json"),
        format!("{ctl} {CTL} member list --consistency=s -w json"),
        format!("[ -d {log} ]"),
        format!("df -Pk {data} 2>/dev/null"),
        disk::SCRIPT.to_owned(),
        format!(
            "for f in {pki}/*.crt /etc/kubernetes/pki/*.crt; do [ ! -f \"$f\" ] || {{ echo \"@ $f\"; cat \"$f\"; }}; done"
        ),
    ];
    let notes = etcd.last_backups.iter().map(String::as_str).chain([NOTE]);
    fragments.extend(notes.map(|note| format!("cat {} 2>/dev/null", quote::quote(note))));
    fragments
}

fn read(etcd: &Etcd, node: &str, outputs: &[Output]) -> Seen {
    let member = etcd.nodes.iter().any(|name| name == node);
    let mut seen = Seen { node: node.to_owned(), member, ..Seen::default() };
    let [status, list, data, room, metrics, certificates, notes @ ..] = outputs else { return seen };
    seen.certificates = read_certificates(node, &certificates.text());
    if !member {
        return seen;
    }
    seen.status = Some(read_status(status));
    seen.list = read_list(list);
    seen.has_data = data.ok();
    seen.fsync_p99_ms = disk::fsync_p99_ms(&metrics.text());
    seen.free = read_free(&room.text());
    let notes = notes.iter().filter_map(|note| serde_json::from_slice::<LastBackup>(&note.stdout).ok());
    seen.backup = notes.max_by_key(|note| note.time);
    seen
}

fn read_status(output: &Output) -> Result<Status, String> {
    #[derive(Deserialize)]
    struct Endpoint {
        #[serde(rename = "Status")]
        status: Status,
    }
    if !output.ok() {
        return Err(reason(output));
    }
    let endpoints: Vec<Endpoint> = serde_json::from_slice(&output.stdout)
        .map_err(|error| format!("its answer cannot be understood: {error}"))?;
    endpoints.into_iter().next().map(|it| it.status).ok_or_else(|| "it gave an empty answer".to_owned())
}

/// etcdctl writes a log line as JSON and then the error: the last line is for people.
fn reason(output: &Output) -> String {
    if output.status == 127 {
        return "etcdctl is not there: the node has no member yet".into();
    }
    let tail = output.tail(4);
    let said =
        tail.iter().rev().map(|line| line.trim()).find(|line| !line.is_empty() && !line.starts_with('{'));
    match said {
        Some(line)
            if line.contains("deadline exceeded")
                || line.contains("unhealthy")
                || line.contains("failed to get the status") =>
        {
            "the member does not answer".to_owned()
        }
        Some(line) => line.trim_start_matches("Error: ").to_owned(),
        None => format!("etcdctl ended with status {}", output.status),
    }
}

fn read_list(output: &Output) -> Vec<Listed> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct List {
        members: Vec<Listed>,
    }
    let list: List = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if output.ok() { list.members } else { Vec::new() }
}

/// The fourth column of the last line of `df -Pk`.
fn read_free(text: &str) -> Option<u64> {
    text.lines().last()?.split_whitespace().nth(3)?.parse::<u64>().ok()?.checked_mul(1024)
}

fn read_certificates(node: &str, text: &str) -> Vec<Certificate> {
    let mut found = Vec::new();
    for part in text.split("@ /").skip(1) {
        let Some((path, pem)) = part.split_once('\n') else { continue };
        if let Ok(seconds) = pki::seconds_left(pem) {
            let days_left = seconds.div_euclid(86_400);
            found.push(Certificate { node: node.to_owned(), path: format!("/{path}"), days_left });
        }
    }
    found
}

#[cfg(test)]
mod tests;
