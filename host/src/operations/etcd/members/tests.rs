use super::*;
use crate::operations::etcd::layout::testing;
use crate::transport::fake::{FakeNode, failure, output};

/// As etcd 3.6.8 answers.
const STATUS: &str = r#"[{"Endpoint":"https://127.0.0.1:2379","Status":{"header":{"cluster_id":14841639068965178418,"member_id":10276657743932975437,"revision":812,"raft_term":3},"version":"3.6.8","dbSize":2117632,"leader":10276657743932975437,"raftIndex":950,"raftTerm":3,"raftAppliedIndex":950,"errors":["memberID:10276657743932975437 alarm:NOSPACE "],"dbSizeInUse":1961984,"storageVersion":"3.6.0","dbSizeQuota":2147483648,"downgradeInfo":{}}}]"#;
const LIST: &str = r#"{"header":{"cluster_id":14841639068965178418},"members":[{"ID":10276657743932975437,"name":"cp1","peerURLs":["https://10.0.0.1:2380"]},{"ID":7,"name":"","peerURLs":["https://10.0.0.2:2380"],"isLearner":true}]}"#;

async fn seen(node: &FakeNode, name: &str) -> Seen {
    let manifest = crate::operations::testing::manifest(3, 0);
    let of = manifest.nodes.iter().find(|node| node.name == name).unwrap();
    one(&testing(), of, &node.clone()).await
}

#[tokio::test]
async fn a_member_is_read() {
    let node = FakeNode::new();
    let issued = rcgen::generate_simple_self_signed(vec!["cp1".to_owned()]).unwrap().cert.pem();
    node.on("endpoint status", output(0, STATUS))
        .on("member list", output(0, LIST))
        .on("df -Pk", output(0, "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 2000 1000 1000 50% /var/lib/etcd\n"))
        .on("*.crt", output(0, format!("@ /etc/kubernetes/pki/etcd/server.crt\n{issued}@ /x/broken.crt\nnothing\n")))
        .on("backups/etcd/last.json", output(0, r#"{"time":"2026-11-23T20:00:00Z","result":"failed","error":"disk full"}"#))
        .on("ksp/etcd-backup.json", output(0, r#"{"time":"2026-11-23T21:00:00Z","result":"done","revision":800,"size":5,"node":"cp1","hash":9}"#));
    let seen = seen(&node, "cp1").await;
    let status = seen.answer().unwrap();
    assert_eq!((status.header.revision, status.raft_term, status.db_size_in_use), (812, 3, 1_961_984));
    assert_eq!(hex(status.header.member_id), "8e9e05c52164694d");
    assert!(status.errors[0].contains("NOSPACE"));
    assert_eq!(seen.list.len(), 2);
    assert!(seen.list[1].learner && seen.has_data);
    assert_eq!(seen.free, Some(1_024_000));
    assert_eq!(seen.certificates.len(), 1, "{:?}", seen.certificates);
    assert_eq!(seen.certificates[0].path, "/etc/kubernetes/pki/etcd/server.crt");
    // The newest note counts, wherever it is.
    assert!(seen.backup.unwrap().is_good());
    assert_eq!(node.calls(), 1, "one round trip");
}

#[tokio::test]
async fn a_member_that_does_not_answer_says_why() {
    let node = FakeNode::new();
    let said = "{\"level\":\"warn\",\"msg\":\"retrying\"}\nFailed to get the status of endpoint https://127.0.0.1:2379 (context deadline exceeded)\n";
    node.on("endpoint status", failure(1, said))
        .on("member list", failure(1, "Error: context deadline exceeded\n"))
        .on("member/wal", output(1, ""));
    let seen = seen(&node, "cp2").await;
    assert_eq!(seen.status, Some(Err("the member does not answer".into())));
    assert!(seen.list.is_empty() && !seen.has_data);
}

#[tokio::test]
async fn a_node_without_tools_has_no_member_yet() {
    let node = FakeNode::new();
    node.on("etcdctl", failure(127, "sh: etcdctl: not found\n"));
    let seen = seen(&node, "cp3").await;
    assert!(seen.status.unwrap().unwrap_err().contains("no member yet"));
}
