//! `kube-node`: labels and taints of Node objects, owned by a stage.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::kubernetes::Kubernetes;
use crate::kubernetes::node_settings::NodeSettings;
use crate::op::{ClusterOp, OpError, Verdict};
use crate::plugin::capability::Need;

/// A node that just joined may need a moment to appear.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Sets labels and taints; what the stage declared before and does not declare any more is removed.
#[derive(Debug, Clone)]
pub struct KubeNode {
    /// Names of Node objects. One op a node and stage: two would undo each other.
    pub nodes: Vec<String>,
    /// "key=value".
    pub labels: Vec<String>,
    /// "key=value:Effect".
    pub taints: Vec<String>,
    /// Owns them.
    pub stage: String,
}

impl KubeNode {
    fn settings(&self) -> Result<NodeSettings, OpError> {
        NodeSettings::new(&self.stage, &self.labels, &self.taints)
    }
}

#[async_trait]
impl ClusterOp for KubeNode {
    fn kind(&self) -> &'static str {
        "kube-node"
    }

    fn target(&self) -> String {
        self.nodes.join(",")
    }

    fn summary(&self) -> String {
        let nodes = match &self.nodes[..] {
            [node] => node.clone(),
            nodes => format!("{} nodes", nodes.len()),
        };
        let settings: Vec<&str> = self.labels.iter().chain(&self.taints).map(String::as_str).collect();
        match settings.is_empty() {
            true => format!("remove labels and taints from {nodes}"),
            false => format!("set {} on {nodes}", settings.join(", ")),
        }
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Kube("*".into())]
    }

    async fn probe(&self, kubernetes: &Kubernetes) -> Result<Verdict, OpError> {
        self.settings()?.probe(kubernetes, &self.nodes).await
    }

    async fn apply(
        &self,
        kubernetes: &Kubernetes,
        timeout: Option<Duration>,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        let deadline = Instant::now() + timeout.unwrap_or(TIMEOUT);
        self.settings()?.apply(kubernetes, &self.nodes, deadline, lines).await
    }
}
