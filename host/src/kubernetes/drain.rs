//! Empties a node: keeps new pods away and evicts those that run there, within what PodDisruptionBudgets allow.

mod pods;

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, EvictParams, ListParams, Preconditions};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use self::pods::Fate;
use super::{Kubernetes, cordon, failure, side_by_side};
use crate::op::{Change, ChangeAction, OpError};

/// Between two looks at what is left; also how soon a refused eviction is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// For the question what would go.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

/// For opening the node again after a drain that failed.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(20);

/// How many pods are named.
const NAMED: usize = 5;

/// What a drain would do; nothing is changed.
///
/// # Errors
/// The API cannot be asked.
pub async fn probe(kubernetes: &Kubernetes, node: &str) -> Result<Change, OpError> {
    let found = list(kubernetes, node, Instant::now() + PROBE_TIMEOUT).await?;
    let lines = found.iter().filter_map(|pod| match pods::fate(pod) {
        Fate::Stays => None,
        Fate::Goes => Some(format!("-pod {}{}", pods::name(pod), owner(pod))),
        Fate::Lost => {
            Some(format!("-pod {}, which nobody would make again: it will be refused", pods::name(pod)))
        }
    });
    Ok(Change { action: ChangeAction::Run, diff: lines.collect() })
}

/// Empties the node. When it cannot be emptied, and it was ksp that closed it, it is opened again.
///
/// # Errors
/// `ksp::kube::unmanaged-pods`: nobody would make some pods again; nothing was evicted. `ksp::kube::drain`: pods are left at the
/// deadline, each named with what keeps it.
pub async fn drain(
    kubernetes: &Kubernetes,
    node: &str,
    within: Duration,
    lines: &UnboundedSender<String>,
) -> Result<(), OpError> {
    let deadline = Instant::now() + within;
    let mut held = Held::default();
    let ended = tokio::select! {
        ended = tokio::time::timeout_at(deadline, empty(kubernetes, node, deadline, lines, &mut held)) => ended,
        // Another part of the run has failed: this may wait in vain.
        () = kubernetes.patience.end() => Ok(Err(held_up(node, within, &Held::default()))),
    };
    let error = match ended {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error,
        Err(_) => held_up(node, within, &held),
    };
    // Nothing was done to the node itself: it may serve as before.
    let reopened = cordon::uncordon(kubernetes, node, Instant::now() + REOPEN_TIMEOUT).await;
    Err(match reopened {
        Ok(()) => error,
        Err(_) => error.hint(format!("it is still cordoned: kubectl uncordon {node}")),
    })
}

/// Pods that are left, and what keeps each.
type Held = BTreeMap<String, String>;

