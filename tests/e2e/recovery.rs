//! A majority is lost; a backup brings the cluster back.

use age::secrecy::ExposeSecret as _;
use anyhow::{Context, Result, ensure};

use crate::support::Lab;

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn a_lost_majority_is_restored_from_a_backup() -> Result<()> {
    let lab = Lab::fresh("recovery")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    lab.ksp(&["etcd", "status"])?.expect(0)?.says("3 of 3 voting members answer; 1 more may fail")?;
    recover(&lab, &["cp1", "cp2", "cp3"], None)
}

/// Where members keep their data.
const DATA: &str = "/var/lib/etcd";

/// Writes, saves, writes, loses, restores. `members` are the nodes with a member; the last two lose their data. With a key the
/// backup is encrypted for its owner.
pub fn recover(lab: &Lab, members: &[&str], key: Option<&age::x25519::Identity>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let to = folder.path().to_str().context("the folder has no name")?;
    lab.kubectl("create configmap before -n default --from-literal=written=before")?;
    let recipient = key.map(|key| key.to_public().to_string());
    let said = if key.is_some() { "encrypted" } else { "mode 600" };
    let mut backup = vec!["etcd", "backup", "--to", to];
    backup.extend(recipient.iter().flat_map(|recipient| ["--recipient", recipient]));
    lab.ksp(&backup)?.expect(0)?.says(said)?;
    let file = std::fs::read_dir(folder.path())?.next().context("no backup was written")??.path();
    let file = file.to_str().context("the file has no name")?;
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
    ksp_lab::wait::until("etcd has no quorum", std::time::Duration::from_secs(60), || {
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
    ksp_lab::wait::until("the restarted member answers", std::time::Duration::from_secs(90), || {
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

/// Ends the member; whoever keeps it running starts it again.
const RESTART: &str = "pkill -x etcd || true";
