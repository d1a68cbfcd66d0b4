//! What a set has applied: a ConfigMap in `kube-system`, so that objects which leave the set are found and removed.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::object::Identity;
use super::{FIELD_MANAGER, Kubernetes, failure};
use crate::op::OpError;

/// Where records live.
const NAMESPACE: &str = "kube-system";

/// The key in the ConfigMap.
const KEY: &str = "objects";

/// The label on every object of a set.
pub(super) const SET_LABEL: &str = "ksp.dev/set";

/// The label on the record that names the stage.
const STAGE_LABEL: &str = "ksp.dev/stage";

/// The key of the ConfigMap that holds the set's name within its stage.
const SET_KEY: &str = "set";

/// A set of one stage: no two stages can touch each other's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SetName {
    label: String,
    stage: String,
    set: String,
}

impl SetName {
    pub(super) fn new(stage: &str, set: &str) -> Self {
        let label = slug(&if stage == set { set.to_owned() } else { format!("{stage}.{set}") });
        Self { label, stage: slug(stage), set: set.to_owned() }
    }

    /// The value of [`SET_LABEL`].
    pub(super) fn label(&self) -> &str {
        &self.label
    }

    fn record(&self) -> String {
        format!("ksp-set-{}", self.label)
    }
}

/// Fit for names and label values: lower case, digits, `-` and `.`, at most 50; a hash keeps what was changed apart.
pub(super) fn slug(text: &str) -> String {
    let fit = |character: char| {
        character.is_ascii_lowercase() || character.is_ascii_digit() || "-.".contains(character)
    };
    let edge = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    if text.len() <= 50
        && text.chars().all(fit)
        && text.starts_with(edge)
        && text.ends_with(edge)
        && !text.contains("..")
        && !text.contains(".-")
        && !text.contains("-.")
    {
        return text.to_owned();
    }
    let kept: String = text
        .to_ascii_lowercase()
        .chars()
        .map(|character| if edge(character) { character } else { '-' })
        .take(40)
        .collect();
    format!("{}-{}", kept.trim_matches('-'), hex::encode(&Sha256::digest(text)[..4]))
        .trim_start_matches('-')
        .to_owned()
}

/// The set's objects as of the last time; none when it was never applied.
pub(super) async fn read(
    kubernetes: &Kubernetes,
    set: &SetName,
    deadline: Instant,
) -> Result<Option<Vec<Identity>>, OpError> {
    let (api, name) = (api(kubernetes), set.record());
    let found =
        failure::retry(deadline, format!("cannot read ConfigMap {NAMESPACE}/{name}"), || api.get_opt(&name))
            .await?;
    let Some(found) = found else { return Ok(None) };
    let text = found.data.as_ref().and_then(|data| data.get(KEY)).map_or("[]", String::as_str);
    serde_json::from_str(text).map(Some).map_err(|error| {
        OpError::new("ksp::kube::record", format!("ConfigMap {NAMESPACE}/{name} is not what ksp wrote: {error}"))
            .hint(format!("kubectl -n {NAMESPACE} delete configmap {name}, then run again: it is written anew, and objects that left the set stay"))
    })
}

/// Replaces the record.
pub(super) async fn write(
    kubernetes: &Kubernetes,
    set: &SetName,
    objects: &[Identity],
    deadline: Instant,
) -> Result<(), OpError> {
    let name = set.record();
    let body = body(set, objects);
    let api = api(kubernetes);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let body = Patch::Apply(&body);
    let patch = || api.patch(&name, &params, &body);
    failure::retry(deadline, format!("cannot write ConfigMap {NAMESPACE}/{name}"), patch).await.map(drop)
}

/// Removes the record.
pub(super) async fn remove(kubernetes: &Kubernetes, set: &SetName, deadline: Instant) -> Result<(), OpError> {
    let (api, name) = (api(kubernetes), set.record());
    let params = DeleteParams::default();
    let delete = || async {
        match api.delete(&name, &params).await {
            Err(error) if !failure::is_not_found(&error) => Err(error),
            _ => Ok(()),
        }
    };
    failure::retry(deadline, format!("cannot delete ConfigMap {NAMESPACE}/{name}"), delete).await
}

/// The names of the sets that a stage has applied, sorted.
///
/// # Errors
/// The API cannot be asked.
pub async fn sets(kubernetes: &Kubernetes, stage: &str, deadline: Instant) -> Result<Vec<String>, OpError> {
    let api = api(kubernetes);
    let params = ListParams::default().labels(&format!("{STAGE_LABEL}={}", slug(stage)));
    let what = format!("cannot list what stage `{stage}` has applied");
    let found = failure::retry(deadline, what, || api.list(&params)).await?;
    let set = |record: ConfigMap| record.data?.remove(SET_KEY);
    let mut sets: Vec<String> = found.items.into_iter().filter_map(set).collect();
    sets.sort();
    Ok(sets)
}

fn api(kubernetes: &Kubernetes) -> Api<ConfigMap> {
    Api::namespaced(kubernetes.client.clone(), NAMESPACE)
}

/// One object a line, sorted: readable with kubectl, and the same text for the same objects.
fn body(set: &SetName, objects: &[Identity]) -> Value {
    let mut lines: Vec<String> = objects.iter().map(|object| json!(object).to_string()).collect();
    lines.sort();
    lines.dedup();
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": set.record(),
            "namespace": NAMESPACE,
            "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER, STAGE_LABEL: set.stage},
        },
        "data": {SET_KEY: set.set, KEY: format!("[\n{}\n]", lines.join(",\n"))},
    })
}

/// True when an object still belongs to the set: nothing else is ever removed.
pub(super) fn owns(set: &SetName, object: &DynamicObject) -> bool {
    object
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(SET_LABEL))
        .is_some_and(|value| value == set.label())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_names_fit_and_stay_apart() {
        assert_eq!(SetName::new("flannel", "flannel").label(), "flannel");
        assert_eq!(SetName::new("flannel", "rbac").label(), "flannel.rbac");
        let long = "x".repeat(80);
        for odd in ["My Set", "a_b", "-a", "a.", "a..b", "ä", "", &long] {
            let name = SetName::new("stage", odd);
            let label = name.label();
            assert!(label.len() <= 63 && label.starts_with("stage"), "{label}");
            assert!(label.ends_with(|character: char| character.is_ascii_alphanumeric()), "{label}");
            assert!(
                label.chars().all(|character| character.is_ascii_alphanumeric() || "-.".contains(character)),
                "{label}"
            );
        }
        assert_ne!(SetName::new("a", "B c"), SetName::new("a", "b c"));
    }

    #[test]
    fn the_record_reads_back_and_does_not_depend_on_order() {
        let one =
            Identity { group: String::new(), kind: "Namespace".into(), namespace: None, name: "a".into() };
        let two = Identity {
            group: "apps".into(),
            kind: "DaemonSet".into(),
            namespace: Some("a".into()),
            name: "b".into(),
        };
        let set = SetName::new("net", "rules");
        let written = body(&set, &[two.clone(), one.clone()]);
        assert_eq!(written, body(&set, &[one.clone(), two.clone()]));
        assert_eq!(written["metadata"]["labels"][STAGE_LABEL], "net");
        assert_eq!(written["data"][SET_KEY], "rules");
        let read: Vec<Identity> = serde_json::from_str(written["data"][KEY].as_str().unwrap()).unwrap();
        assert_eq!(read, [one, two]);
    }
}
