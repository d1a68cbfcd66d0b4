//! A majority is lost; a backup brings the cluster back.

use std::path::{Path, PathBuf};
use std::time::Duration;

use age::secrecy::ExposeSecret as _;
use anyhow::{Context, Result, ensure};
use ksp_lab::podman::podman;
use serde_json::Value;

use crate::support::Lab;

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn a_lost_majority_is_restored_from_a_backup() -> Result<()> {
    let lab = Lab::fresh("recovery")?;
    let stage = "\n[[stage]]\nuse = \"ksp/etcd-backup\"\n[stage.config]\ndelay-minutes = 0\n";
    lab.edit(|manifest| format!("{manifest}{stage}"))?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    lab.ksp(&["etcd", "status"])?.expect(0)?.says("3 of 3 voting members answer; 1 more may fail")?;
    recover(&lab, &["cp1", "cp2", "cp3"], None)
}

/// Where members keep their data.
const DATA: &str = "/var/lib/etcd";

/// Writes, saves, writes, loses, restores. `members` are the nodes with a member; the last two lose their data. With a key the
/// backup is encrypted for its owner; without one it is the one that the timer's service made.
pub fn recover(lab: &Lab, members: &[&str], key: Option<&age::x25519::Identity>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let to = folder.path().to_str().context("the folder has no name")?;
    lab.kubectl("create configmap before -n default --from-literal=written=before")?;
    let recipient = key.map(|key| key.to_public().to_string());
    let said = if key.is_some() { "encrypted" } else { "mode 600" };
    let mut backup = vec!["etcd", "backup", "--to", to];
    backup.extend(recipient.iter().flat_map(|recipient| ["--recipient", recipient]));
    lab.ksp(&backup)?.expect(0)?.says(said)?;
    let file = match key {
        Some(_) => std::fs::read_dir(folder.path())?.next().context("no backup was written")??.path(),
        None => timed(lab, members, folder.path())?,
    };
    let file = file.to_str().context("the file has no name")?;
    health_is_told_whole(lab, members)?;
    lab.kubectl("create configmap after -n default --from-literal=written=after")?;
    // Nothing of a backup stays on the nodes.
    for member in members {
        let left = lab.on(member, "ls -d /var/lib/ksp/etcd-backup.*/ 2>/dev/null || true")?;
        ensure!(left.is_empty(), "left on {member}: {left}");
    }

    // T1: two members lose their data and are restarted. They stay down; a second cluster never comes up.
    for member in &members[1..] {
        lab.on(member, &format!("rm -rf {DATA}/*; {RESTART}"))?;
    }
    ksp_lab::wait::until("etcd has no quorum", Duration::from_secs(60), || {
        lab.ksp(&["etcd", "status"])?.expect(1)?.says("no quorum")
    })?;
    let refused = lab.ksp(&["etcd", "backup", "--to", to])?.expect(4)?;
    refused.says("ksp::etcd::no-member")?;
    // Without the key, then without the name: nothing is touched.
    let mut restore = vec!["etcd", "restore", file];
    let identity = tempfile::NamedTempFile::new()?;
    if let Some(key) = key {
        std::fs::write(&identity, key.to_string().expose_secret())?;
        lab.ksp(&restore)?.expect(2)?.says("ksp::etcd::backup-encrypted")?;
        restore.extend(["--identity", identity.path().to_str().context("the key's file has no name")?]);
    }
    lab.ksp(&restore)?.expect(2)?.says("--confirm")?;
    restore.extend(["--confirm", &lab.scenario.name]);
    // Interrupted, it goes on: nobody else touches the members meanwhile.
    lab.kill_command_when(&restore, || {
        lab.on(members[1], "test -e /var/lib/ksp/etcd-restore.json").map(drop)
    })?;
    lab.ksp(&["up", "--yes"])?.expect(3)?.says("ksp::etcd::restore-unfinished")?;
    restore.extend(["--lock-timeout", "2m"]);
    lab.ksp(&restore)?.expect(0)?.says("old data is kept")?;
    let found = lab.kubectl("get configmap -n default -o name")?;
    let has = |name: &str| found.lines().any(|line| line == format!("configmap/{name}"));
    ensure!(has("before"), "what was saved is not there: {found}");
    ensure!(!has("after"), "what was not saved is there: {found}");
    lab.kubectl("create configmap anew -n default --from-literal=written=anew")?;
    lab.ksp(&["etcd", "status"])?.expect(0)?.says("3 of 3 voting members answer; 1 more may fail")?;
    lab.ksp(&["status"])?.expect(0)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;

    // The new identity holds: a member that is restarted comes back, and the old data is where it was said to be.
    lab.on(members[2], RESTART)?;
    ksp_lab::wait::until("the restarted member answers", Duration::from_secs(90), || {
        lab.ksp(&["etcd", "status"])?.expect(0)
    })?;
    let old =
        format!("ls -d {DATA}.restore-*/before/member {DATA}/restore-*/before/member 2>/dev/null || true");
    let kept = lab.on(members[0], &old)?;
    ensure!(kept.lines().count() == 1, "the old data is not kept: {kept:?}");
    let left = lab
        .on(members[0], "ls -d /var/lib/ksp/etcd-restore* /etc/kubernetes/ksp-restore 2>/dev/null || true")?;
    ensure!(left.is_empty(), "left over: {left}");
    Ok(())
}

