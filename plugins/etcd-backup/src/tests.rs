//! The script for real, with an `etcdctl` and an `etcdutl` of the test's making.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use super::*;

/// As etcd 3.6 answers.
const STATUS: &str = r#"[{"Status":{"header":{"cluster_id":1,"member_id":2,"revision":812,"raft_term":3},"version":"3.6.8","dbSize":20480,"leader":2,"raftIndex":950}}]"#;

struct Node(tempfile::TempDir);

impl Node {
    fn new(status: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["bin", "backups", "ksp"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let node = Self(root);
        let json = r#"{"version":1,"cluster":"prod","cluster-id":"584b","node":"cp1","machine-id":"m"}"#;
        fs::write(node.path("ksp/node.json"), json).unwrap();
        // The last word of `snapshot save FILE` is the file.
        node.tool("etcdctl", &format!("case \"$*\" in *status*) echo '{status}';; *save*) for f; do :; done; printf data >\"$f\";; esac"));
        node.tool(
            "etcdutl",
            r#"echo '{"hash":7,"revision":812,"totalKey":9,"totalSize":4,"version":"3.6.0"}'"#,
        );
        node
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn tool(&self, name: &str, text: &str) {
        let path = self.path(&format!("bin/{name}"));
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self, config: &EtcdBackup) -> Output {
        let script = include_str!("../assets/backup.sh")
            .replace("PATH=/usr/local/sbin", &format!("PATH={}:/usr/local/sbin", self.path("bin").display()))
            .replace("/var/lib/ksp", &self.path("ksp").display().to_string());
        let etcd = Etcd {
            run_by: RunBy::Kubelet,
            nodes: vec!["cp1".into(), "cp2".into()],
            data_dir: "/d".into(),
            ca: "/ca".into(),
            certificate: "/c".into(),
            key: "/k".into(),
        };
        let spec: Spec = serde_json::from_value(json!({
            "name": "prod", "kubernetes": "1.36.3", "endpoint": "a:6443", "pod-cidr": "", "service-cidr": "",
            "dns-domain": "cluster.local",
        }))
        .unwrap();
        let settings =
            config.settings(&spec, &etcd).replace(FOLDER, &self.path("backups").display().to_string());
        Command::new("/bin/sh").args(["-c", &format!("{settings}\n{script}")]).output().unwrap()
    }

    fn archives(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path("backups"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name.ends_with(".etcd-backup.tar"))
            .collect();
        names.sort();
        names
    }

    fn last(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.path("backups/last.json")).unwrap()).unwrap()
    }

    fn old(&self, name: &str, days: u64) {
        let path = self.path(&format!("backups/prod-{name}.etcd-backup.tar"));
        fs::write(&path, "").unwrap();
        let touched = Command::new("touch").args(["-d", &format!("{days} days ago")]).arg(&path).status();
        assert!(touched.unwrap().success());
    }
}

fn member(archive: &Path, name: &str) -> String {
    let output = Command::new("tar").arg("-xOf").arg(archive).arg(name).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_backup_says_what_it_is() {
    let node = Node::new(STATUS);
    let ran = node.run(&EtcdBackup::default());
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let names = node.archives();
    let archive = node.path("backups").join(&names[0]);
    let about: serde_json::Value = serde_json::from_str(&member(&archive, "backup.json")).unwrap();
    assert_eq!(about["cluster-id"], "584b");
    assert_eq!(about["members"], json!(["cp1", "cp2"]));
    assert_eq!((&about["revision"], &about["hash"], &about["size"]), (&json!(812), &json!(7), &json!(4)));
    // sha256 of "data".
    assert_eq!(about["sha256"], "3a6eb0790f39ac87c94f3856b2dd2c5d110e6811602261a9a923d3bb23adc8b7");
    assert_eq!(member(&archive, "snapshot.db"), "data");
    assert_eq!(fs::metadata(&archive).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!((&node.last()["result"], &node.last()["node"]), (&json!("done"), &json!("cp1")));
    assert!(!node.path("backups/.work").exists());
}

/// T13: old ones go by number and by age, and never the newest.
#[test]
fn what_is_kept_is_bounded() {
    let node = Node::new(STATUS);
    for day in 1..=9 {
        node.old(&format!("2026010{day}T000000Z"), 2);
    }
    node.old("20251231T000000Z", 40);
    let config = EtcdBackup { keep: 4, ..EtcdBackup::default() };
    assert!(node.run(&config).status.success());
    let names = node.archives();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(names[0], "prod-20260107T000000Z.etcd-backup.tar");

    let node = Node::new(STATUS);
    node.old("20260101T000000Z", 40);
    node.old("20260102T000000Z", 3);
    assert!(node.run(&EtcdBackup::default()).status.success());
    assert_eq!(node.archives().len(), 2, "by age: {:?}", node.archives());
}

/// T13: never from a member that is being repaired; what was kept stays.
#[test]
fn a_member_that_is_not_well_is_not_asked() {
    for (status, why) in [
        (STATUS.replace("\"leader\":2", "\"leader\":0"), "knows no leader"),
        (STATUS.replace("\"raftIndex\"", "\"isLearner\":true,\"raftIndex\""), "does not vote yet"),
        (STATUS.replace("\"raftIndex\"", "\"errors\":[\"alarm:CORRUPT\"],\"raftIndex\""), "corrupt"),
    ] {
        let node = Node::new(&status);
        node.old("20200101T000000Z", 400);
        assert!(!node.run(&EtcdBackup::default()).status.success());
        assert_eq!(node.last()["result"], "failed");
        assert!(node.last()["error"].as_str().unwrap().contains(why), "{}", node.last());
        assert_eq!(node.archives().len(), 1);
    }
}

#[test]
fn a_snapshot_that_cannot_be_read_back_is_no_backup() {
    let node = Node::new(STATUS);
    node.tool("etcdutl", "echo 'Error: \"expected sha256\"' >&2; exit 1");
    assert!(!node.run(&EtcdBackup::default()).status.success());
    assert!(node.archives().is_empty());
    assert!(node.last()["error"].as_str().unwrap().contains("cannot be read back"));
}
