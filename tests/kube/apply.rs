//! Sets of objects.

use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use ksp::op::kube_apply::KubeApply;
use ksp::op::kube_delete::KubeDelete;
use ksp::op::{Change, ChangeAction, ClusterOp, Content, OpError, Verdict};
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::json;
use tokio::sync::mpsc::unbounded_channel;

use crate::cluster::Cluster;

fn op(set: &str, manifest: &str) -> KubeApply {
    let manifest = Content::Plain(manifest.as_bytes().to_vec().into());
    KubeApply { stage: "stage".into(), set: set.into(), manifest }
}

async fn run(cluster: &Cluster, op: &dyn ClusterOp) -> Result<Vec<String>, OpError> {
    let (lines, mut received) = unbounded_channel();
    op.apply(&cluster.kubernetes, Some(Duration::from_secs(60)), &lines).await?;
    drop(lines);
    let mut told = Vec::new();
    while let Some(line) = received.recv().await {
        told.push(line);
    }
    Ok(told)
}

async fn probe(cluster: &Cluster, op: &dyn ClusterOp) -> Verdict {
    op.probe(&cluster.kubernetes).await.unwrap()
}

fn diff(verdict: Verdict) -> (ChangeAction, Vec<String>) {
    match verdict {
        Verdict::Change(Change { action, diff }) => (action, diff),
        other => panic!("no change: {other:?}"),
    }
}

fn workload(namespace: &str, image: &str) -> String {
    format!(
        "
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: agent, namespace: {namespace}, labels: {{app: agent}}}}
spec:
  selector: {{matchLabels: {{app: agent}}}}
  template:
    metadata: {{labels: {{app: agent}}}}
    spec:
      containers:
      - name: agent
        image: {image}
        resources: {{requests: {{cpu: 1000m, memory: 64Mi}}}}
        ports: [{{containerPort: 80}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings, namespace: {namespace}}}
data: {{a: b}}
---
apiVersion: v1
kind: Namespace
metadata: {{name: {namespace}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{name: {namespace}}}
rules: [{{apiGroups: [''], resources: [pods], verbs: [get]}}]
"
    )
}

/// Names and versions of everything the set made, its record included.
async fn versions(cluster: &Cluster, namespace: &str, record: &str) -> Vec<(String, String)> {
    let client = cluster.kubernetes.client.clone();
    let discovery = kube::discovery::Discovery::new(client.clone()).run_aggregated().await.unwrap();
    let mut found = Vec::new();
    let wanted = [
        ("v1", "ConfigMap", true),
        ("v1", "Namespace", false),
        ("apps/v1", "DaemonSet", true),
        ("rbac.authorization.k8s.io/v1", "ClusterRole", false),
    ];
    for (version, kind, namespaced) in wanted {
        let types = kube::api::TypeMeta { api_version: version.into(), kind: kind.into() };
        let (resource, _) = discovery.resolve_typemeta(&types).unwrap();
        let api: Api<DynamicObject> = if namespaced {
            Api::namespaced_with(client.clone(), namespace, &resource)
        } else {
            Api::all_with(client.clone(), &resource)
        };
        let list = api.list(&ListParams::default().labels("ksp.dev/set")).await.unwrap();
        found.extend(list.items.into_iter().map(|object| {
            (format!("{kind}/{}", object.metadata.name.unwrap()), object.metadata.resource_version.unwrap())
        }));
    }
    let records: Api<ConfigMap> = Api::namespaced(client, "kube-system");
    found.push(("record".into(), records.get(record).await.unwrap().metadata.resource_version.unwrap()));
    found.retain(|(name, _)| {
        name.contains("agent") || name.contains("settings") || name.ends_with(namespace) || name == "record"
    });
    found
}

