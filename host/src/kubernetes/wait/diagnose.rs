//! Why pods are not there yet: states of containers, events, last lines of what crashed.

use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ListParams, LogParams};
use kube::core::Selector;
use serde_json::Value;

use super::super::Kubernetes;

/// More pods than this are not named.
const MOST_PODS: usize = 3;

/// Lines of a crashed container that are shown.
const LOG_LINES: usize = 12;

/// Lines that are read, for the error may stand long before the end: programs explain all their flags after a wrong one.
const LOG_LINES_READ: i64 = 1000;

/// How a line begins that says why a program ended.
const LAST_WORDS: [&str; 3] = ["error", "fatal", "panic"];

/// Waiting reasons that are part of every start.
const ORDINARY: [&str; 2] = ["ContainerCreating", "PodInitializing"];

/// One line for each pod that is in trouble.
pub(super) async fn troubles(kubernetes: &Kubernetes, objects: &[Value]) -> Vec<String> {
    let mut found: Vec<String> = pods(kubernetes, objects).await.iter().filter_map(trouble).collect();
    if found.len() > MOST_PODS {
        let more = found.len() - MOST_PODS;
        found.truncate(MOST_PODS);
        found.push(format!("{more} more pods"));
    }
    found
}

/// All that helps when the time is over: pods with their troubles, their warnings, the last lines of one that crashed. A pod that runs
/// and is still not ready is in trouble by now.
pub(super) async fn evidence(kubernetes: &Kubernetes, objects: &[Value]) -> Vec<String> {
    let mut lines = Vec::new();
    let why = |pod: &Pod| trouble(pod).or_else(|| unready(pod));
    let troubled = pods(kubernetes, objects).await.into_iter().filter_map(|pod| Some((why(&pod)?, pod)));
    let troubled: Vec<(String, Pod)> = troubled.collect();
    for (why, pod) in troubled.iter().take(MOST_PODS) {
        lines.push(why.clone());
        lines.extend(warnings(kubernetes, pod).await);
    }
    for (_, pod) in &troubled {
        let log = crash_log(kubernetes, pod).await;
        if !log.is_empty() {
            lines.extend(log);
            break;
        }
    }
    lines
}

/// Pods of workloads by their selector; a pod is its own.
async fn pods(kubernetes: &Kubernetes, objects: &[Value]) -> Vec<Pod> {
    let mut found = Vec::new();
    for object in objects {
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
        let Some(namespace) = namespace else { continue };
        if object["kind"] == "Pod" {
            found.extend(serde_json::from_value(object.clone()).ok());
            continue;
        }
        let selector = object.pointer("/spec/selector").cloned();
        let Some(Ok(selector)) = selector.map(serde_json::from_value::<LabelSelector>) else { continue };
        let Ok(selector) = Selector::try_from(selector) else { continue };
        if selector.selects_all() {
            continue;
        }
        let api: Api<Pod> = Api::namespaced(kubernetes.client.clone(), namespace);
        if let Ok(list) = api.list(&ListParams::default().labels_from(&selector)).await {
            found.extend(list.items);
        }
    }
    found
}

/// "pod x: container y: ImagePullBackOff (Back-off pulling image …)"; none for a pod that is ready or on its way.
fn trouble(pod: &Pod) -> Option<String> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let status = pod.status.as_ref()?;
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let unscheduled =
        conditions.iter().find(|entry| entry.type_ == "PodScheduled" && entry.status == "False");
    if let Some(entry) = unscheduled {
        return Some(format!(
            "pod {name}: not scheduled: {}",
            entry.message.as_deref().unwrap_or("no reason given")
        ));
    }
    let containers = containers(pod);
    let broken = containers.iter().find_map(|container| Some((container, state(container)?)));
    if let Some((container, state)) = broken {
        return Some(format!("pod {name}: container {}: {state}", container.name));
    }
    let unready = containers.iter().find(|container| !container.ready && container.restart_count > 0)?;
    Some(format!(
        "pod {name}: container {} was restarted {} times and is not ready",
        unready.name, unready.restart_count
    ))
}

