//! Drains, with a kubelet that does nothing but end what was deleted.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, ReplicaSet};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::serde::de::DeserializeOwned;
use ksp::kubernetes::cordon::ANNOTATION;
use ksp::op::drain::Drain;
use ksp::op::uncordon::Uncordon;
use ksp::op::{Change, NodeApiOp, OpError, Verdict};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tokio::task::JoinHandle;

use crate::cluster::{Cluster, eventually};

/// A node, and a namespace of the same name.
struct Place<'a> {
    cluster: &'a Cluster,
    name: String,
    kubelet: JoinHandle<()>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.kubelet.abort();
    }
}

fn made<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

impl<'a> Place<'a> {
    async fn new(cluster: &'a Cluster) -> Self {
        let (name, client) = (cluster.unique("drained"), cluster.kubernetes.client.clone());
        let namespace: Namespace = made(json!({"metadata": {"name": name}}));
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        let node: Node = made(json!({"metadata": {"name": name, "labels": {"for": name}}}));
        Api::all(client.clone()).create(&PostParams::default(), &node).await.unwrap();
        let kubelet = tokio::spawn(kubelet(Api::namespaced(client, &name), name.clone()));
        Self { cluster, name, kubelet }
    }

    fn api<T>(&self) -> Api<T>
    where
        T: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
        T::DynamicType: Default,
    {
        Api::namespaced(self.cluster.kubernetes.client.clone(), &self.name)
    }

    fn nodes(&self) -> Api<Node> {
        Api::all(self.cluster.kubernetes.client.clone())
    }

