//! Waits.

use std::time::Duration;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use ksp::op::kube_wait::KubeWait;
use ksp::op::{Change, ClusterOp, OpError, Verdict};
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;

use crate::cluster::{Cluster, eventually};

fn op(object: &str, namespace: &str, condition: &str, seconds: u64) -> KubeWait {
    KubeWait {
        object: object.into(),
        namespace: namespace.into(),
        condition: condition.into(),
        deadline: Duration::from_secs(seconds),
    }
}

async fn run(cluster: &Cluster, op: &KubeWait) -> (Result<(), OpError>, Vec<String>) {
    let (lines, mut received) = unbounded_channel();
    let result = op.apply(&cluster.kubernetes, None, &lines).await;
    drop(lines);
    let mut told = Vec::new();
    while let Some(line) = received.recv().await {
        told.push(line);
    }
    (result, told)
}

async fn reason(cluster: &Cluster, op: &KubeWait) -> String {
    match op.probe(&cluster.kubernetes).await.unwrap() {
        Verdict::Change(Change { diff, .. }) => diff.concat(),
        other => panic!("{other:?}"),
    }
}

/// A namespace, a node, and a DaemonSet that puts one pod on that node. There is no kubelet: pods are what we write.
async fn daemon_set(cluster: &Cluster) -> (String, String) {
    let client = cluster.kubernetes.client.clone();
    let name = cluster.unique("rollout");
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    Api::all(client.clone()).create(&Default::default(), &namespace).await.unwrap();
    let node = json!({"metadata": {"name": name, "labels": {"for": name}}});
    let nodes: Api<k8s_openapi::api::core::v1::Node> = Api::all(client.clone());
    nodes.create(&Default::default(), &serde_json::from_value(node).unwrap()).await.unwrap();
    let set: DaemonSet = serde_json::from_value(json!({
        "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": {
            "metadata": {"labels": {"app": "agent"}},
            "spec": {"nodeSelector": {"for": name}, "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "agent", "image": "agent:1"}]},
        }},
    }))
    .unwrap();
    Api::namespaced(client.clone(), &name).create(&Default::default(), &set).await.unwrap();
    let pods: Api<Pod> = Api::namespaced(client, &name);
    let pod = eventually("the DaemonSet makes a pod", || async {
        pods.list(&ListParams::default()).await.unwrap().items.pop()?.metadata.name
    })
    .await;
    (name, pod)
}

async fn write_status(cluster: &Cluster, namespace: &str, pod: &str, status: Value) {
    let pods: Api<Pod> = Api::namespaced(cluster.kubernetes.client.clone(), namespace);
    pods.patch_status(pod, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.unwrap();
}

fn container(state: Value, ready: bool) -> Value {
    json!([{"name": "agent", "image": "agent:1", "imageID": "", "ready": ready, "restartCount": 0, "state": state}])
}

pub async fn a_rollout_is_waited_for(cluster: &Cluster) {
    let (space, pod) = daemon_set(cluster).await;
    let wait = op("daemonset/agent", &space, "rollout", 60);
    eventually("the status is written", || async {
        (reason(cluster, &wait).await == format!("  DaemonSet {space}/agent: 0 of 1 ready")).then_some(())
    })
    .await;
    let finish = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let ready = json!({
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            "containerStatuses": container(json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}), true),
        });
        write_status(cluster, &space, &pod, ready).await;
    };
    let ((result, told), ()) = tokio::join!(run(cluster, &wait), finish);
    result.unwrap();
    assert_eq!(told, [format!("DaemonSet {space}/agent: 0 of 1 ready")]);
    assert_eq!(wait.probe(&cluster.kubernetes).await.unwrap(), Verdict::Satisfied);
}

pub async fn a_timeout_says_why(cluster: &Cluster) {
    let (space, pod) = daemon_set(cluster).await;
    let waiting =
        json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image agent:1"}});
    write_status(
        cluster,
        &space,
        &pod,
        json!({"phase": "Pending", "containerStatuses": container(waiting, false)}),
    )
    .await;
    let event = json!({
        "metadata": {"name": "pull"}, "type": "Warning", "reason": "Failed", "message": "no such host",
        "involvedObject": {"kind": "Pod", "name": pod, "namespace": space},
    });
    let events: Api<k8s_openapi::api::core::v1::Event> =
        Api::namespaced(cluster.kubernetes.client.clone(), &space);
    events.create(&Default::default(), &serde_json::from_value(event).unwrap()).await.unwrap();

    let (result, told) = run(cluster, &op("ds.apps/agent", &space, "rollout", 2)).await;
    assert!(result.unwrap_err().message.contains("the API serves no ds.apps yet"));
    assert_eq!(told.len(), 1);
    let (result, told) = run(cluster, &op("daemonsets/agent", &space, "rollout", 5)).await;
    let error = result.unwrap_err();
    assert_eq!(error.code, "ksp::kube::wait-timeout");
    let trouble = format!("pod {pod}: container agent: ImagePullBackOff (Back-off pulling image agent:1)");
    assert!(
        error.message.ends_with(&format!("within 5 s: DaemonSet {space}/agent: 0 of 1 ready; {trouble}")),
        "{error}"
    );
    assert_eq!(error.tail, [trouble, "  Failed: no such host".to_owned()]);
    assert_eq!(error.hints, [format!("kubectl -n {space} describe daemonsets agent")]);
    assert_eq!(told.len(), 2, "{told:?}");

    // What a probe says is known from the events only.
    let running = json!({"phase": "Running", "containerStatuses": container(json!({"running": {}}), false)});
    write_status(cluster, &space, &pod, running).await;
    let (result, _) = run(cluster, &op("daemonsets/agent", &space, "rollout", 2)).await;
    let unready = format!("pod {pod}: container agent runs and is not ready");
    assert_eq!(result.unwrap_err().tail, [unready, "  Failed: no such host".to_owned()]);
}

pub async fn conditions_presence_and_absence(cluster: &Cluster) {
    let name = cluster.unique("there");
    let api: Api<ConfigMap> = Api::namespaced(cluster.kubernetes.client.clone(), "default");
    let (exists, deleted) =
        (format!("configmap/{name}"), op(&format!("configmap/{name}"), "default", "deleted", 30));
    let exists = op(&exists, "default", "exists", 30);
    assert_eq!(deleted.probe(&cluster.kubernetes).await.unwrap(), Verdict::Satisfied);
    assert_eq!(reason(cluster, &exists).await, format!("  configmap default/{name} is not there yet"));
    let create = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let object: ConfigMap = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
        api.create(&Default::default(), &object).await.unwrap();
    };
    let ((result, _), ()) = tokio::join!(run(cluster, &exists), create);
    result.unwrap();
    let delete = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        api.delete(&name, &Default::default()).await.unwrap();
    };
    let ((result, told), ()) = tokio::join!(run(cluster, &deleted), delete);
    result.unwrap();
    assert_eq!(told, [format!("configmap default/{name} is still there")]);

    // Served by the API server itself from the start.
    let service = op("apiservice.apiregistration.k8s.io/v1.apps", "", "condition=Available", 30);
    run(cluster, &service).await.0.unwrap();
    let nonsense = op("configmap/x", "default", "sometimes", 1);
    assert_eq!(nonsense.probe(&cluster.kubernetes).await.unwrap_err().code, "ksp::kube::condition");
}
