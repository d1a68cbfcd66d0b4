//! Which kinds the API serves, asked once and again when something is missing.

use std::sync::Arc;
use std::time::Duration;

use kube::api::ApiResource;
use kube::core::GroupVersionKind;
use kube::discovery::{Discovery, Scope};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Kubernetes, failure};
use crate::op::OpError;

/// A miss within this time after asking is believed.
const FRESH: Duration = Duration::from_millis(500);

/// What was found.
#[derive(Default)]
pub(super) struct Kinds(Mutex<Option<(Instant, Arc<Discovery>)>>);

/// A kind as the API serves it.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    pub(super) resource: ApiResource,
    pub(super) namespaced: bool,
}

impl Kubernetes {
    /// The kind of a manifest; none when the API does not serve it.
    pub(super) async fn kind(
        &self,
        wanted: &GroupVersionKind,
        deadline: Instant,
    ) -> Result<Option<Kind>, OpError> {
        self.find_kind(deadline, |known| known.resolve_gvk(wanted)).await
    }

    /// A kind by its group, in whatever version the API prefers.
    pub(super) async fn kind_of_group(
        &self,
        group: &str,
        kind: &str,
        deadline: Instant,
    ) -> Result<Option<Kind>, OpError> {
        self.find_kind(deadline, |known| known.get(group)?.recommended_kind(kind)).await
    }

    /// A kind as people write it: "daemonset", "daemonsets", "ippool.crd.projectcalico.org". The core group wins.
    pub(super) async fn kind_by_name(&self, name: &str, deadline: Instant) -> Result<Option<Kind>, OpError> {
        let (name, wanted_group) = match name.split_once('.') {
            Some((name, group)) => (name, Some(group)),
            None => (name, None),
        };
        self.find_kind(deadline, |known| {
            let mut groups: Vec<_> = known.groups().collect();
            groups.sort_by_key(|group| (rank(group.name()), group.name().to_owned()));
            groups
                .into_iter()
                .filter(|group| wanted_group.is_none_or(|wanted| wanted == group.name()))
                .flat_map(|group| group.recommended_resources())
                .find(|(kind, _)| {
                    kind.kind.eq_ignore_ascii_case(name) || kind.plural.eq_ignore_ascii_case(name)
                })
        })
        .await
    }

    async fn find_kind(
        &self,
        deadline: Instant,
        find: impl Fn(&Discovery) -> Option<(ApiResource, kube::discovery::ApiCapabilities)>,
    ) -> Result<Option<Kind>, OpError> {
        let mut known = self.kinds.0.lock().await;
        loop {
            if let Some((asked, discovery)) = known.as_ref() {
                if let Some((resource, capabilities)) = find(discovery) {
                    let namespaced = capabilities.scope == Scope::Namespaced;
                    return Ok(Some(Kind { resource, namespaced }));
                }
                if asked.elapsed() < FRESH {
                    return Ok(None);
                }
            }
            let ask = || Discovery::new(self.client.clone()).run_aggregated();
            let discovery = failure::retry(deadline, "cannot ask the API which kinds it serves", ask).await?;
            *known = Some((Instant::now(), Arc::new(discovery)));
        }
    }

    /// Forgets what was found: kinds have been added or removed.
    pub(super) async fn forget_kinds(&self) {
        *self.kinds.0.lock().await = None;
    }
}

/// Kinds of the same name exist in several groups ("events"); the built-in ones win.
fn rank(group: &str) -> u8 {
    match group {
        "" => 0,
        "apps" | "batch" => 1,
        _ if group.ends_with(".k8s.io") => 2,
        _ => 3,
    }
}