    /// A ReplicaSet whose pods run on the node.
    async fn replicas(&self, count: usize) {
        let set: ReplicaSet = made(json!({
            "metadata": {"name": "web"},
            "spec": {"replicas": count, "selector": {"matchLabels": {"app": "web"}}, "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "web:1"}],
                    "volumes": [{"name": "scratch", "emptyDir": {}}]},
            }},
        }));
        self.api().create(&PostParams::default(), &set).await.unwrap();
        self.run_all("app=web", count).await;
    }

    /// Puts pods onto the node as a scheduler would, and lets them be ready.
    async fn run_all(&self, labels: &str, count: usize) {
        let pods: Api<Pod> = self.api();
        let names = eventually("there are pods", || async {
            let found = pods.list(&ListParams::default().labels(labels)).await.unwrap().items;
            (found.len() == count)
                .then(|| found.into_iter().filter_map(|pod| pod.metadata.name).collect::<Vec<_>>())
        })
        .await;
        for name in names {
            self.bind(&name).await;
            self.make_ready(&name).await;
        }
    }

    async fn bind(&self, pod: &str) {
        let body = json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod},
            "target": {"kind": "Node", "name": self.name}});
        let pods: Api<Pod> = self.api();
        let _: Value = pods.create_subresource("binding", pod, &PostParams::default(), &body).await.unwrap();
    }

    async fn make_ready(&self, pod: &str) {
        let ready = json!({"status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        }});
        let pods: Api<Pod> = self.api();
        pods.patch_status(pod, &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    }

    /// Names of the pods on the node.
    async fn there(&self) -> Vec<String> {
        let on_node = ListParams::default().fields(&format!("spec.nodeName={}", self.name));
        let found = self.api::<Pod>().list(&on_node).await.unwrap().items;
        let mut names: Vec<String> = found.into_iter().filter_map(|pod| pod.metadata.name).collect();
        names.sort();
        names
    }

    /// Whether the node is closed, and by ksp.
    async fn closed(&self) -> (bool, bool) {
        let node = self.nodes().get(&self.name).await.unwrap();
        let ours = node.metadata.annotations.unwrap_or_default().contains_key(ANNOTATION);
        (node.spec.and_then(|spec| spec.unschedulable).unwrap_or(false), ours)
    }

    async fn drain(&self, seconds: u64) -> Result<(), OpError> {
        let (lines, _received) = unbounded_channel();
        let timeout = Some(Duration::from_secs(seconds));
        Drain.apply(&self.cluster.kubernetes, &self.name, timeout, &lines).await
    }

    async fn uncordon(&self) {
        let (lines, _received) = unbounded_channel();
        Uncordon.apply(&self.cluster.kubernetes, &self.name, None, &lines).await.unwrap();
    }

    async fn due(&self, op: &dyn NodeApiOp) -> Option<Vec<String>> {
        match op.probe(&self.cluster.kubernetes, &self.name).await.unwrap() {
            Verdict::Change(Change { diff, .. }) => Some(diff),
            _ => None,
        }
    }
}

/// Ends the pods of a node that were deleted.
async fn kubelet(pods: Api<Pod>, node: String) {
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    loop {
        for pod in pods.list(&on_node).await.map(|found| found.items).unwrap_or_default() {
            if let (Some(name), Some(_)) = (&pod.metadata.name, &pod.metadata.deletion_timestamp) {
                let _ = pods.delete(name, &DeleteParams::default().grace_period(0)).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A DaemonSet's pod, a static one and one that has ended.
async fn own_pods(place: &Place<'_>) -> Vec<String> {
    let set: DaemonSet = made(json!({
        "metadata": {"name": "agent"},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": {
            "metadata": {"labels": {"app": "agent"}},
            "spec": {"nodeSelector": {"for": place.name}, "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "c", "image": "agent:1"}]},
        }},
    }));
    place.api().create(&PostParams::default(), &set).await.unwrap();
    place.run_all("app=agent", 1).await;
    let alone = |name: &str, mirror: bool| {
        let annotations = if mirror { json!({"kubernetes.io/config.mirror": "1"}) } else { json!({}) };
        let automount = json!({"nodeName": place.name, "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "x:1"}]});
        made::<Pod>(json!({"metadata": {"name": name, "annotations": annotations}, "spec": automount}))
    };
    let pods: Api<Pod> = place.api();
    // The namespace's service account comes a moment after the namespace.
    eventually("pods are accepted", || async {
        pods.create(&PostParams::default(), &alone("ended", false)).await.ok()
    })
    .await;
    let ended = json!({"status": {"phase": "Succeeded"}});
    pods.patch_status("ended", &PatchParams::default(), &Patch::Merge(ended)).await.unwrap();
    pods.create(&PostParams::default(), &alone("static", true)).await.unwrap();
    place.there().await
}

pub async fn pods_leave_but_those_of_the_node_stay(cluster: &Cluster) {
    let place = Place::new(cluster).await;
    let own = own_pods(&place).await;
    assert_eq!(own.len(), 3, "{own:?}");
    place.replicas(2).await;
    let due = place.due(&Drain).await.unwrap();
    assert_eq!(due.len(), 2, "{due:?}");
    assert!(
        due.iter().all(|line| line.starts_with("-pod ") && line.ends_with(" of ReplicaSet web")),
        "{due:?}"
    );
    assert_eq!(place.closed().await, (false, false), "a probe changes nothing");
    assert_eq!(place.due(&Uncordon).await, None);

    place.drain(60).await.unwrap();
    assert_eq!(place.there().await, own);
    assert_eq!(place.closed().await, (true, true));
    // Once more: safe to repeat.
    place.drain(60).await.unwrap();
    assert!(place.due(&Uncordon).await.is_some());
    place.uncordon().await;
    assert_eq!(place.closed().await, (false, false));
    assert_eq!(place.due(&Uncordon).await, None);
}

pub async fn a_budget_that_holds_a_pod_is_named(cluster: &Cluster) {
    let place = Place::new(cluster).await;
    place.replicas(1).await;
    let budget: PodDisruptionBudget = made(json!({
        "metadata": {"name": "at-least-one"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
    }));
    let budgets: Api<PodDisruptionBudget> = place.api();
    budgets.create(&PostParams::default(), &budget).await.unwrap();
    eventually("the budget is known", || async {
        let status = budgets.get("at-least-one").await.unwrap().status?;
        (status.current_healthy == Some(1)).then_some(())
    })
    .await;
    let pod = place.there().await.remove(0);

    let error = place.drain(15).await.unwrap_err();
    assert_eq!(error.code, "ksp::kube::drain");
    for part in [&format!("{}/{pod}", place.name), "at-least-one", "within 15 s"] {
        assert!(error.message.contains(part), "{part}: {error}");
    }
    assert!(!error.hints.is_empty());
    assert_eq!(place.there().await, [pod]);
    assert_eq!(place.closed().await, (false, false), "nothing was done to the node: it serves on");

    budgets.delete("at-least-one", &DeleteParams::default()).await.unwrap();
    place.drain(60).await.unwrap();
    assert_eq!(place.there().await, Vec::<String>::new());
}

pub async fn a_pod_that_nobody_would_make_again_refuses(cluster: &Cluster) {
    let place = Place::new(cluster).await;
    let pod: Pod = made(json!({"metadata": {"name": "pet"}, "spec": {"nodeName": place.name,
        "containers": [{"name": "c", "image": "x:1"}]}}));
    let pods: Api<Pod> = place.api();
    eventually("pods are accepted", || async { pods.create(&PostParams::default(), &pod).await.ok() }).await;
    place.replicas(1).await;
    let error = place.drain(20).await.unwrap_err();
    assert_eq!(error.code, "ksp::kube::unmanaged-pods");
    assert!(error.message.contains(&format!("{}/pet", place.name)), "{error}");
    assert_eq!(place.there().await.len(), 2, "nothing was evicted");
    assert_eq!(place.closed().await, (false, false));
    let due = place.due(&Drain).await.unwrap();
    assert!(due.iter().any(|line| line.contains("pet, which nobody would make again")), "{due:?}");
}

pub async fn what_a_person_closed_stays_closed(cluster: &Cluster) {
    let place = Place::new(cluster).await;
    let close = json!({"spec": {"unschedulable": true}});
    place.nodes().patch(&place.name, &PatchParams::default(), &Patch::Merge(close)).await.unwrap();
    place.replicas(1).await;
    assert_eq!(place.due(&Uncordon).await, None);
    place.drain(60).await.unwrap();
    assert_eq!(place.there().await, Vec::<String>::new());
    place.uncordon().await;
    assert_eq!(place.closed().await, (true, false));
}
