//! `uncordon`: a node that `drain` has closed takes pods again. What a person closed stays closed.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::kubernetes::Kubernetes;
use crate::kubernetes::cordon::{self, Cordon};
use crate::op::{Change, ChangeAction, NodeApiOp, OpError, Verdict};
use crate::plugin::capability::Need;

/// The API server may just have been restarted.
const TIMEOUT: Duration = Duration::from_secs(120);

/// For the question whether it is closed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens a node.
#[derive(Debug, Clone)]
pub struct Uncordon;

#[async_trait]
impl NodeApiOp for Uncordon {
    fn kind(&self) -> &'static str {
        "uncordon"
    }

    fn target(&self) -> String {
        "node".into()
    }

    fn summary(&self) -> String {
        "uncordon: let pods come again".into()
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Drain]
    }

    async fn probe(&self, kubernetes: &Kubernetes, node: &str) -> Result<Verdict, OpError> {
        let found = cordon::find(kubernetes, node, Instant::now() + PROBE_TIMEOUT).await?;
        Ok(match found {
            Some(Cordon::Ours) => {
                Verdict::Change(Change { action: ChangeAction::Modify, diff: vec!["-unschedulable".into()] })
            }
            Some(Cordon::Open | Cordon::Theirs) | None => Verdict::Satisfied,
        })
    }

    async fn apply(
        &self,
        kubernetes: &Kubernetes,
        node: &str,
        timeout: Option<Duration>,
        _lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        cordon::uncordon(kubernetes, node, Instant::now() + timeout.unwrap_or(TIMEOUT)).await
    }
}
