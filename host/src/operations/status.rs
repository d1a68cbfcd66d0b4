//! `ksp status`: is the cluster healthy, and is it what the manifest says? Read-only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::Api;
use kube::api::ListParams;
use serde::Serialize;

use super::context::Context;
use super::etcd;
use super::plan::{Document, document};
use super::prepare::Prepared;
use crate::kubernetes::Kubernetes;
use crate::node::Role;
use crate::run::history::{self, Summary};

/// How long the API may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// Certificates with fewer days left are a reason to act.
const CERTIFICATE_DAYS: i64 = 30;

/// The whole picture.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The cluster's name.
    pub cluster: String,
    /// The version asked for.
    pub kubernetes: String,
    /// Every node answers, is ready, and every etcd member works; the API answers.
    pub healthy: bool,
    /// Why the API cannot be asked.
    pub api_error: Option<String>,
    /// In the manifest's order.
    pub nodes: Vec<NodeStatus>,
    /// What differs from the manifest once for the cluster, by stage.
    pub cluster_drift: Vec<Drift>,
    /// Certificates, the one that ends first in front.
    pub certificates: Vec<Certificate>,
    /// How etcd is; none when there is no cluster yet, or no stage says how etcd is run.
    pub etcd: Option<etcd::status::Report>,
    /// The newest run of this workstation.
    pub last_run: Option<Summary>,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub roles: Vec<Role>,
    /// How it is.
    pub state: State,
    /// What the kubelet reports.
    pub version: Option<String>,
    /// The etcd member on it: "leader", "follower", or what is wrong.
    pub etcd: Option<String>,
    /// What differs from the manifest, by stage.
    pub drift: Vec<Drift>,
}

/// How a machine is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "is", content = "reason")]
pub enum State {
    /// Runs workloads.
    Ready,
    /// Works, and takes no new workloads.
    Cordoned,
    /// The kubelet says why, or nothing.
    NotReady(String),
    /// No part of the cluster yet.
    NotJoined,
    /// No answer over SSH.
    NotReached(String),
    /// The API cannot be asked.
    Unknown,
    /// Not meant to be a Kubernetes node, and reached.
    Reached,
}

/// What differs from the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// The stage's name.
    pub stage: String,
    /// How many of its items.
    pub items: u32,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// What it is for.
    pub name: String,
    /// Until its end; negative when it has passed.
    pub days_left: i64,
}

impl Certificate {
    /// It has to be renewed.
    pub fn is_due(&self) -> bool {
        self.days_left < CERTIFICATE_DAYS
    }
}

/// A node as the API sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The condition `Ready`, and its message when it is not true.
    pub ready: Option<Result<(), String>>,
    /// Takes no new workloads.
    pub cordoned: bool,
    /// What the kubelet reports.
    pub version: Option<String>,
}

/// What the API says of nodes, or why it cannot be asked.
pub type Asked = Result<BTreeMap<String, Seen>, String>;

/// Looks at everything.
pub async fn status(context: &Context, prepared: &Prepared) -> Report {
    let there = exists(prepared);
    let (asked, etcd) = tokio::join!(ask_within(prepared), async {
        if there { etcd::status::status(prepared).await.ok() } else { None }
    });
    let document = document(prepared, &context.redactor);
    let last_run =
        history::list(&context.paths, Some(&document.cluster)).ok().and_then(|runs| runs.into_iter().next());
    compose(
        &document,
        &prepared.unreachable_reasons(),
        &asked,
        if there { prepared.certificates() } else { Vec::new() },
        etcd,
        last_run.map(|(_, summary)| summary),
    )
}

/// A plan for a cluster that does not exist yet makes its authorities in memory: they say nothing about a cluster.
fn exists(prepared: &Prepared) -> bool {
    prepared.gathered.values().any(|it| it.state.is_some())
}

async fn ask_within(prepared: &Prepared) -> Asked {
    let Some(kubernetes) = &prepared.kubernetes else {
        return Err("no control plane answers with an API server".to_owned());
    };
    match tokio::time::timeout(ANSWER_WITHIN, ask(kubernetes)).await {
        Ok(Ok(seen)) => Ok(seen),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the API server did not answer within {}s", ANSWER_WITHIN.as_secs())),
    }
}

