//! `ksp etcd backup`: a snapshot of a healthy member, checked on its node and brought here together with what a cluster needs to be
//! made again. The copy on the node is removed whatever happens.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Etcd;
use super::archive::{About, CONTROL_PLANE, FORMAT, Recipient, SNAPSHOT, STATE, Sink, Writer};
use super::layout::RunBy;
use super::members::{self, LastBackup, NOTE};
use super::status::{self, Report, State};
use crate::diagnostic::Diagnostic;
use crate::event::Event;
use crate::node::{Node, Role};
use crate::operations::context::Context;
use crate::operations::prepare::{self, Prepared};
use crate::operations::{Class, Failure};
use crate::plan::Filter;
use crate::transport::quote::quote;
use crate::transport::{Output, Script, Session, Stdin};

/// Where the snapshot lies on the node, in a folder for root alone.
const FOLDER: &str = "/var/lib/ksp/etcd-backup.";

/// For a large database on a slow disk.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(900);

/// How long an interrupted snapshot may lie on a node before the next one removes it.
const ABANDONED_MINUTES: u32 = 60;

/// What stays free on the node's disk, in KiB: etcd itself needs room there.
const RESERVE_KIB: u64 = 256 << 10;

/// What is wanted.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The folder that it is written to.
    pub to: PathBuf,
    /// The node whose member is asked; without it the best one is.
    pub member: Option<String>,
    /// Who can read it; everybody who has the file when nobody is named.
    pub recipients: Vec<Recipient>,
}

/// What was made.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Made {
    /// The file.
    pub path: PathBuf,
    /// It cannot be read without the key of a recipient.
    pub encrypted: bool,
    /// What it says of itself.
    pub backup: About,
}

/// What the node says of the snapshot.
#[derive(Debug, Clone, Deserialize)]
struct Taken {
    path: String,
    size: u64,
    sha256: String,
    status: Status,
}

/// What `etcdutl snapshot status -w json` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    hash: u64,
    revision: u64,
    #[serde(default)]
    total_key: u64,
}

/// Makes a backup.
///
/// # Errors
/// No member is fit for it, the snapshot fails or does not arrive whole, or the folder cannot be written. Nothing is left behind.
pub async fn backup(context: &Context, options: &Options) -> Result<Made, Failure> {
    if !options.to.is_dir() {
        let message = format!("{} is no folder", options.to.display());
        let finding =
            Diagnostic::error("ksp::etcd::backup-folder", message).hint("make it first, or give another one");
        return Err(Failure::new(Class::Usage, finding));
    }
    let prepared = prepare::prepare(context, Filter::default()).await?;
    let etcd = Etcd::find(&prepared.plan)?;
    let seen = members::ask(&etcd, &prepared).await;
    let report = status::compose(&prepared.manifest.cluster.name, &etcd, &seen);
    let chosen = choose(&report, options.member.as_deref())?;
    let Some((node, session)) = on(&prepared, &chosen) else {
        return Err(nobody(&report, "its node is not reached"));
    };

    let phase = Phase::begin(context, "snapshot");
    let size = report.members.iter().find(|it| it.node == chosen).and_then(|it| it.db_size);
    let script = Script::new(snapshot_script(&etcd, size.unwrap_or(0))).with_timeout(SNAPSHOT_TIMEOUT);
    let output = tokio::select! {
        output = session.run_aside(script) => output.map_err(|error| broken(node, &error.to_string()))?,
        () = context.cancel.stopping() => return Err(interrupted()),
    };
    let taken = read_taken(node, &output)?;
    phase.end(context, format!("{} on {}, revision {}", mib(taken.size), node.name, taken.status.revision));

    let about = About {
        format: FORMAT,
        cluster: prepared.manifest.cluster.name.clone(),
        cluster_id: lock_state(&prepared).cluster_id.clone(),
        etcd_cluster_id: report.cluster_id.clone().unwrap_or_default(),
        time: Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default(),
        node: node.name.clone(),
        members: etcd.nodes.clone(),
        topology: match etcd.run_by {
            RunBy::Kubelet => "stacked".into(),
            RunBy::Systemd => "external".into(),
        },
        etcd: report.members.iter().find_map(|it| it.version.clone()).unwrap_or_default(),
        kubernetes: prepared.manifest.cluster.kubernetes.to_string(),
        revision: taken.status.revision,
        hash: taken.status.hash,
        keys: taken.status.total_key,
        size: taken.size,
        sha256: taken.sha256.clone(),
    };
    let phase = Phase::begin(context, "download");
    let brought = tokio::select! {
        brought = bring(&prepared, session, options, &about, &taken) => brought,
        () = context.cancel.stopping() => Err(interrupted()),
    };
    let removed = session.run(Script::new(format!("rm -rf -- {}", quote(folder(&taken.path))))).await;
    let path = brought?;
    phase.end(context, mib(taken.size));
    if !removed.is_ok_and(|output| output.ok()) {
        let reason = format!("the copy in {} could not be removed", folder(&taken.path));
        context.events.emit(Event::NodeUnreachable { node: node.name.clone(), reason });
    }
    note(session, &about).await;
    Ok(Made { path, encrypted: !options.recipients.is_empty(), backup: about })
}

