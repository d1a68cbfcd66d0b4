//! Labels and taints.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use ksp::op::kube_node::KubeNode;
use ksp::op::{Change, ClusterOp, OpError, Verdict};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use crate::cluster::Cluster;

fn op(node: &str, labels: &[&str], taints: &[&str]) -> KubeNode {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    KubeNode {
        nodes: vec![node.into()],
        labels: texts(labels),
        taints: texts(taints),
        stage: "workers".into(),
    }
}

async fn run(cluster: &Cluster, op: &KubeNode) -> Result<(), OpError> {
    let (lines, _received) = unbounded_channel();
    op.apply(&cluster.kubernetes, Some(Duration::from_secs(2)), &lines).await
}

pub async fn create(cluster: &Cluster, name: &str) -> Api<Node> {
    let api: Api<Node> = Api::all(cluster.kubernetes.client.clone());
    let node = json!({"metadata": {"name": name, "labels": {"theirs": "1"}},
        "spec": {"taints": [{"key": "theirs", "effect": "NoSchedule"}]}});
    api.create(&Default::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    api
}

fn taints(node: &Node) -> Vec<String> {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    // The node lifecycle controller adds its own to a node without a kubelet.
    let ours = taints.into_iter().filter(|taint| !taint.key.starts_with("node.kubernetes.io/"));
    ours.map(|taint| format!("{}={}:{}", taint.key, taint.value.unwrap_or_default(), taint.effect)).collect()
}

pub async fn labels_and_taints_come_and_go(cluster: &Cluster) {
    let name = cluster.unique("node");
    let api = create(cluster, &name).await;
    let first = op(
        &name,
        &["disk=ssd", "node-role.kubernetes.io/worker"],
        &["gpu=a:NoSchedule", "spot:PreferNoSchedule"],
    );
    let Verdict::Change(Change { diff, .. }) = first.probe(&cluster.kubernetes).await.unwrap() else {
        panic!("no change")
    };
    assert_eq!(
        diff,
        [
            &format!("  Node {name}"),
            "+   label disk=ssd",
            "+   label node-role.kubernetes.io/worker=",
            "+   taint gpu=a:NoSchedule",
            "+   taint spot:PreferNoSchedule",
        ]
    );
    run(cluster, &first).await.unwrap();
    assert_eq!(first.probe(&cluster.kubernetes).await.unwrap(), Verdict::Satisfied);
    let node = api.get(&name).await.unwrap();
    assert_eq!(taints(&node), ["theirs=:NoSchedule", "gpu=a:NoSchedule", "spot=:PreferNoSchedule"]);

    let second = op(&name, &["disk=hdd"], &["gpu=b:NoSchedule"]);
    run(cluster, &second).await.unwrap();
    assert_eq!(second.probe(&cluster.kubernetes).await.unwrap(), Verdict::Satisfied);
    let node = api.get(&name).await.unwrap();
    let labels = node.metadata.labels.clone().unwrap();
    assert_eq!((labels["disk"].as_str(), labels["theirs"].as_str()), ("hdd", "1"));
    assert!(!labels.contains_key("node-role.kubernetes.io/worker"));
    assert_eq!(taints(&node), ["theirs=:NoSchedule", "gpu=b:NoSchedule"]);

    // Somebody took it away: it is put back.
    let patch = json!({"spec": {"taints": [{"key": "theirs", "effect": "NoSchedule"}]}});
    api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    run(cluster, &second).await.unwrap();
    assert_eq!(taints(&api.get(&name).await.unwrap()), ["theirs=:NoSchedule", "gpu=b:NoSchedule"]);

    let nothing = op(&name, &[], &[]);
    run(cluster, &nothing).await.unwrap();
    assert_eq!(nothing.probe(&cluster.kubernetes).await.unwrap(), Verdict::Satisfied);
    let node = api.get(&name).await.unwrap();
    assert_eq!(taints(&node), ["theirs=:NoSchedule"]);
    assert!(!node.metadata.labels.unwrap().contains_key("disk"));
    assert!(!node.metadata.annotations.unwrap_or_default().contains_key("ksp.dev/taints-workers"));
    api.delete(&name, &Default::default()).await.unwrap();
}

pub async fn a_missing_node_is_never_created(cluster: &Cluster) {
    let op = op("not-joined", &["a=b"], &["c:NoSchedule"]);
    let Verdict::Change(Change { diff, .. }) = op.probe(&cluster.kubernetes).await.unwrap() else {
        panic!("no change")
    };
    assert_eq!(diff, ["  Node not-joined", "+   label a=b", "+   taint c:NoSchedule"]);
    let error = run(cluster, &op).await.unwrap_err();
    assert_eq!(error.code, "ksp::kube::node-missing");
    let api: Api<Node> = Api::all(cluster.kubernetes.client.clone());
    assert!(api.get_opt("not-joined").await.unwrap().is_none());
}
