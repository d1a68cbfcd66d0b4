//! `ksp etcd restore`: one snapshot for all members, under a new identity, for a cluster that lost its majority or its data.
//!
//! Everything that can fail without harm comes first: the snapshot is on every member and turned into data there before anything is
//! stopped. Then API servers stop, members stop, data is swapped by rename, and all start again in the opposite order. Each step can
//! be repeated; a note on the nodes says which restore is under way, so that the same command goes on where another one ended.
//! The old data stays beside the new: nothing is deleted.

mod check;
mod phases;
mod scripts;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Etcd;
use super::archive::{self, About, Archive};
use super::members;
use super::status::{self, Report};
use crate::diagnostic::Diagnostic;
use crate::exec::lease::{Claim, Holder, Lease, LeaseError};
use crate::exec::{Layout, RunReport, Unreachable, prelude};
use crate::facts::RESTORE_NOTE as NOTE;
use crate::node::{Node, Role};
use crate::operations::context::Context;
use crate::operations::plan::Document;
use crate::operations::prepare::{self, Prepared, who};
use crate::operations::{Class, Failure};
use crate::plan::Filter;
use crate::transport::{Script, Session};

/// A note that is older belongs to a restore that nobody goes on with.
const CONTINUED_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Options {
    /// The backup.
    pub file: PathBuf,
    /// The file with the age key, for a backup that is encrypted.
    pub identity: Option<PathBuf>,
}

/// What would be done, on which nodes.
pub struct Survey {
    /// The cluster.
    pub cluster: String,
    /// The backup.
    pub archive: Archive,
    /// How etcd is run.
    pub etcd: Etcd,
    /// How etcd is now.
    pub now: Report,
    /// An earlier restore of the same backup was interrupted: this one goes on with it.
    pub continues: bool,
    /// Nodes of the cluster that are not reached: their kubelets are not restarted.
    pub left_out: Vec<(String, String)>,
    id: String,
    members: Vec<Place>,
    planes: Vec<Place>,
    kubelets: Vec<Place>,
    ports: Vec<String>,
    prepared: Prepared,
}

/// What became of it.
pub struct Done {
    /// Phases and failures.
    pub report: RunReport,
    /// Where the old data of each member is, by node; complete when everything is done.
    pub kept: BTreeMap<String, String>,
}

impl AsRef<RunReport> for Done {
    fn as_ref(&self) -> &RunReport {
        &self.report
    }
}

/// A node and the way to it.
#[derive(Clone)]
struct Place {
    node: Node,
    session: Arc<dyn Session>,
}

/// The content of [`NOTE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    id: String,
    sha256: String,
    since: Timestamp,
}

impl Survey {
    /// The names of the nodes with a member.
    pub fn members(&self) -> Vec<&str> {
        self.members.iter().map(|place| place.node.name.as_str()).collect()
    }

    /// What is written into the run's folder.
    pub fn document(&self) -> Document {
        phases::document(self)
    }

    /// The manifest.
    pub fn manifest(&self) -> &crate::manifest::Manifest {
        &self.prepared.manifest
    }
}

/// Reads the backup, connects, and refuses what does not fit. Changes nothing.
///
/// # Errors
/// The backup is unreadable or of another cluster, a node that is needed is not reached, or there is no cluster to restore.
pub async fn survey(context: &Context, options: &Options) -> Result<Survey, Failure> {
    let (manifest, _) = prepare::load(context)?;
    let archive = archive::open(&options.file, options.identity.as_deref(), &context.paths.cache)?;
    let cluster = manifest.cluster.name.clone();
    belongs(&archive.about, "cluster", &archive.about.cluster, &cluster)?;
    let prepared =
        prepare::prepare(context, Filter::default()).await.map_err(|failure| lost(failure, options))?;
    let (generation, own) = {
        let state = prepared.pki.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        (state.generation, state.cluster_id.clone())
    };
    if generation == 0 {
        let finding = Diagnostic::error(
            "ksp::etcd::no-cluster",
            "there is no cluster on these nodes to restore the data of",
        );
        return Err(lost(Failure::new(Class::Unreachable, finding), options));
    }
    belongs(&archive.about, "cluster id", &archive.about.cluster_id, &own)?;
    let etcd = Etcd::find(&prepared.plan)?;
    let (members, planes) = needed(&etcd, &prepared)?;
    let seen = members::ask(&etcd, &prepared).await;
    let now = status::compose(&cluster, &etcd, &seen);
    let is_kubelet = |node: &&Node| node.is(Role::ControlPlane) || node.is(Role::Worker);
    let kubelets =
        manifest.nodes.iter().filter(is_kubelet).filter_map(|node| place(&prepared, node)).collect();
    let left_out = prepared.unreachable_reasons().into_iter().collect();
    let earlier = earlier(&members, &archive.about.sha256).await;
    let ports = prepared.plan.output("api", "endpoints").and_then(|text| serde_json::from_str(text).ok());
    Ok(Survey {
        cluster,
        etcd,
        now,
        continues: earlier.is_some(),
        left_out,
        id: earlier.unwrap_or_else(|| format!("{:08x}", rand::random::<u32>())),
        members,
        planes,
        kubelets,
        ports: ports.unwrap_or_default(),
        archive,
        prepared,
    })
}