fn lock_state(prepared: &Prepared) -> std::sync::MutexGuard<'_, crate::state::ClusterState> {
    prepared.pki.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The member to ask: one that works, rather a follower than the leader, rather one that is not behind; never a learner, and none
/// that knows its data to be wrong (T13). A member that is named only has to answer: after a majority was lost, it holds what is left.
fn choose(report: &Report, named: Option<&str>) -> Result<String, Failure> {
    if let Some(name) = named {
        let known = report.members.iter().find(|it| it.node == name);
        return match known.map(|it| it.state) {
            Some(State::Leader | State::Follower | State::NoLeader) => Ok(name.to_owned()),
            Some(state) => Err(nobody(report, &format!("member {name}: {}", state.words()))),
            None => Err(nobody(report, &format!("{name} has no member"))),
        };
    }
    let fit = report
        .members
        .iter()
        .filter(|it| it.state.works() && !it.reasons.iter().any(|why| why.contains("CORRUPT")));
    let best = fit.min_by_key(|it| (!it.reasons.is_empty(), it.state == State::Leader, it.lag));
    best.map(|it| it.node.clone()).ok_or_else(|| nobody(report, "no member works"))
}

fn nobody(report: &Report, why: &str) -> Failure {
    let mut finding =
        Diagnostic::error("ksp::etcd::no-member", format!("no member to take a snapshot from: {why}"));
    for member in &report.members {
        let reasons = if member.reasons.is_empty() {
            String::new()
        } else {
            format!(": {}", member.reasons.join("; "))
        };
        finding = finding.note(format!("{}: {}{reasons}", member.node, member.state.words()));
    }
    let finding = finding.hint(
        "without a quorum name a member that still answers: `--member NODE`; its snapshot may lack what was written last",
    );
    Failure::new(Class::Unreachable, finding)
}

fn on<'a>(prepared: &'a Prepared, name: &str) -> Option<(&'a Node, &'a Arc<dyn Session>)> {
    let node = prepared.manifest.nodes.iter().find(|node| node.name == name)?;
    Some((node, prepared.sessions.get(&node.id)?))
}

/// Takes a snapshot and looks at it. Room is checked before: a full disk would stop the member.
fn snapshot_script(etcd: &Etcd, db_size: u64) -> String {
    let needed = db_size / 1024 + RESERVE_KIB;
    let base = FOLDER.rsplit_once('/').map_or("/", |(base, _)| base);
    let name = FOLDER.rsplit_once('/').map_or(FOLDER, |(_, name)| name);
    format!(
        r#"umask 077
mkdir -p {base} && find {base} -maxdepth 1 -name '{name}*' -mmin +{ABANDONED_MINUTES} -exec rm -rf {{}} +
set -- $(df -Pk {base} | tail -n 1); free=$4
[ "$free" -ge {needed} ] || {{ echo "{base} has $free KiB free, and {needed} KiB are needed" >&2; exit 1; }}
d=$(mktemp -d {FOLDER}XXXXXX) || exit 1
f=$d/snapshot.db
if {ctl} --dial-timeout=5s --command-timeout=600s snapshot save "$f" >&2 &&
   s=$(/usr/local/bin/etcdutl snapshot status "$f" -w json) &&
   h=$(sha256sum <"$f") && z=$(stat -c %s "$f")
then printf '{{"path":"%s","status":%s,"sha256":"%s","size":%s}}\n' "$f" "$s" "${{h%% *}}" "$z"
else rm -rf "$d"; exit 1; fi"#,
        ctl = etcd.ctl(),
    )
}