/// T13: the timer has made one on every member's node by itself; another one is made as it would, and brought here.
fn timed(lab: &Lab, members: &[&str], to: &Path) -> Result<PathBuf> {
    for member in members {
        let due = format!("the timer of {member} has made a backup");
        ksp_lab::wait::until(&due, Duration::from_secs(150), || {
            lab.on(member, "grep '\"result\":\"done\"' /var/backups/etcd/last.json")
        })?;
        lab.on(member, "systemctl start ksp-etcd-backup.service")?;
    }
    lab.ksp(&["status"])?.expect(0)?.says("last backup")?;
    let newest = "cd /var/backups/etcd && stat -c '%a %n' . $(ls -1 *.tar | tail -n 1)";
    let kept = lab.on(members[0], newest)?;
    let (folder, archive) = kept.trim().split_once('\n').context("there is no archive")?;
    let name = archive.strip_prefix("600 ").with_context(|| format!("the archive is {archive}"))?;
    ensure!(folder == "700 .", "the folder is {folder}");
    let here = to.join("timed.etcd-backup.tar");
    let from = format!("{}:/var/backups/etcd/{name}", lab.scenario.node(members[0])?.container());
    podman(["cp", &from, here.to_str().context("the folder has no name")?])?.output()?;
    Ok(here)
}

/// Members, leader, lag, size, margin, certificates, the last backup: for people and for programs.
fn health_is_told_whole(lab: &Lab, members: &[&str]) -> Result<()> {
    let etcd: Value = serde_json::from_str(&lab.ksp(&["etcd", "status", "-o", "json"])?.expect(0)?.stdout)?;
    let whole: Value = serde_json::from_str(&lab.ksp(&["status", "-o", "json"])?.expect(0)?.stdout)?;
    for report in [&etcd, &whole["etcd"]] {
        ensure!(report["healthy"] == true && report["problems"] == serde_json::json!([]), "{report:#}");
        let leads = members.iter().any(|name| report["leader"] == *name);
        ensure!(leads && report["quorum"]["may-fail"] == 1, "{report:#}");
        let told = report["members"].as_array().context("no members")?;
        ensure!(told.len() == members.len(), "{report:#}");
        for member in told {
            let numbers = ["db-size", "lag", "raft-term", "revision"].map(|key| member[key].is_u64());
            let named = members.iter().any(|name| member["node"] == *name);
            ensure!(named && numbers == [true; 4], "{member:#}");
        }
        let lasting = report["certificates"].as_array().context("no certificates")?.iter();
        ensure!(lasting.clone().count() >= members.len(), "{report:#}");
        ensure!(lasting.into_iter().all(|it| it["days-left"].as_i64() > Some(300)), "{report:#}");
        ensure!(report["last-backup"]["result"] == "done", "{report:#}");
    }
    Ok(())
}

/// Ends the member; whoever keeps it running starts it again.
const RESTART: &str = "pkill -x etcd || true";
