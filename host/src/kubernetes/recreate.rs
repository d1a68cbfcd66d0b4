//! Pods that were born into a network which is gone: who makes them again, and how they are made to.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, ListParams};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::{Kubernetes, failure};
use crate::op::{Change, ChangeAction, OpError, Verdict};

/// For all requests together.
const TIMEOUT: Duration = Duration::from_secs(120);

/// What becomes of a pod.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It is in no pod network, or has ended.
    Stays,
    /// Its owner makes another one.
    IsMadeAnew,
    /// Nobody would make it again.
    HasNoOwner,
}

fn fate(pod: &Pod) -> Fate {
    let spec = pod.spec.as_ref();
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let on_a_node = spec.is_some_and(|spec| spec.node_name.is_some());
    if spec.is_some_and(|spec| spec.host_network == Some(true))
        || matches!(phase, Some("Succeeded" | "Failed"))
        || !on_a_node
    {
        return Fate::Stays;
    }
    let controlled =
        pod.metadata.owner_references.iter().flatten().any(|owner| owner.controller == Some(true));
    if controlled { Fate::IsMadeAnew } else { Fate::HasNoOwner }
}

fn name(pod: &Pod) -> String {
    let text = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", text(&pod.metadata.namespace), text(&pod.metadata.name))
}

async fn pods(kubernetes: &Kubernetes, deadline: Instant) -> Result<Vec<Pod>, OpError> {
    let api: Api<Pod> = Api::all(kubernetes.client.clone());
    let params = ListParams::default();
    let found = failure::retry(deadline, "cannot list pods".to_owned(), || api.list(&params)).await?;
    Ok(found.items)
}

/// Which pods [`recreate`] would delete.
///
/// # Errors
/// The API cannot be asked.
pub async fn probe(kubernetes: &Kubernetes) -> Result<Verdict, OpError> {
    let pods = pods(kubernetes, Instant::now() + TIMEOUT).await?;
    let line = |pod: &Pod| match fate(pod) {
        Fate::Stays => None,
        Fate::IsMadeAnew => Some(format!("~ {}", name(pod))),
        Fate::HasNoOwner => Some(format!("  {} has no owner: make it anew yourself", name(pod))),
    };
    let diff = pods.iter().filter_map(line).collect();
    Ok(Verdict::Change(Change { action: ChangeAction::Run, diff }))
}

/// Deletes every pod of the pod network that has an owner. Does not wait for what comes after them.
///
/// # Errors
/// The API refuses, or does not answer before the deadline.
pub async fn recreate(
    kubernetes: &Kubernetes,
    timeout: Option<Duration>,
    lines: &UnboundedSender<String>,
) -> Result<(), OpError> {
    let deadline = Instant::now() + timeout.unwrap_or(TIMEOUT);
    for pod in pods(kubernetes, deadline).await? {
        let shown = name(&pod);
        // Whoever listened may have gone.
        let say = |text: String| drop(lines.send(text));
        match fate(&pod) {
            Fate::Stays => continue,
            Fate::HasNoOwner => {
                say(format!("pod {shown} has no owner and stays: make it anew yourself"));
                continue;
            }
            Fate::IsMadeAnew => {}
        }
        let (Some(namespace), Some(own)) = (&pod.metadata.namespace, &pod.metadata.name) else { continue };
        let api: Api<Pod> = Api::namespaced(kubernetes.client.clone(), namespace);
        let params = DeleteParams::default();
        let delete = || async {
            match api.delete(own, &params).await {
                Err(error) if !failure::is_not_found(&error) => Err(error),
                _ => Ok(()),
            }
        };
        failure::retry(deadline, format!("cannot delete pod {shown}"), delete).await?;
        say(format!("pod {shown} is made anew"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn only_pods_that_somebody_makes_again_go() {
        let owned = serde_json::json!([{
            "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u", "controller": true,
        }]);
        let spec =
            |host: bool| serde_json::json!({ "nodeName": "w1", "hostNetwork": host, "containers": [] });
        let of = |owners: &serde_json::Value, spec: serde_json::Value, phase: &str| {
            let metadata = serde_json::json!({ "name": "p", "namespace": "n", "ownerReferences": owners });
            fate(&pod(
                serde_json::json!({ "metadata": metadata, "spec": spec, "status": { "phase": phase } }),
            ))
        };
        let none = serde_json::json!([]);
        assert_eq!(of(&owned, spec(false), "Running"), Fate::IsMadeAnew);
        assert_eq!(of(&owned, spec(true), "Running"), Fate::Stays);
        assert_eq!(of(&owned, spec(false), "Succeeded"), Fate::Stays);
        assert_eq!(of(&none, spec(false), "Running"), Fate::HasNoOwner);
        // Not on a node yet: it has seen no network.
        assert_eq!(of(&owned, serde_json::json!({ "containers": [] }), "Pending"), Fate::Stays);
    }
}