/// A backup of something else would make this cluster something else.
fn belongs(about: &About, what: &str, of_backup: &str, of_cluster: &str) -> Result<(), Failure> {
    if of_backup == of_cluster {
        return Ok(());
    }
    let message = format!(
        "the backup is of another cluster: its {what} is {of_backup}, and this one's is {of_cluster}"
    );
    let finding = Diagnostic::error("ksp::etcd::backup-foreign", message)
        .note(format!("made {} on node {} of cluster {}", about.time, about.node, about.cluster))
        .hint("use a backup of this cluster, or the manifest of the other one");
    Err(Failure::new(Class::Invalid, finding))
}

/// Restoring puts data back. Machines are made by `ksp up`, from the authorities that are in the backup too.
fn lost(mut failure: Failure, options: &Options) -> Failure {
    let is_lost = |finding: &Diagnostic| {
        matches!(finding.code.as_str(), "ksp::state::missing" | "ksp::etcd::no-cluster")
    };
    if failure.findings.iter().any(is_lost) {
        let file = options.file.display();
        let open = match &options.identity {
            Some(key) => format!("age --decrypt --identity {} {file} | tar -x", key.display()),
            None => format!("tar -xf {file}"),
        };
        let finding = failure.findings.remove(0);
        failure.findings.insert(
            0,
            finding
                .note("restoring puts data into control planes that exist; these do not, or lost what ksp keeps on them")
                .hint(format!(
                    "take state.json out of the backup (`{open} state.json`), put it on one control plane as \
                     /var/lib/ksp/state.json (root, 0600), run `ksp up` to make the cluster anew with its old authorities, and \
                     then this command again"
                )),
        );
    }
    failure
}

fn place(prepared: &Prepared, node: &Node) -> Option<Place> {
    Some(Place { node: node.clone(), session: Arc::clone(prepared.sessions.get(&node.id)?) })
}

/// All members get the same data, and every API server has to be down meanwhile: one that is not reached might go on.
fn needed(etcd: &Etcd, prepared: &Prepared) -> Result<(Vec<Place>, Vec<Place>), Failure> {
    let nodes = &prepared.manifest.nodes;
    let members: Vec<&Node> = etcd.members(prepared);
    let planes: Vec<&Node> = nodes.iter().filter(|node| node.is(Role::ControlPlane)).collect();
    let away = nodes
        .iter()
        .filter(|node| members.contains(node) || planes.contains(node))
        .filter(|node| !prepared.sessions.contains_key(&node.id));
    let findings: Vec<Diagnostic> = away
        .map(|node| {
            let reason = prepared.unreachable.get(&node.id).map_or("not reached", String::as_str);
            Diagnostic::error(
                "ksp::etcd::not-reached",
                format!("a restore needs every member and every control plane: {reason}"),
            )
            .on_node(&node.name)
            .hint("make it reachable, or take it out of the manifest first if it is gone for good")
        })
        .collect();
    if !findings.is_empty() {
        return Err(Failure::all(Class::Unreachable, findings));
    }
    let places = |nodes: Vec<&Node>| nodes.into_iter().filter_map(|node| place(prepared, node)).collect();
    Ok((places(members), places(planes)))
}

