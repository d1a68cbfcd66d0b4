//! `kube-wait`: something in the cluster is as it should be.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::kubernetes::Kubernetes;
use crate::kubernetes::wait::{Progress, Wait};
use crate::op::{Change, ChangeAction, ClusterOp, OpError, Verdict};
use crate::plugin::capability::Need;

/// Waits for a condition.
#[derive(Debug, Clone)]
pub struct KubeWait {
    /// "kind/name", or "kind/*" for all.
    pub object: String,
    /// Empty for objects of the cluster.
    pub namespace: String,
    /// "rollout", "exists", "deleted", "condition=<type>" or "field=<JSON pointer>=<text>".
    pub condition: String,
    /// How long it may take.
    pub deadline: Duration,
}

impl KubeWait {
    fn wait(&self) -> Result<Wait, OpError> {
        Wait::new(&self.object, &self.namespace, &self.condition)
    }
}

#[async_trait]
impl ClusterOp for KubeWait {
    fn kind(&self) -> &'static str {
        "kube-wait"
    }

    fn target(&self) -> String {
        format!("{}/{}:{}", self.namespace, self.object, self.condition)
    }

    fn summary(&self) -> String {
        let subject = match self.namespace.as_str() {
            "" => self.object.clone(),
            namespace => format!("{} in {namespace}", self.object),
        };
        match self.condition.as_str() {
            "rollout" => format!("wait until {subject} is rolled out"),
            "exists" => format!("wait until {subject} is there"),
            "deleted" => format!("wait until {subject} is gone"),
            other => match other.strip_prefix("field=") {
                Some(field) => format!("wait until {subject} has {field}"),
                None => format!("wait until {subject} is {}", other.trim_start_matches("condition=")),
            },
        }
    }

    fn needs(&self) -> Vec<Need> {
        let namespace = if self.namespace.is_empty() { "*" } else { &self.namespace };
        vec![Need::Kube(namespace.into())]
    }

    async fn probe(&self, kubernetes: &Kubernetes) -> Result<Verdict, OpError> {
        Ok(match self.wait()?.check(kubernetes).await? {
            Progress::Met => Verdict::Satisfied,
            Progress::NotYet(reason) => {
                Verdict::Change(Change { action: ChangeAction::Run, diff: vec![format!("  {reason}")] })
            }
        })
    }

    async fn apply(
        &self,
        kubernetes: &Kubernetes,
        timeout: Option<Duration>,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        let within = timeout.map_or(self.deadline, |timeout| timeout.min(self.deadline));
        self.wait()?.run(kubernetes, Instant::now() + within, lines).await
    }
}
