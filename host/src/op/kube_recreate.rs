//! `kube-recreate`: every pod of the pod network is made anew, because the network that it was born into is gone.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;

use crate::kubernetes::{Kubernetes, recreate};
use crate::op::{ClusterOp, OpError, Verdict};
use crate::plugin::capability::Need;

/// Deletes pods that somebody will make anew. It does not wait for them: they come when there is a network again.
#[derive(Debug, Clone)]
pub struct KubeRecreate;

#[async_trait]
impl ClusterOp for KubeRecreate {
    fn kind(&self) -> &'static str {
        "kube-recreate"
    }

    fn target(&self) -> String {
        "pods".into()
    }

    fn summary(&self) -> String {
        "start every pod of the pod network anew".into()
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Kube("*".into())]
    }

    async fn probe(&self, kubernetes: &Kubernetes) -> Result<Verdict, OpError> {
        recreate::probe(kubernetes).await
    }

    async fn apply(
        &self,
        kubernetes: &Kubernetes,
        timeout: Option<Duration>,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        recreate::recreate(kubernetes, timeout, lines).await
    }
}