pub async fn a_second_apply_writes_nothing(cluster: &Cluster) {
    let name = cluster.unique("twice");
    let op = op(&name, &workload(&name, "agent:1"));
    let told = run(cluster, &op).await.unwrap();
    assert_eq!(told.len(), 4);
    assert_eq!(told[0], format!("applied Namespace {name}"));
    assert_eq!(told[3], format!("applied DaemonSet {name}/agent"));
    // The DaemonSet controller writes the status once.
    crate::cluster::eventually("the status is written", || async {
        let api: Api<k8s_openapi::api::apps::v1::DaemonSet> =
            Api::namespaced(cluster.kubernetes.client.clone(), &name);
        api.get("agent").await.unwrap().status?.observed_generation
    })
    .await;
    let record = format!("ksp-set-stage.{name}");
    let before = versions(cluster, &name, &record).await;
    assert_eq!(before.len(), 5, "{before:?}");
    assert_eq!(probe(cluster, &op).await, Verdict::Satisfied);
    run(cluster, &op).await.unwrap();
    assert_eq!(versions(cluster, &name, &record).await, before);
    assert_eq!(probe(cluster, &op).await, Verdict::Satisfied);
}

pub async fn a_probe_writes_nothing_and_shows_what_would_change(cluster: &Cluster) {
    let name = cluster.unique("shown");
    let first = op(&name, &workload(&name, "agent:1"));
    let (action, lines) = diff(probe(cluster, &first).await);
    assert_eq!(action, ChangeAction::Create);
    assert_eq!(
        lines,
        [
            format!("+ DaemonSet {name}/agent"),
            format!("+ ConfigMap {name}/settings"),
            format!("+ Namespace {name}"),
            format!("+ ClusterRole {name}"),
        ]
    );
    let namespaces: Api<Namespace> = Api::all(cluster.kubernetes.client.clone());
    assert!(namespaces.get_opt(&name).await.unwrap().is_none());

    run(cluster, &first).await.unwrap();
    let (action, lines) = diff(probe(cluster, &op(&name, &workload(&name, "agent:2"))).await);
    assert_eq!(action, ChangeAction::Modify);
    assert_eq!(
        lines,
        [
            format!("  DaemonSet {name}/agent").as_str(),
            "    spec:",
            "      template:",
            "        spec:",
            "          containers:",
            "          - name: agent",
            "-           image: agent:1",
            "+           image: agent:2",
        ]
    );
    assert_eq!(probe(cluster, &first).await, Verdict::Satisfied);
}

fn config_maps(namespace: &str, names: &[&str]) -> String {
    let one = |name: &&str| {
        format!("---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\n")
    };
    names.iter().map(one).collect()
}

async fn names(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let api: Api<ConfigMap> = Api::namespaced(cluster.kubernetes.client.clone(), namespace);
    let list = api.list(&ListParams::default()).await.unwrap();
    list.items
        .into_iter()
        .filter_map(|item| item.metadata.name)
        .filter(|name| name != "kube-root-ca.crt")
        .collect()
}

async fn namespace(cluster: &Cluster, name: &str) -> String {
    let name = cluster.unique(name);
    let api: Api<Namespace> = Api::all(cluster.kubernetes.client.clone());
    let object = serde_json::from_value(json!({"metadata": {"name": name}})).unwrap();
    api.create(&Default::default(), &object).await.unwrap();
    name
}

pub async fn what_leaves_the_set_is_pruned(cluster: &Cluster) {
    let space = namespace(cluster, "pruned").await;
    run(cluster, &op(&space, &config_maps(&space, &["a", "b", "c"]))).await.unwrap();
    let smaller = op(&space, &config_maps(&space, &["a", "d"]));
    let (_, lines) = diff(probe(cluster, &smaller).await);
    assert_eq!(
        lines,
        [
            format!("+ ConfigMap {space}/d"),
            format!("- ConfigMap {space}/b"),
            format!("- ConfigMap {space}/c")
        ]
    );
    run(cluster, &smaller).await.unwrap();
    assert_eq!(names(cluster, &space).await, ["a", "d"]);
    assert_eq!(probe(cluster, &smaller).await, Verdict::Satisfied);
}

