//! Cordons: whether new pods are scheduled onto a node. What a person closed stays closed; an annotation tells whose cordon it is.

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{FIELD_MANAGER, Kubernetes, failure};
use crate::op::OpError;

/// On nodes that ksp has cordoned.
pub const ANNOTATION: &str = "ksp.dev/cordoned";

/// Who keeps pods away from a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cordon {
    /// Nobody.
    Open,
    /// ksp: it may open the node again.
    Ours,
    /// Somebody else.
    Theirs,
}

/// What the node says.
pub(super) fn read(node: &Node) -> Cordon {
    let closed = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
    let ours = node.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(ANNOTATION));
    match (closed, ours) {
        (_, true) => Cordon::Ours,
        (true, false) => Cordon::Theirs,
        (false, false) => Cordon::Open,
    }
}

/// Who keeps pods away; none when there is no such node.
///
/// # Errors
/// The API does not answer before the deadline.
pub async fn find(kubernetes: &Kubernetes, name: &str, deadline: Instant) -> Result<Option<Cordon>, OpError> {
    let api: Api<Node> = Api::all(kubernetes.client.clone());
    let get = || api.get_opt(name);
    Ok(failure::retry(deadline, format!("cannot read Node {name}"), get).await?.as_ref().map(read))
}

/// Keeps new pods away. A node that is closed already is left as it is.
///
/// # Errors
/// The API does not answer before the deadline.
pub async fn cordon(kubernetes: &Kubernetes, name: &str, deadline: Instant) -> Result<(), OpError> {
    change(kubernetes, name, deadline, |node| {
        let closed = node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false);
        (!closed).then(|| patch(json!("drained by ksp"), json!(true)))
    })
    .await
}

/// Lets new pods come again, when it was [`cordon`] that kept them away.
///
/// # Errors
/// The API does not answer before the deadline.
pub async fn uncordon(kubernetes: &Kubernetes, name: &str, deadline: Instant) -> Result<(), OpError> {
    change(kubernetes, name, deadline, |node| {
        (read(node) == Cordon::Ours).then(|| patch(Value::Null, Value::Null))
    })
    .await
}

fn patch(annotation: Value, unschedulable: Value) -> Value {
    json!({
        "metadata": { "annotations": { ANNOTATION: annotation } },
        "spec": { "unschedulable": unschedulable },
    })
}

/// Nobody may have written in between: the decision rests on what was read.
async fn change(
    kubernetes: &Kubernetes,
    name: &str,
    deadline: Instant,
    decide: impl Fn(&Node) -> Option<Value>,
) -> Result<(), OpError> {
    let api: Api<Node> = Api::all(kubernetes.client.clone());
    let attempt = || async {
        let Some(node) = api.get_opt(name).await? else { return Ok(()) };
        let Some(mut patch) = decide(&node) else { return Ok(()) };
        patch["metadata"]["resourceVersion"] = json!(node.metadata.resource_version);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        api.patch(name, &params, &Patch::Merge(patch)).await.map(drop)
    };
    failure::retry(deadline, format!("cannot change Node {name}"), attempt).await
}
