//! `drain`: the Kubernetes node runs no pods but those that belong to the node itself, and gets no new ones.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;

use crate::kubernetes::{Kubernetes, drain};
use crate::op::{NodeApiOp, OpError, Verdict};
use crate::plugin::capability::Need;

/// Pods may take their time to end, and a PodDisruptionBudget lets them go one after another.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Empties a node.
#[derive(Debug, Clone)]
pub struct Drain;

#[async_trait]
impl NodeApiOp for Drain {
    fn kind(&self) -> &'static str {
        "drain"
    }

    fn target(&self) -> String {
        "node".into()
    }

    fn summary(&self) -> String {
        "drain: evict the pods, let no new ones come".into()
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Drain]
    }

    // An empty node fills again until it is closed: a drain is always due.
    async fn probe(&self, kubernetes: &Kubernetes, node: &str) -> Result<Verdict, OpError> {
        drain::probe(kubernetes, node).await.map(Verdict::Change)
    }

    async fn apply(
        &self,
        kubernetes: &Kubernetes,
        node: &str,
        timeout: Option<Duration>,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        drain::drain(kubernetes, node, timeout.unwrap_or(TIMEOUT), lines).await
    }
}