pub async fn sets_of_stages_do_not_touch_each_other(cluster: &Cluster) {
    let space = namespace(cluster, "apart").await;
    let one = op("same", &config_maps(&space, &["a"]));
    let other = KubeApply { stage: "other".into(), ..op("same", &config_maps(&space, &["b"])) };
    run(cluster, &one).await.unwrap();
    run(cluster, &other).await.unwrap();
    assert_eq!(names(cluster, &space).await, ["a", "b"]);

    // An object that another stage has taken over is not pruned.
    let both = KubeApply { stage: "other".into(), ..op("same", &config_maps(&space, &["a", "b"])) };
    run(cluster, &both).await.unwrap();
    run(cluster, &KubeDelete { stage: "stage".into(), set: "same".into() }).await.unwrap();
    assert_eq!(names(cluster, &space).await, ["a", "b"]);
    run(cluster, &KubeDelete { stage: "other".into(), set: "same".into() }).await.unwrap();
    assert!(names(cluster, &space).await.is_empty());
}

pub async fn definitions_come_before_their_objects(cluster: &Cluster) {
    let group = format!("{}.example.org", cluster.unique("g"));
    let manifest = format!(
        "
apiVersion: {group}/v1
kind: Pool
metadata: {{name: default}}
spec: {{cidr: 10.0.0.0/8}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: pools.{group}}}
spec:
  group: {group}
  scope: Cluster
  names: {{kind: Pool, plural: pools, singular: pool, listKind: PoolList}}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {{openAPIV3Schema: {{type: object, properties: {{spec: {{type: object, properties: {{cidr: {{type: string}}}}}}}}}}}}
"
    );
    let op = op(&group, &manifest);
    let (_, lines) = diff(probe(cluster, &op).await);
    assert_eq!(lines, ["+ Pool default".to_owned(), format!("+ CustomResourceDefinition pools.{group}")]);
    run(cluster, &op).await.unwrap();
    assert_eq!(probe(cluster, &op).await, Verdict::Satisfied);
    run(cluster, &op).await.unwrap();
    assert_eq!(probe(cluster, &op).await, Verdict::Satisfied);
    let delete = KubeDelete { stage: "stage".into(), set: group.clone() };
    run(cluster, &delete).await.unwrap();
    assert_eq!(probe(cluster, &delete).await, Verdict::Satisfied);
}

