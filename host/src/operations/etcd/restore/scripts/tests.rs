use std::path::Path;
use std::process::Command;

use super::*;
use crate::operations::etcd::layout;
use crate::operations::testing::manifest;

const ID: &str = "0a1b2c3d";

/// An etcd whose data is below a folder of this machine.
fn here(root: &Path) -> Etcd {
    let ca = root.join("ca.crt");
    std::fs::write(&ca, "authority").unwrap();
    Etcd {
        data_dir: root.join("etcd").display().to_string(),
        ca: ca.display().to_string(),
        ..layout::testing()
    }
}

fn sh(script: &str) -> std::process::Output {
    Command::new("/bin/sh").args(["-c", script]).output().unwrap()
}

fn all(etcd: &Etcd) -> Vec<String> {
    let node = &manifest(3, 0).nodes[0];
    vec![
        begin("{\"id\":\"it's\"}"),
        receive(ID, "aa", 10),
        make(etcd, node, ID, 10, "cp1=https://10.0.0.1:2380"),
        stop_api(),
        stop_member(etcd),
        stop_member(&Etcd { run_by: RunBy::Systemd, ..etcd.clone() }),
        swap(etcd, ID),
        restart_kubelet(),
        start_member(etcd),
        start_member(&Etcd { run_by: RunBy::Systemd, ..etcd.clone() }),
        start_api("https://10.0.0.1:6443"),
        nodes_ready("https://10.0.0.1:6443", &["cp1", "w1"]),
        end(etcd, ID),
    ]
}

#[test]
fn every_script_is_posix_shell() {
    for script in all(&layout::testing()) {
        let checked = Command::new("/bin/sh").args(["-n", "-c", &script]).output().unwrap();
        assert!(checked.status.success(), "{script}\n{}", String::from_utf8_lossy(&checked.stderr));
    }
}

/// T8: all members get the same list and the same token, which is new; T7: revisions jump, and what was before is compacted.
#[test]
fn members_are_made_alike_and_under_a_new_identity() {
    let nodes = manifest(3, 0).nodes;
    let cluster = initial_cluster(nodes.iter());
    assert_eq!(cluster, "cp1=https://10.0.0.1:2380,cp2=https://10.0.0.2:2380,cp3=https://10.0.0.3:2380");
    let etcd = layout::testing();
    for node in &nodes {
        let script = make(&etcd, node, ID, 1, &cluster);
        assert!(script.contains(&format!("--name {} ", node.name)));
        assert!(script.contains(&format!("--initial-cluster-token ksp-restore-{ID} ")));
        assert!(script.contains("--bump-revision 1000000000 --mark-compacted"));
        assert!(script.contains("etcdutl snapshot restore"), "T6: etcdctl has no restore any more");
    }
}

/// New data that waits beside the old, as `make` leaves it.
fn made(root: &Path) -> std::path::PathBuf {
    let side = root.join(format!("etcd.restore-{ID}"));
    std::fs::create_dir_all(side.join("new/member/wal")).unwrap();
    std::fs::write(side.join("new/member/ca.crt"), "authority").unwrap();
    let owner = sh("echo $(id -u):$(id -g)");
    std::fs::write(side.join("owner"), owner.stdout).unwrap();
    side
}

#[test]
fn data_is_swapped_once_and_the_old_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let etcd = here(root.path());
    let data = root.path().join("etcd");
    std::fs::create_dir_all(data.join("member/wal")).unwrap();
    std::fs::write(data.join("member/old"), "").unwrap();
    let side = made(root.path());
    for _ in 0..2 {
        let ran = sh(&swap(&etcd, ID));
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert!(data.join("member/ca.crt").exists() && !data.join("member/old").exists());
        assert!(side.join("before/member/old").exists());
    }
    // `make` leaves it alone from now on.
    let node = &manifest(1, 0).nodes[0];
    assert!(sh(&make(&etcd, node, ID, 1, "x")).status.success());
    assert!(data.join("member/ca.crt").exists());
    // What was put there and lost again is not passed over.
    std::fs::remove_dir_all(data.join("member")).unwrap();
    let ran = sh(&swap(&etcd, ID));
    assert!(!ran.status.success() && String::from_utf8_lossy(&ran.stderr).contains("gone again"));
}

#[test]
fn a_swap_that_was_interrupted_between_its_renames_is_finished() {
    let root = tempfile::tempdir().unwrap();
    let etcd = here(root.path());
    let side = made(root.path());
    std::fs::create_dir_all(side.join("before/member")).unwrap();
    std::fs::write(side.join("before/member/old"), "").unwrap();
    std::fs::create_dir_all(root.path().join("etcd")).unwrap();
    assert!(sh(&swap(&etcd, ID)).status.success());
    assert!(root.path().join("etcd/member/ca.crt").exists() && side.join("before/member/old").exists());
}

#[test]
fn a_member_whose_data_is_gone_gets_some() {
    let root = tempfile::tempdir().unwrap();
    let etcd = here(root.path());
    made(root.path());
    let ran = sh(&swap(&etcd, ID));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert!(root.path().join("etcd/member/wal").exists());
}

#[test]
fn data_of_a_member_that_still_runs_is_not_touched() {
    let root = tempfile::tempdir().unwrap();
    let etcd = here(root.path());
    let side = made(root.path());
    std::fs::create_dir_all(side.join("before/member")).unwrap();
    // Moved away once, and there again.
    std::fs::create_dir_all(root.path().join("etcd/member/wal")).unwrap();
    let ran = sh(&swap(&etcd, ID));
    assert!(!ran.status.success() && String::from_utf8_lossy(&ran.stderr).contains("came back"));
    assert!(side.join("new/member/ca.crt").exists());
}
