//! A small cluster and a plan for it, for tests of views and documents.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::manifest::{Cluster, Endpoint, Manifest, Mirrors};
use crate::node::{Connection, Node, NodeId, Role};
use crate::op::{Action, Change, ChangeAction, Modifiers, OpId, Recorded, Venue, Verdict};
use crate::plan::{Plan, StagePlan, Why};
use crate::plugin::PluginId;
use crate::plugin::metadata::Metadata;

/// Control planes `cp1…` and workers `w1…`.
pub fn manifest(control_planes: u32, workers: u32) -> Manifest {
    let node = |id: u32, name: String, role: Role| Node {
        id: NodeId(id),
        name,
        address: format!("10.0.{}.{}", id / 200, id % 200 + 1).parse().unwrap(),
        roles: vec![role],
        labels: BTreeMap::new(),
        taints: Vec::new(),
        connection: Connection::Local,
    };
    let mut nodes: Vec<Node> = (0..control_planes)
        .map(|index| node(index, format!("cp{}", index + 1), Role::ControlPlane))
        .collect();
    let worker = |index: u32| node(control_planes + index, format!("w{}", index + 1), Role::Worker);
    nodes.extend((0..workers).map(worker));
    Manifest {
        path: PathBuf::from("manifest.toml"),
        digest: "sha256:00".into(),
        cluster: Cluster {
            name: "prod".into(),
            kubernetes: semver::Version::new(1, 36, 3),
            endpoint: Endpoint { host: "api.prod.example".into(), port: 6443 },
            pod_cidr: "10.244.0.0/16".into(),
            service_cidr: "10.96.0.0/16".into(),
            dns_domain: "cluster.local".into(),
        },
        nodes,
        stages: Vec::new(),
        mirrors: Mirrors::default(),
        secrets: Vec::new(),
        source: Default::default(),
    }
}

/// What to say of one op on one node (`None`: the cluster).
pub type Said<'a> = (Option<u32>, &'a str, Option<Verdict>);

/// A stage whose ops are named by what they do.
pub fn stage(name: &str, said: &[Said<'_>]) -> StagePlan {
    let metadata = serde_json::json!({
        "name": format!("ksp/{name}"), "version": "0.1.0", "api": "^0.1", "summary": "x", "license": "Apache-2.0"
    });
    let metadata: Metadata = serde_json::from_value(metadata).unwrap();
    let mut stage = StagePlan {
        name: name.into(),
        plugin: PluginId {
            name: metadata.name.clone(),
            version: metadata.version.clone(),
            digest: format!("sha256:{:064x}", 7),
        },
        metadata: Arc::new(metadata),
        nodes: None,
        ops: Vec::new(),
        outputs: BTreeMap::new(),
        verdicts: BTreeMap::new(),
        pending: BTreeMap::new(),
    };
    for (index, (node, summary, verdict)) in said.iter().enumerate() {
        let id = OpId(u32::try_from(index).unwrap());
        let (action, venue) = match node {
            Some(node) => {
                let custom = Action::Custom { tag: (*summary).into(), summary: (*summary).into() };
                (custom, Venue::Node(NodeId(*node)))
            }
            None => (Action::Cluster(Arc::new(OnCluster((*summary).into()))), Venue::Cluster),
        };
        let nodes = node.iter().map(|node| NodeId(*node)).collect();
        stage.ops.push(Recorded { id, action, nodes, modifiers: Modifiers::default() });
        if let Some(verdict) = verdict {
            let why = match verdict {
                Verdict::Change(_) => Some(Why::Change),
                Verdict::Unknown => Some(Why::Unknown),
                Verdict::Satisfied => None,
            };
            stage.pending.extend(why.map(|why| ((id, venue), why)));
            stage.verdicts.insert((id, venue), verdict.clone());
        }
    }
    stage
}

/// A change with its diff.
pub fn change(action: ChangeAction, diff: &[&str]) -> Option<Verdict> {
    Some(Verdict::Change(Change { action, diff: diff.iter().map(|line| (*line).to_owned()).collect() }))
}

/// A plan of these stages.
pub fn plan(stages: Vec<StagePlan>) -> Plan {
    Plan { stages, findings: Vec::new() }
}

/// An op of the cluster that is never applied.
#[derive(Debug)]
struct OnCluster(String);

#[async_trait::async_trait]
impl crate::op::ClusterOp for OnCluster {
    fn kind(&self) -> &'static str {
        "kube-apply"
    }
    fn target(&self) -> String {
        self.0.clone()
    }
    fn summary(&self) -> String {
        self.0.clone()
    }
    fn needs(&self) -> Vec<crate::plugin::capability::Need> {
        Vec::new()
    }
    async fn probe(&self, _: &crate::kubernetes::Kubernetes) -> Result<Verdict, crate::op::OpError> {
        Ok(Verdict::Unknown)
    }
    async fn apply(
        &self,
        _: &crate::kubernetes::Kubernetes,
        _: Option<std::time::Duration>,
        _: &tokio::sync::mpsc::UnboundedSender<String>,
    ) -> Result<(), crate::op::OpError> {
        Ok(())
    }
}