fn read_taken(node: &Node, output: &Output) -> Result<Taken, Failure> {
    if !output.ok() {
        let said = output.tail(3);
        let said: Vec<&str> = said.iter().map(String::as_str).filter(|line| !line.starts_with('{')).collect();
        return Err(broken(node, &said.join(" / ")));
    }
    let taken: Taken = serde_json::from_slice(&output.stdout)
        .map_err(|error| broken(node, &format!("its answer cannot be understood: {error}")))?;
    if !taken.path.starts_with(FOLDER) || taken.path.contains("..") {
        return Err(broken(node, "it answers with a path that nobody asked for"));
    }
    Ok(taken)
}

fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(folder, _)| folder)
}

async fn bring(
    prepared: &Prepared,
    session: &Arc<dyn Session>,
    options: &Options,
    about: &About,
    taken: &Taken,
) -> Result<PathBuf, Failure> {
    let failed = |what: &'static str| {
        move |error: std::io::Error| Failure::io(format!("{what} in {}", options.to.display()), &error)
    };
    let beside = control_plane(prepared).await;
    let state = lock_state(prepared).content();
    let mut writer =
        Writer::create(&options.to, about, &options.recipients).map_err(failed("begin the backup"))?;
    writer.begin(SNAPSHOT, taken.size).map_err(failed("write the backup"))?;
    let mut sink = Sink::new(&mut writer);
    let cat = Script::new(format!("cat {}", quote(&taken.path)));
    let output = session.fetch(cat, &mut sink).await.map_err(|error| transfer(about, &error.to_string()))?;
    let digest = sink.digest();
    if !output.ok() || digest != taken.sha256 {
        return Err(transfer(about, &format!("sha256 {digest} arrived, and {} was sent", taken.sha256)));
    }
    writer.end().map_err(failed("write the backup"))?;
    writer.whole(STATE, state.expose()).map_err(failed("write the backup"))?;
    if let Some(content) = beside {
        writer.whole(CONTROL_PLANE, content.expose()).map_err(failed("write the backup"))?;
    }
    writer.finish().map_err(failed("finish the backup"))
}

/// Certificates, manifests and the encryption configuration of the first control plane that has them. A state of the cluster is in
/// the backup anyway; this is what a human looks for.
async fn control_plane(prepared: &Prepared) -> Option<crate::redact::Secret> {
    let script = r#"cd / && set -- etc/kubernetes/pki etc/kubernetes/manifests
e=$(sed -n 's/^.*--encryption-provider-config=//p' etc/kubernetes/manifests/kube-apiserver.yaml 2>/dev/null | tr -d '"')
[ -z "$e" ] || [ ! -f "$e" ] || set -- "$@" "${e#/}"
[ -d "$1" ] && tar -cf - "$@" 2>/dev/null"#;
    let planes = prepared.manifest.nodes.iter().filter(|node| node.is(Role::ControlPlane));
    for session in planes.filter_map(|node| prepared.sessions.get(&node.id)) {
        let mut content = Vec::new();
        let fetched = session.fetch(Script::new(script), &mut content).await;
        if fetched.is_ok_and(|output| output.ok()) {
            return Some(crate::redact::Secret::new(content));
        }
    }
    None
}

/// Leaves a note on the node, so that everybody sees that there is a backup. It is no reason to fail.
async fn note(session: &Arc<dyn Session>, about: &About) {
    let note = LastBackup {
        time: about.time,
        result: "done".into(),
        node: about.node.clone(),
        revision: about.revision,
        size: about.size,
        hash: about.hash,
        error: String::new(),
    };
    let Ok(text) = serde_json::to_vec(&note) else { return };
    let script = format!("umask 077; cat >{NOTE}.tmp && mv -f {NOTE}.tmp {NOTE}");
    let _ = session.run(Script::new(script).with_stdin(Stdin::Plain(text.into()))).await;
}

fn broken(node: &Node, why: &str) -> Failure {
    let finding = Diagnostic::error("ksp::etcd::backup-failed", format!("the snapshot failed: {why}"))
        .on_node(&node.name)
        .hint("look at `ksp etcd status`; another member can be named with `--member`");
    Failure::new(Class::Failed, finding)
}

