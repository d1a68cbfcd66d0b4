//! `kube-apply`: a set of Kubernetes objects is as declared, and nothing of it that is not declared any more is left.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::kubernetes::Kubernetes;
use crate::kubernetes::apply::ApplySet;
use crate::kubernetes::object::parse;
use crate::op::{ClusterOp, Content, OpError, Verdict};
use crate::plugin::capability::Need;

/// For one set, definitions of new kinds included.
const TIMEOUT: Duration = Duration::from_secs(180);

/// Server-side apply of a set of objects.
#[derive(Debug, Clone)]
pub struct KubeApply {
    /// Whose set it is: sets of different stages never touch each other.
    pub stage: String,
    /// Names the set within the stage.
    pub set: String,
    /// Multi-document YAML or JSON.
    pub manifest: Content,
}

impl KubeApply {
    fn set<'a>(&self, kubernetes: &'a Kubernetes) -> ApplySet<'a> {
        ApplySet::new(kubernetes, &self.stage, &self.set, matches!(self.manifest, Content::Secret(_)))
    }
}

#[async_trait]
impl ClusterOp for KubeApply {
    fn kind(&self) -> &'static str {
        "kube-apply"
    }

    fn target(&self) -> String {
        self.set.clone()
    }

    fn summary(&self) -> String {
        match parse(&self.manifest) {
            Ok(objects) if objects.len() == 1 => format!("apply {}", objects[0].identity),
            Ok(objects) => format!("apply {} ({} objects)", self.set, objects.len()),
            Err(_) => format!("apply {}", self.set),
        }
    }

    /// Objects without a namespace may belong to the whole cluster.
    fn needs(&self) -> Vec<Need> {
        let Ok(objects) = parse(&self.manifest) else { return vec![Need::Kube("*".into())] };
        let namespaces: BTreeSet<String> = objects
            .into_iter()
            .map(|object| object.identity.namespace.unwrap_or_else(|| "*".into()))
            .collect();
        namespaces.into_iter().map(Need::Kube).collect()
    }

    async fn probe(&self, kubernetes: &Kubernetes) -> Result<Verdict, OpError> {
        self.set(kubernetes).probe(&parse(&self.manifest)?).await
    }

    async fn apply(
        &self,
        kubernetes: &Kubernetes,
        timeout: Option<Duration>,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        let deadline = Instant::now() + timeout.unwrap_or(TIMEOUT);
        self.set(kubernetes).apply(&parse(&self.manifest)?, deadline, lines).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_follow_from_the_objects() {
        let text = "{apiVersion: v1, kind: A, metadata: {name: x, namespace: one}}\n---\n{apiVersion: v1, kind: B, metadata: {name: y}}\n";
        let op = |text: &'static str| KubeApply {
            stage: "s".into(),
            set: "set".into(),
            manifest: Content::Plain(bytes::Bytes::from_static(text.as_bytes())),
        };
        parse(&op(text).manifest).unwrap();
        assert_eq!(op(text).needs(), [Need::Kube("*".into()), Need::Kube("one".into())]);
        assert_eq!(op("nonsense").needs(), [Need::Kube("*".into())]);
        assert_eq!(op(text).summary(), "apply set (2 objects)");
    }
}
