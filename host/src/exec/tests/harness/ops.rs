//! The ops of a cluster in memory: they take their time, and the log says when they began and ended.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;

use super::{Step, UNIT};
use crate::kubernetes::Kubernetes;
use crate::op::{
    ApplyContext, Change, ClusterOp, LedgerEntry, NodeApiOp, NodeContext, NodeOp, OpError, Verdict,
};
use crate::plugin::capability::Need;
use crate::transport::{Output, Script};

#[async_trait]
impl NodeOp for Step {
    fn kind(&self) -> &'static str {
        "step"
    }
    fn target(&self) -> String {
        self.name.to_owned()
    }
    fn summary(&self) -> String {
        format!("do {}", self.name)
    }
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }
    fn probe(&self, _cx: NodeContext<'_>) -> String {
        self.script.as_ref().map_or_else(|| format!("probe {}", self.name), |(probe, _)| probe.clone())
    }
    fn judge(&self, _cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        Ok(if probed.ok() { Verdict::Satisfied } else { Verdict::Change(Change::default()) })
    }
    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        let node = cx.at.node.id.0;
        self.log.put(self.name, node, true);
        if let Some((_, script)) = &self.script {
            let output = cx.mutate(Script::new(script.clone())).await?;
            return if output.ok() { Ok(()) } else { Err(OpError::from_output("failed", &output)) };
        }
        tokio::time::sleep(UNIT * self.takes).await;
        let output = cx.mutate(Script::new(format!("apply {}", self.name))).await?;
        assert!(output.ok());
        let result = self.effect.as_ref().map_or(Ok(()), |effect| effect(self.name, node));
        self.log.put(self.name, node, false);
        result
    }
    fn ledger(&self, cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        vec![LedgerEntry {
            kind: "step".into(),
            target: self.name.into(),
            stage: cx.stage.into(),
            digest: Some("sha256:1".into()),
            details: BTreeMap::default(),
        }]
    }
}

impl Step {
    /// Takes its time, and has its effect, on no node itself.
    async fn act(&self, node: u32) -> Result<(), OpError> {
        self.log.put(self.name, node, true);
        tokio::time::sleep(UNIT * self.takes).await;
        let result = self.effect.as_ref().map_or(Ok(()), |effect| effect(self.name, node));
        self.log.put(self.name, node, false);
        result
    }
}

/// As [`Step`], through the API. Nodes are known by the numbers in their names.
#[derive(Debug, Clone)]
pub struct ApiStep(pub Step);

#[async_trait]
impl NodeApiOp for ApiStep {
    fn kind(&self) -> &'static str {
        "api-step"
    }
    fn target(&self) -> String {
        self.0.name.to_owned()
    }
    fn summary(&self) -> String {
        format!("do {}", self.0.name)
    }
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }
    async fn probe(&self, _: &Kubernetes, _: &str) -> Result<Verdict, OpError> {
        Ok(Verdict::Change(Change::default()))
    }
    async fn apply(
        &self,
        _: &Kubernetes,
        node: &str,
        _: Option<Duration>,
        _: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        self.0.act(node.trim_start_matches(char::is_alphabetic).parse().unwrap()).await
    }
}

/// As [`Step`], in the cluster.
#[derive(Debug, Clone)]
pub struct ClusterStep(pub Step);

/// What stands for the cluster where a log names nodes.
pub const CLUSTER: u32 = u32::MAX;

#[async_trait]
impl ClusterOp for ClusterStep {
    fn kind(&self) -> &'static str {
        "cluster-step"
    }
    fn target(&self) -> String {
        self.0.name.to_owned()
    }
    fn summary(&self) -> String {
        format!("do {}", self.0.name)
    }
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }
    async fn probe(&self, _: &Kubernetes) -> Result<Verdict, OpError> {
        Ok(Verdict::Change(Change::default()))
    }
    async fn apply(
        &self,
        _: &Kubernetes,
        _: Option<Duration>,
        _: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        self.0.act(CLUSTER).await
    }
}
