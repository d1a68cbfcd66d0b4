//! The script that rolls settings out, for real, with programs of the test's making around it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Command, Output};

/// What kubeadm would make of the settings.
const KUBEADM: &str =
    r#"for c in etcd kube-apiserver; do echo "new $c" >"$KUBEADM_INIT_DRYRUN_DIR/$c.yaml"; done"#;

/// A pod is known by its manifest, and runs as long as that is there. Tells which API server runs when etcd is looked at.
const CRICTL: &str = r#"case "$*" in
"pods --name ^etcd-"*) echo "etcd: $(cat M/etcd.yaml), API server: $(cat M/kube-apiserver.yaml 2>/dev/null || echo none)" >>L; cksum <M/etcd.yaml | cut -d' ' -f1;;
"pods --name ^kube-apiserver-"*) [ ! -e M/kube-apiserver.yaml ] || cksum <M/kube-apiserver.yaml | cut -d' ' -f1;;
"ps --pod"*) echo running;;
esac"#;

struct Node(tempfile::TempDir);

impl Node {
    /// Of a cluster with these members, of which so many answer.
    fn new(voters: usize, learners: usize, alive: usize) -> Self {
        let node = Self(tempfile::tempdir().unwrap());
        for folder in ["bin", "kubernetes/manifests", "kubernetes/kubeadm"] {
            fs::create_dir_all(node.path(folder)).unwrap();
        }
        for component in ["etcd", "kube-apiserver"] {
            fs::write(node.manifest(component), format!("old {component}\n")).unwrap();
        }
        let (manifests, log) = (node.path("kubernetes/manifests"), node.path("log"));
        let crictl = CRICTL.replace("M/", &format!("{}/", manifests.display()));
        node.tool("crictl", &crictl.replace(">>L", &format!(">>{}", log.display())));
        node.tool("kubeadm", KUBEADM);
        node.tool("kubectl", "echo ok");
        let member = |learner| format!(r#"{{"ID":1,"peerURLs":["u"],"isLearner":{learner}}}"#);
        let list: Vec<String> = (0..voters + learners)
            .map(|at| member(at >= voters).replace(r#","isLearner":false"#, ""))
            .collect();
        let health: Vec<String> =
            (0..voters).map(|at| format!(r#"{{"endpoint":"e{at}","health":{}}}"#, at < alive)).collect();
        node.tool(
            "etcdctl",
            &format!(
                "case \"$*\" in *'member list'*) echo '[{}]';; *--cluster*) echo '[{}]';; *) echo healthy;; esac",
                list.join(","),
                health.join(",")
            ),
        );
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn manifest(&self, component: &str) -> PathBuf {
        self.path(&format!("kubernetes/manifests/{component}.yaml"))
    }

    fn tool(&self, name: &str, text: &str) {
        let path = self.path(&format!("bin/{name}"));
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn roll_etcd(&self) -> Output {
        let script = include_str!("../../assets/roll.sh")
            .replace("/etc/kubernetes", &self.path("kubernetes").display().to_string())
            .replace("/usr/local/bin", &self.path("bin").display().to_string());
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").unwrap());
        Command::new("/bin/sh")
            .args(["-c", &script, "sh", "etcd local", "config", "etcd", "cp1", "10.0.0.1:6443", "cluster"])
            .env("PATH", path)
            .output()
            .unwrap()
    }

    fn read(&self, component: &str) -> String {
        fs::read_to_string(self.manifest(component)).unwrap()
    }
}

/// T3, T6c: members that are down already count, and they are counted in etcd's own answers, learners apart.
#[test]
fn a_member_is_restarted_only_while_the_others_are_a_majority_t3() {
    for (voters, learners, alive, spared) in [
        (3, 0, 3, true),
        (3, 0, 2, false),
        (5, 0, 4, true),
        (5, 0, 3, false),
        (3, 1, 3, true),
        (1, 0, 1, true),
    ] {
        let node = Node::new(voters, learners, alive);
        let ran = node.roll_etcd();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.success(), spared, "{alive} of {voters}, {learners}: {said}");
        let (etcd, server) = (node.read("etcd"), node.read("kube-apiserver"));
        if spared {
            assert_eq!((etcd.as_str(), server.as_str()), ("new etcd\n", "new kube-apiserver\n"));
        } else {
            assert!(said.contains(&format!("{alive} of {voters} members answer")), "{said}");
            assert_eq!((etcd.as_str(), server.as_str()), ("old etcd\n", "old kube-apiserver\n"));
        }
    }
}

/// T21: manifests are renamed into place, nothing else is ever in their folder; and no API server waits for a member that is away.
#[test]
fn the_api_server_is_away_while_its_member_is_t21() {
    let node = Node::new(3, 0, 3);
    assert!(node.roll_etcd().status.success());
    let log = fs::read_to_string(node.path("log")).unwrap();
    assert!(log.contains("etcd: new etcd, API server: none"), "{log}");
    assert!(!log.contains("etcd: new etcd, API server: old"), "{log}");
    let mut left: Vec<_> = fs::read_dir(node.path("kubernetes/manifests"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    left.sort();
    assert_eq!(left, ["etcd.yaml", "kube-apiserver.yaml"]);
    assert!(!node.path("kubernetes/kubeadm/kube-apiserver.aside").exists());
}

#[test]
fn the_same_manifest_restarts_nothing() {
    let node = Node::new(3, 0, 2);
    fs::write(node.manifest("etcd"), "new etcd\n").unwrap();
    assert!(node.roll_etcd().status.success());
    assert_eq!(node.read("kube-apiserver"), "old kube-apiserver\n");
}