pub async fn what_others_set_stays(cluster: &Cluster) {
    let space = namespace(cluster, "others").await;
    let op = op(&space, &config_maps(&space, &["a"]));
    run(cluster, &op).await.unwrap();
    let api: Api<ConfigMap> = Api::namespaced(cluster.kubernetes.client.clone(), &space);
    let patch = json!({"data": {"theirs": "1"}, "metadata": {"annotations": {"by": "hand"}}});
    api.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    assert_eq!(probe(cluster, &op).await, Verdict::Satisfied);
    run(cluster, &op).await.unwrap();
    assert_eq!(api.get("a").await.unwrap().data.unwrap()["theirs"], "1");

    // What is declared is put right again.
    let patch = json!({"metadata": {"labels": {"ksp.dev/set": null}}});
    api.patch("a", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    let (_, lines) = diff(probe(cluster, &op).await);
    assert!(lines.iter().any(|line| line.starts_with('+') && line.contains("ksp.dev/set")), "{lines:?}");
}

/// T19: it is refused as what it is, and nothing else of the set is applied.
/// T55.
pub async fn an_immutable_field_is_told_before_anything_changes(cluster: &Cluster) {
    let name = cluster.unique("fixed");
    run(cluster, &op(&name, &workload(&name, "agent:1"))).await.unwrap();
    let changed = workload(&name, "agent:1").replace("app: agent", "app: other");
    let error = op(&name, &changed).probe(&cluster.kubernetes).await.unwrap_err();
    assert_eq!(error.code, "ksp::kube::immutable-field", "{error}");
    assert!(error.message.starts_with(&format!("cannot apply DaemonSet {name}/agent: ")), "{error}");
    assert!(!error.hints.is_empty() && !error.retryable);
}

pub async fn secrets_are_not_shown(cluster: &Cluster) {
    let space = namespace(cluster, "hidden").await;
    let manifest = |value: &str| {
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {space}}}\nstringData: {{key: {value}}}\n"
        )
    };
    let plain = op(&space, &manifest("hunter22"));
    run(cluster, &plain).await.unwrap();
    let (_, lines) = diff(probe(cluster, &op(&space, &manifest("correcthorse"))).await);
    let shown = lines.join("\n");
    assert!(shown.contains("key: (sensitive), new value"), "{shown}");
    for secret in ["hunter22", "correcthorse", "aHVudGVyMjI", "Y29ycmVjdGhvcnNl"] {
        assert!(!shown.contains(secret), "{shown}");
    }

    let quiet = |manifest: String| KubeApply {
        stage: "stage".into(),
        set: space.clone(),
        manifest: Content::Secret(ksp::redact::Secret::new(manifest)),
    };
    let (_, lines) = diff(probe(cluster, &quiet(manifest("correcthorse"))).await);
    assert_eq!(lines, [format!("  Secret {space}/s"), "~   (sensitive)".to_owned()]);
    run(cluster, &quiet(manifest("correcthorse"))).await.unwrap();
    let api: Api<Secret> = Api::namespaced(cluster.kubernetes.client.clone(), &space);
    assert_eq!(api.get("s").await.unwrap().data.unwrap()["key"].0, b"correcthorse");
    let broken = quiet(manifest("x").replace("stringData", "type: hunter22\nstringData"));
    let error = broken.probe(&cluster.kubernetes).await.unwrap_err();
    assert_eq!(error.code, "ksp::kube::immutable-field");
    assert!(!error.message.contains("hunter22"), "{error}");
}

pub async fn a_namespace_on_a_cluster_object_is_refused(cluster: &Cluster) {
    let manifest = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: sneaky, namespace: mine}\n";
    let op = op("sneaky", manifest);
    assert_eq!(op.needs(), [ksp::plugin::capability::Need::Kube("mine".into())]);
    let error = op.probe(&cluster.kubernetes).await.unwrap_err();
    assert_eq!(error.code, "ksp::kube::manifest");
    assert_eq!(run(cluster, &op).await.unwrap_err().code, "ksp::kube::manifest");
}

pub async fn an_unknown_kind_is_named(cluster: &Cluster) {
    let op = op("unknown", "apiVersion: nowhere.example.org/v1\nkind: Pool\nmetadata: {name: x}\n");
    assert_eq!(diff(probe(cluster, &op).await).1, ["+ Pool x"]);
    let (lines, _received) = unbounded_channel();
    let error = op.apply(&cluster.kubernetes, Some(Duration::from_secs(3)), &lines).await.unwrap_err();
    assert_eq!(error.code, "ksp::kube::unknown-kind");
    assert!(error.message.contains("serves no Pool in nowhere.example.org/v1"), "{error}");
}

pub async fn deleting_leaves_nothing(cluster: &Cluster) {
    let name = cluster.unique("removed");
    run(cluster, &op(&name, &workload(&name, "agent:1"))).await.unwrap();
    let delete = KubeDelete { stage: "stage".into(), set: name.clone() };
    let (action, lines) = diff(probe(cluster, &delete).await);
    assert_eq!((action, lines.len()), (ChangeAction::Remove, 4));
    let told = run(cluster, &delete).await.unwrap();
    assert_eq!(told[0], format!("deleted DaemonSet {name}/agent"));
    assert_eq!(told[3], format!("deleted Namespace {name}"));
    let namespaces: Api<Namespace> = Api::all(cluster.kubernetes.client.clone());
    assert!(namespaces.get_opt(&name).await.unwrap().is_none());
    assert_eq!(probe(cluster, &delete).await, Verdict::Satisfied);
    run(cluster, &delete).await.unwrap();
}