/// The id of a restore of the same snapshot that did not come to its end.
async fn earlier(members: &[Place], sha256: &str) -> Option<String> {
    let read = members.iter().map(|place| async {
        let output = place.session.run(Script::new(format!("cat {NOTE} 2>/dev/null"))).await.ok()?;
        serde_json::from_slice::<Note>(&output.stdout).ok()
    });
    let notes: Vec<Note> = join_all(read).await.into_iter().flatten().collect();
    continued(&notes, sha256, Timestamp::now())
}

fn continued(notes: &[Note], sha256: &str, now: Timestamp) -> Option<String> {
    let first = notes.first()?;
    let young = now.duration_since(first.since).unsigned_abs() < CONTINUED_WITHIN;
    let fits = notes.iter().all(|note| note.id == first.id) && first.sha256 == sha256;
    let safe = !first.id.is_empty() && first.id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (young && fits && safe).then(|| first.id.clone())
}

/// Does it. Nobody else may change the cluster meanwhile.
///
/// # Errors
/// The cluster is locked, or cannot be.
pub async fn execute(context: &Context, survey: &Survey, run: &str) -> Result<Done, Failure> {
    let lease = lock(context, survey, run).await?;
    let fence = prelude::fence(&Layout::default(), lease.token());
    let (mut report, kept) = phases::run(context, survey, &lease, &fence).await;
    lease.release().await;
    report.unreachable = survey
        .left_out
        .iter()
        .map(|(node, reason)| Unreachable { node: node.clone(), reason: reason.clone() })
        .collect();
    Ok(Done { report, kept })
}

async fn lock(context: &Context, survey: &Survey, run: &str) -> Result<Lease, Failure> {
    let holder =
        |place: &Place| Holder { node: place.node.name.clone(), session: Arc::clone(&place.session) };
    let claim = Claim {
        cluster: survey.cluster.clone(),
        run: run.to_owned(),
        who: who(),
        command: "ksp etcd restore".to_owned(),
        since: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        highest_token: survey.prepared.gathered.values().filter_map(|it| it.marks.fence).max().unwrap_or(0),
    };
    let holders = survey.planes.iter().map(holder).collect();
    let patience = (context.lock_timeout, &context.cancel);
    match Lease::wait(holders, survey.planes.len(), claim, Layout::default(), patience).await {
        Ok(Some(lease)) => Ok(lease),
        Ok(None) => Err(Failure::interrupted()),
        Err(error @ LeaseError::Held { .. }) => Err(Failure::new(Class::Locked, error.into())),
        Err(error) => Err(Failure::new(Class::Unreachable, error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(id: &str, sha256: &str) -> Note {
        Note { id: id.into(), sha256: sha256.into(), since: "2026-11-23T21:00:00Z".parse().unwrap() }
    }

    #[test]
    fn a_restore_goes_on_only_with_the_same_snapshot_and_not_for_ever() {
        let now: Timestamp = "2026-11-23T22:00:00Z".parse().unwrap();
        let later: Timestamp = "2026-11-25T22:00:00Z".parse().unwrap();
        let same = [note("0a1b", "s"), note("0a1b", "s")];
        assert_eq!(continued(&same, "s", now).as_deref(), Some("0a1b"));
        assert_eq!(continued(&same, "other", now), None);
        assert_eq!(continued(&same, "s", later), None);
        assert_eq!(continued(&[note("0a1b", "s"), note("2c", "s")], "s", now), None);
        assert_eq!(continued(&[note("../x", "s")], "s", now), None);
        assert_eq!(continued(&[], "s", now), None);
    }

    #[test]
    fn a_backup_of_another_cluster_is_refused() {
        let about = archive::tests::about();
        assert!(belongs(&about, "cluster", "prod", "prod").is_ok());
        let failure = belongs(&about, "cluster id", "abc", "def").unwrap_err();
        assert_eq!(failure.findings[0].code, "ksp::etcd::backup-foreign");
        assert!(failure.to_string().contains("abc") && failure.to_string().contains("def"));
    }

    #[test]
    fn who_lost_the_machines_is_told_the_way() {
        let options = Options { file: "b.tar".into(), identity: None };
        let finding = Diagnostic::error("ksp::state::missing", "gone");
        let told = lost(Failure::new(Class::Unreachable, finding), &options);
        assert!(told.findings[0].hints.iter().any(|hint| hint.contains("state.json")));
        let other = lost(Failure::new(Class::Invalid, Diagnostic::error("ksp::x", "y")), &options);
        assert!(other.findings[0].hints.is_empty());
    }
}
