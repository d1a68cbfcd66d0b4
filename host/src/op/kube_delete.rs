//! `kube-delete`: nothing of a set of Kubernetes objects is left.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::kubernetes::Kubernetes;
use crate::kubernetes::apply::ApplySet;
use crate::op::{ClusterOp, OpError, Verdict};
use crate::plugin::capability::Need;

/// Finalizers and namespaces take their time.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Removes a set that `kube-apply` of the same stage applied.
#[derive(Debug, Clone)]
pub struct KubeDelete {
    /// Whose set it is.
    pub stage: String,
    /// Names the set within the stage.
    pub set: String,
}

#[async_trait]
impl ClusterOp for KubeDelete {
    fn kind(&self) -> &'static str {
        "kube-delete"
    }

    fn target(&self) -> String {
        self.set.clone()
    }

    fn summary(&self) -> String {
        format!("delete {}", self.set)
    }

    /// What a stage applied it may take back.
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }

    async fn probe(&self, kubernetes: &Kubernetes) -> Result<Verdict, OpError> {
        ApplySet::new(kubernetes, &self.stage, &self.set, false).probe_delete().await
    }

    async fn apply(
        &self,
        kubernetes: &Kubernetes,
        timeout: Option<Duration>,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        let deadline = Instant::now() + timeout.unwrap_or(TIMEOUT);
        ApplySet::new(kubernetes, &self.stage, &self.set, false).delete(deadline, lines).await
    }
}
