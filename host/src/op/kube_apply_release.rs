//! `kube-apply-release`: as `kube-apply`, with objects that an upstream project releases as a file, such as definitions of its kinds.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;

use crate::kubernetes::Kubernetes;
use crate::op::kube_apply::KubeApply;
use crate::op::{ClusterOp, Content, OpError, Verdict, fetch};
use crate::plugin::capability::Need;
use crate::plugin::download::{Downloads, Release, Source};

/// The API takes no object of more than 1.5 MiB: a larger file holds something else than objects.
const LARGEST: u64 = 32 << 20;

/// Server-side apply of the objects of a release file, which the workstation fetches.
#[derive(Debug, Clone)]
pub struct KubeApplyRelease {
    /// Whose set it is.
    pub stage: String,
    /// Names the set within the stage.
    pub set: String,
    /// The file, the same for all architectures.
    pub release: Release,
    /// Brings it.
    pub downloads: Arc<Downloads>,
}

impl KubeApplyRelease {
    /// The one file that there is; none when each architecture has its own.
    pub fn source(release: &Release) -> Option<&Source> {
        let mut sources = release.sources.values();
        let first = sources.next()?;
        sources.all(|other| other.sha256 == first.sha256).then_some(first)
    }

    fn what(&self) -> String {
        format!("{} {}", self.release.name, self.release.version)
    }

    /// The objects as an op of their own.
    async fn fetched(&self, lines: Option<&UnboundedSender<String>>) -> Result<KubeApply, OpError> {
        let Some(source) = Self::source(&self.release) else {
            let message = format!("{} is another file for each architecture", self.what());
            return Err(OpError::new("ksp::op::architecture", message));
        };
        let lines = lines.cloned();
        // Whoever listened may have gone.
        let say = move |line: String| drop(lines.as_ref().map(|lines| lines.send(line)));
        let path = self
            .downloads
            .get(source, &say)
            .await
            .map_err(|error| fetch::not_here(error, &self.what(), None))?;
        let unreadable =
            |error: std::io::Error| OpError::new("ksp::op::cache", format!("{}: {error}", path.display()));
        let size = tokio::fs::metadata(&path).await.map_err(unreadable)?.len();
        if size > LARGEST {
            let message = format!("{} holds {size} bytes: these are no Kubernetes objects", self.what());
            return Err(OpError::new("ksp::op::too-large", message));
        }
        let bytes = tokio::fs::read(&path).await.map_err(unreadable)?;
        Ok(KubeApply {
            stage: self.stage.clone(),
            set: self.set.clone(),
            manifest: Content::Plain(bytes.into()),
        })
    }
}

#[async_trait]
impl ClusterOp for KubeApplyRelease {
    fn kind(&self) -> &'static str {
        "kube-apply"
    }

    fn target(&self) -> String {
        self.set.clone()
    }

    fn summary(&self) -> String {
        format!("apply {} from release {}", self.set, self.what())
    }

    /// What the file holds is not known before it is here.
    fn needs(&self) -> Vec<Need> {
        vec![Need::Artifacts, Need::Kube("*".into())]
    }

    async fn probe(&self, kubernetes: &Kubernetes) -> Result<Verdict, OpError> {
        self.fetched(None).await?.probe(kubernetes).await
    }

    async fn apply(
        &self,
        kubernetes: &Kubernetes,
        timeout: Option<Duration>,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        self.fetched(Some(lines)).await?.apply(kubernetes, timeout, lines).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use sha2::{Digest as _, Sha256};

    use super::*;

    const DEFINITION: &str = "{apiVersion: v1, kind: Definition, metadata: {name: x}}\n";

    fn op(sources: &[(&str, &str)], cache: &std::path::Path) -> KubeApplyRelease {
        let source =
            |sha256: &str| Source { url: "http://127.0.0.1:1/crds.yaml".into(), sha256: sha256.into() };
        let sources: BTreeMap<String, Source> =
            sources.iter().map(|(arch, sha256)| ((*arch).to_owned(), source(sha256))).collect();
        KubeApplyRelease {
            stage: "network".into(),
            set: "kinds".into(),
            release: Release { name: "crds".into(), version: "3.31.7".into(), sources },
            downloads: Arc::new(Downloads::new(cache, false)),
        }
    }

    #[tokio::test]
    async fn the_objects_are_those_of_the_verified_file() {
        let cache = tempfile::tempdir().unwrap();
        let sha256 = hex::encode(Sha256::digest(DEFINITION));
        std::fs::write(cache.path().join(&sha256), DEFINITION).unwrap();
        let op = op(&[("amd64", &sha256), ("arm64", &sha256)], cache.path());
        let applied = op.fetched(None).await.unwrap();
        assert_eq!(applied.manifest.bytes(), DEFINITION.as_bytes());
        assert_eq!((applied.stage.as_str(), applied.set.as_str()), ("network", "kinds"));
        assert_eq!(op.summary(), "apply kinds from release crds 3.31.7");
        assert_eq!(op.needs(), [Need::Artifacts, Need::Kube("*".into())]);
    }

    #[tokio::test]
    async fn another_file_for_each_architecture_is_refused() {
        let cache = tempfile::tempdir().unwrap();
        let op = op(&[("amd64", &"a".repeat(64)), ("arm64", &"b".repeat(64))], cache.path());
        let error = op.fetched(None).await.unwrap_err();
        assert_eq!(error.code, "ksp::op::architecture");
    }
}