fn transfer(about: &About, why: &str) -> Failure {
    let finding =
        Diagnostic::error("ksp::etcd::backup-failed", format!("the snapshot did not arrive whole: {why}"))
            .on_node(&about.node)
            .hint("run the same command again; nothing of it was kept");
    Failure::new(Class::Failed, finding)
}

fn interrupted() -> Failure {
    let finding = Diagnostic::error("ksp::run::interrupted", "interrupted; no backup was written");
    Failure::new(Class::Interrupted, finding)
}

/// Bytes for people.
pub fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

/// A part of the work, as it is told.
struct Phase(&'static str, Instant);

impl Phase {
    fn begin(context: &Context, name: &'static str) -> Self {
        context.events.emit(Event::PhaseStarted { phase: name.into() });
        Self(name, Instant::now())
    }

    fn end(self, context: &Context, detail: String) {
        let seconds = self.1.elapsed().as_secs_f64();
        context.events.emit(Event::PhaseFinished { phase: self.0.into(), detail, seconds });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::etcd::layout::testing;
    use crate::operations::etcd::status::tests::{report, silent, working};
    use crate::operations::testing as cluster;
    use crate::transport::fake::{failure, output};

    #[test]
    fn a_follower_that_is_sound_and_not_behind_is_asked() {
        let (mut behind, mut learner) = (working(1), working(2));
        let status = behind.status.as_mut().unwrap().as_mut().unwrap();
        status.header.revision -= 5;
        assert_eq!(choose(&report(&[working(0), behind.clone(), working(2)]), None).unwrap(), "cp3");
        // T13: never one that does not vote yet, never one with broken data.
        learner.status.as_mut().unwrap().as_mut().unwrap().is_learner = true;
        assert_eq!(choose(&report(&[working(0), behind.clone(), learner]), None).unwrap(), "cp2");
        behind.status.as_mut().unwrap().as_mut().unwrap().errors = vec!["memberID:34 alarm:CORRUPT".into()];
        assert_eq!(choose(&report(&[working(0), behind, silent(2, true)]), None).unwrap(), "cp1");
    }

    #[test]
    fn without_a_quorum_a_member_has_to_be_named() {
        let mut alone = working(0);
        alone.status.as_mut().unwrap().as_mut().unwrap().leader = 0;
        let report = report(&[alone, silent(1, true), silent(2, true)]);
        let failure = choose(&report, None).unwrap_err();
        assert_eq!(failure.findings[0].code, "ksp::etcd::no-member");
        assert_eq!(failure.findings[0].notes.len(), 3);
        assert_eq!(choose(&report, Some("cp1")).unwrap(), "cp1");
        assert!(choose(&report, Some("cp2")).is_err() && choose(&report, Some("w1")).is_err());
    }

    #[test]
    fn what_a_node_answers_is_checked() {
        let node = &cluster::manifest(1, 0).nodes[0];
        let answer = |path: &str| {
            let text = format!(
                r#"{{"path":"{path}","status":{{"hash":1,"revision":2,"totalKey":3,"totalSize":4,"version":"3.6.0"}},"sha256":"aa","size":4}}"#
            );
            read_taken(node, &output(0, text))
        };
        assert_eq!(
            folder(&answer("/var/lib/ksp/etcd-backup.x1/snapshot.db").unwrap().path),
            "/var/lib/ksp/etcd-backup.x1"
        );
        assert!(answer("/etc/shadow").is_err());
        assert!(answer("/var/lib/ksp/etcd-backup.x/../../etc").is_err());
        let full = read_taken(
            node,
            &failure(1, "{\"level\":\"warn\"}\n/var/lib/ksp has 5 KiB free, and 9 KiB are needed\n"),
        );
        assert!(full.unwrap_err().to_string().contains("9 KiB are needed"));
    }

    #[test]
    fn the_script_is_a_script() {
        let script = snapshot_script(&testing(), 10 << 20);
        let checked = std::process::Command::new("/bin/sh").args(["-n", "-c", &script]).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
        assert!(script.contains(&format!("{} KiB are needed", 10 * 1024 + RESERVE_KIB)));
    }
}