/// A pod one of whose containers runs and says by its probe that it cannot serve.
fn unready(pod: &Pod) -> Option<String> {
    let runs = |container: &&&ContainerStatus| {
        !container.ready && container.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let containers = containers(pod);
    let container = containers.iter().find(runs)?;
    Some(format!("pod {name}: container {} runs and is not ready", container.name))
}

fn containers(pod: &Pod) -> Vec<&ContainerStatus> {
    let Some(status) = pod.status.as_ref() else { return Vec::new() };
    status.init_container_statuses.iter().chain(&status.container_statuses).flatten().collect()
}

fn state(container: &ContainerStatus) -> Option<String> {
    let state = container.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        if ORDINARY.contains(&reason) {
            return None;
        }
        let message = waiting.message.as_deref().map(|text| format!(" ({text})")).unwrap_or_default();
        return Some(format!("{reason}{message}"));
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    Some(format!(
        "ended with exit status {} ({})",
        ended.exit_code,
        ended.reason.as_deref().unwrap_or("Error")
    ))
}

async fn warnings(kubernetes: &Kubernetes, pod: &Pod) -> Vec<String> {
    let (Some(namespace), Some(name)) = (&pod.metadata.namespace, &pod.metadata.name) else {
        return Vec::new();
    };
    let api: Api<Event> = Api::namespaced(kubernetes.client.clone(), namespace);
    let fields = format!("involvedObject.name={name},type=Warning");
    let Ok(found) = api.list(&ListParams::default().fields(&fields)).await else { return Vec::new() };
    let mut lines: Vec<String> = found
        .items
        .iter()
        .map(|event| {
            let reason = event.reason.as_deref().unwrap_or_default();
            format!("  {reason}: {}", event.message.as_deref().unwrap_or_default().trim())
        })
        .collect();
    lines.dedup();
    lines.split_off(lines.len().saturating_sub(5))
}

/// Of the run that crashed, when there was one before this.
async fn crash_log(kubernetes: &Kubernetes, pod: &Pod) -> Vec<String> {
    let crashed =
        containers(pod).into_iter().find(|container| !container.ready && container.restart_count > 0);
    let (Some(container), Some(namespace), Some(name)) =
        (crashed, &pod.metadata.namespace, &pod.metadata.name)
    else {
        return Vec::new();
    };
    let running = container.state.as_ref().is_some_and(|state| state.running.is_some());
    let params = LogParams {
        container: Some(container.name.clone()),
        previous: running,
        tail_lines: Some(LOG_LINES_READ),
        limit_bytes: Some(512 << 10),
        ..LogParams::default()
    };
    let api: Api<Pod> = Api::namespaced(kubernetes.client.clone(), namespace);
    let Ok(text) = api.logs(name, &params).await else { return Vec::new() };
    std::iter::once(format!("last lines of {name}/{}:", container.name))
        .chain(telling(&text).into_iter().map(|line| format!("  {line}")))
        .collect()
}

/// The last lines, and before them the last one that says why, when it is not among them.
fn telling(log: &str) -> Vec<&str> {
    let lines: Vec<&str> = log.lines().collect();
    let (earlier, last) = lines.split_at(lines.len().saturating_sub(LOG_LINES));
    let says_why = |line: &&str| {
        let begins = |word: &str| line.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word));
        LAST_WORDS.into_iter().any(begins)
    };
    let mut found = Vec::new();
    if !last.iter().any(&says_why)
        && let Some(why) = earlier.iter().rfind(|line| says_why(line))
    {
        found.extend([*why, "…"]);
    }
    found.extend(last);
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(status: Value) -> Option<String> {
        trouble(&serde_json::from_value(json!({"metadata": {"name": "x"}, "status": status})).unwrap())
    }

    fn container(state: Value, restarts: i32) -> Value {
        json!({"name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": restarts, "state": state})
    }

    #[test]
    fn the_reason_is_shown_though_a_long_help_follows_it() {
        let help: String = (0..300).map(|n| format!("      --flag-{n}   Error handling of {n}\n")).collect();
        let log = format!("starting\nError: unknown flag: --no-such-flag\nUsage:\n{help}");
        let shown = telling(&log);
        assert_eq!(shown[..2], ["Error: unknown flag: --no-such-flag", "…"]);
        assert_eq!(shown.len(), 2 + LOG_LINES);
        assert_eq!(telling("starting\nfatal: no disk\n"), ["starting", "fatal: no disk"]);
    }

    #[test]
    fn troubles_are_named_and_ordinary_starts_are_not() {
        let pulling =
            json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"i\""}});
        assert_eq!(
            told(json!({"containerStatuses": [container(pulling, 0)]})).unwrap(),
            "pod x: container c: ImagePullBackOff (Back-off pulling image \"i\")"
        );
        let creating = json!({"waiting": {"reason": "ContainerCreating"}});
        assert_eq!(told(json!({"containerStatuses": [container(creating, 0)]})), None);
        let ended = json!({"terminated": {"exitCode": 2, "reason": "Error"}});
        assert_eq!(
            told(json!({"initContainerStatuses": [container(ended, 0)]})).unwrap(),
            "pod x: container c: ended with exit status 2 (Error)"
        );
        assert_eq!(
            told(json!({"containerStatuses": [container(json!({"running": {}}), 4)]})).unwrap(),
            "pod x: container c was restarted 4 times and is not ready"
        );
        let running: Pod = serde_json::from_value(json!({"metadata": {"name": "x"}, "status":
            {"containerStatuses": [container(json!({"running": {}}), 0)]}}))
        .unwrap();
        assert_eq!(trouble(&running), None);
        assert_eq!(unready(&running).unwrap(), "pod x: container c runs and is not ready");
        let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]});
        assert_eq!(told(unscheduled).unwrap(), "pod x: not scheduled: 0/3 nodes are available");
    }
}