async fn empty(
    kubernetes: &Kubernetes,
    node: &str,
    deadline: Instant,
    lines: &UnboundedSender<String>,
    held: &mut Held,
) -> Result<(), OpError> {
    refuse_lost(node, &list(kubernetes, node, deadline).await?)?;
    cordon::cordon(kubernetes, node, deadline).await?;
    let mut told = String::new();
    loop {
        let found = list(kubernetes, node, deadline).await?;
        refuse_lost(node, &found)?;
        let left: Vec<&Pod> = found.iter().filter(|pod| pods::fate(pod) == Fate::Goes).collect();
        if left.is_empty() {
            return Ok(());
        }
        let tried = side_by_side(left.iter().map(|pod| evict(kubernetes, pod)).collect()).await?;
        *held = tried.into_iter().collect();
        let text = list_of(held);
        if text != told {
            // Nobody listens any more: nothing is lost.
            let _ = lines.send(text.clone());
            told = text;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Tries to evict a pod: its name, and what keeps it.
async fn evict(kubernetes: &Kubernetes, pod: &Pod) -> Result<(String, String), OpError> {
    let name = pods::name(pod);
    if pods::is_leaving(pod) {
        return Ok((name, "it is about to end".into()));
    }
    let metadata = &pod.metadata;
    let api: Api<Pod> =
        Api::namespaced(kubernetes.client.clone(), metadata.namespace.as_deref().unwrap_or_default());
    // One of the same name may have come elsewhere meanwhile.
    let same = Preconditions { uid: metadata.uid.clone(), resource_version: None };
    let params = EvictParams {
        delete_options: Some(DeleteParams { preconditions: Some(same), ..DeleteParams::default() }),
        ..EvictParams::default()
    };
    match api.evict(metadata.name.as_deref().unwrap_or_default(), &params).await {
        Ok(_) => Ok((name, "it is about to end".into())),
        Err(error) if failure::is_not_found(&error) => Ok((name, "it is about to end".into())),
        Err(error) => Ok((name, refusal(&error))),
    }
}

/// What the API said. That of a budget names the budget in its details only.
fn refusal(error: &kube::Error) -> String {
    let causes: Vec<&str> = match error {
        kube::Error::Api(status) => status
            .details
            .iter()
            .flat_map(|details| &details.causes)
            .map(|cause| cause.message.as_str())
            .filter(|message| !message.is_empty())
            .collect(),
        _ => Vec::new(),
    };
    if causes.is_empty() { failure::describe(error) } else { causes.join("; ") }
}

async fn list(kubernetes: &Kubernetes, node: &str, deadline: Instant) -> Result<Vec<Pod>, OpError> {
    let api: Api<Pod> = Api::all(kubernetes.client.clone());
    let params = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let list = || api.list(&params);
    Ok(failure::retry(deadline, format!("cannot list the pods of {node}"), list).await?.items)
}

fn refuse_lost(node: &str, found: &[Pod]) -> Result<(), OpError> {
    let lost: Vec<String> =
        found.iter().filter(|pod| pods::fate(pod) == Fate::Lost).map(pods::name).collect();
    if lost.is_empty() {
        return Ok(());
    }
    let message =
        format!("{node} is not drained: no controller would make these pods again: {}", shortened(&lost));
    Err(OpError::new("ksp::kube::unmanaged-pods", message)
        .hint("delete them, or let a Deployment or a Job run them; then run the same command again"))
}

fn held_up(node: &str, within: Duration, held: &Held) -> OpError {
    let seconds = within.as_secs();
    let message = match held.is_empty() {
        true => format!("{node} was not drained within {seconds} s"),
        false => {
            format!("{node} was not drained within {seconds} s, {} left: {}", count(held), list_of(held))
        }
    };
    let mut error = OpError::new("ksp::kube::drain", message);
    error.tail = held.iter().map(|(pod, why)| format!("{pod}: {why}")).take(20).collect();
    error.hint(
        "a PodDisruptionBudget holds a pod until enough others are ready: run more of them, relax the budget, \
         or delete the pod by hand; then run the same command again",
    )
}

fn count(held: &Held) -> String {
    if held.len() == 1 { "1 pod is".into() } else { format!("{} pods are", held.len()) }
}

fn list_of(held: &Held) -> String {
    shortened(&held.iter().map(|(pod, why)| format!("{pod} ({why})")).collect::<Vec<_>>())
}

fn shortened(names: &[String]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let shown = names[..names.len() - more].join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}

fn owner(pod: &Pod) -> String {
    pods::owner(pod).map(|(kind, name)| format!(" of {kind} {name}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_named_with_its_reason() {
        let held = Held::from([("default/web-1".into(), "The disruption budget web needs 2".into())]);
        let error = held_up("w1", Duration::from_secs(300), &held);
        assert_eq!(
            error.message,
            "w1 was not drained within 300 s, 1 pod is left: default/web-1 (The disruption budget web needs 2)"
        );
        let names: Vec<String> = (0..7).map(|n| format!("p{n}")).collect();
        assert_eq!(shortened(&names), "p0, p1, p2, p3, p4 and 2 more");
    }
}