async fn ask(kubernetes: &Kubernetes) -> Result<BTreeMap<String, Seen>, kube::Error> {
    let nodes: Api<KubeNode> = Api::all(kubernetes.client.clone());
    let nodes = nodes.list(&ListParams::default()).await?;
    Ok(nodes.into_iter().filter_map(|node| Some((node.metadata.name.clone()?, look(&node)))).collect())
}

fn look(node: &KubeNode) -> Seen {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition.type_ == "Ready"));
    Seen {
        ready: ready.map(|condition| match condition.status.as_str() {
            "True" => Ok(()),
            _ => Err(condition.message.clone().or_else(|| condition.reason.clone()).unwrap_or_default()),
        }),
        cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false),
        version: status.and_then(|status| status.node_info.as_ref()).map(|info| info.kubelet_version.clone()),
    }
}

/// Puts the picture together.
pub fn compose(
    document: &Document,
    unreachable: &BTreeMap<String, String>,
    asked: &Asked,
    mut certificates: Vec<Certificate>,
    etcd: Option<etcd::status::Report>,
    last_run: Option<Summary>,
) -> Report {
    let on_nodes = etcd.iter().flat_map(|etcd| &etcd.certificates);
    certificates.extend(
        on_nodes.map(|it| Certificate { name: format!("{} {}", it.node, it.path), days_left: it.days_left }),
    );
    certificates.sort_by(|a, b| a.days_left.cmp(&b.days_left).then_with(|| a.name.cmp(&b.name)));
    let nodes: Vec<NodeStatus> = document
        .nodes
        .iter()
        .map(|node| {
            let seen = asked.as_ref().ok().and_then(|seen| seen.get(&node.name));
            let member = node.roles.iter().any(|role| matches!(role, Role::ControlPlane | Role::Worker));
            let state = match (unreachable.get(&node.name), seen, asked) {
                (Some(reason), _, _) => State::NotReached(reason.clone()),
                (None, Some(seen), _) => state(seen),
                (None, None, _) if !member => State::Reached,
                (None, None, Ok(_)) => State::NotJoined,
                (None, None, Err(_)) => State::Unknown,
            };
            NodeStatus {
                name: node.name.clone(),
                roles: node.roles.clone(),
                state,
                version: seen
                    .and_then(|seen| seen.version.as_ref())
                    .map(|it| it.trim_start_matches('v').to_owned()),
                etcd: etcd
                    .iter()
                    .flat_map(|etcd| &etcd.members)
                    .find(|member| member.node == node.name)
                    .map(|member| member.state.words().to_owned()),
                drift: drift(document, Some(&node.name)),
            }
        })
        .collect();
    let works = |node: &NodeStatus| matches!(node.state, State::Ready | State::Cordoned | State::Reached);
    let expired = certificates.iter().any(|certificate| certificate.days_left < 0);
    Report {
        cluster: document.cluster.clone(),
        kubernetes: document.kubernetes.clone(),
        healthy: asked.is_ok()
            && nodes.iter().all(works)
            && !expired
            && etcd.as_ref().is_none_or(|etcd| etcd.healthy),
        api_error: asked.as_ref().err().cloned(),
        nodes,
        cluster_drift: drift(document, None),
        certificates,
        etcd,
        last_run,
    }
}

fn state(seen: &Seen) -> State {
    match &seen.ready {
        Some(Ok(())) if seen.cordoned => State::Cordoned,
        Some(Ok(())) => State::Ready,
        Some(Err(reason)) => State::NotReady(reason.clone()),
        None => State::NotReady("the kubelet has not reported yet".to_owned()),
    }
}

/// What a run would change. Checks of the result are no drift.
fn drift(document: &Document, node: Option<&String>) -> Vec<Drift> {
    let items = |stage: &super::plan::StageEntry| {
        let step = stage.steps.iter().find(|step| step.node.as_ref() == node)?;
        let items = step.ops.iter().filter(|op| op.action.is_change()).count();
        (items > 0)
            .then(|| Drift { stage: stage.name.clone(), items: u32::try_from(items).unwrap_or(u32::MAX) })
    };
    document.stages.iter().filter_map(items).collect()
}

impl Report {
    /// Nodes that differ from the manifest.
    pub fn drifted(&self) -> BTreeSet<&str> {
        self.nodes.iter().filter(|node| !node.drift.is_empty()).map(|node| node.name.as_str()).collect()
    }
}
