//! What can be waited for, decided from objects alone. `rollout` decides as `kubectl rollout status` does.

use std::fmt;

use serde_json::Value;

use super::Progress;
use crate::op::OpError;

/// Which objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// As written: "daemonset", "node", "ippool.crd.projectcalico.org".
    pub(super) kind: String,
    /// None for all.
    pub(super) name: Option<String>,
    /// Empty for objects of the cluster.
    pub(super) namespace: String,
}

/// What must be true of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    Rollout,
    Exists,
    Deleted,
    /// `status.conditions` has an entry of this type with this status.
    Status(String, String),
    /// The text at this JSON pointer is this one.
    Field(String, String),
}

impl Subject {
    pub(super) fn parse(object: &str, namespace: &str) -> Result<Self, OpError> {
        let wrong =
            || OpError::new("ksp::kube::condition", format!("{object:?} is not \"kind/name\" or \"kind/*\""));
        let (kind, name) = object.split_once('/').ok_or_else(wrong)?;
        if kind.is_empty() || name.is_empty() || name.contains('/') {
            return Err(wrong());
        }
        let name = (name != "*").then(|| name.to_owned());
        Ok(Self { kind: kind.to_owned(), name, namespace: namespace.to_owned() })
    }

    /// The field selector that finds it; none for all.
    pub(super) fn field(&self) -> Option<String> {
        self.name.as_ref().map(|name| format!("metadata.name={name}"))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.namespace.is_empty() { "" } else { "/" };
        write!(f, "{} {}{slash}{}", self.kind, self.namespace, self.name.as_deref().unwrap_or("*"))
    }
}

impl Condition {
    pub(super) fn parse(text: &str) -> Result<Self, OpError> {
        if let Some((pointer, value)) = text.strip_prefix("field=").and_then(|rest| rest.split_once('='))
            && pointer.starts_with('/')
        {
            return Ok(Self::Field(pointer.to_owned(), value.to_owned()));
        }
        let parts: Vec<&str> = text.split('=').collect();
        match parts[..] {
            ["rollout"] => Ok(Self::Rollout),
            ["exists"] => Ok(Self::Exists),
            ["deleted"] => Ok(Self::Deleted),
            ["condition", kind] if !kind.is_empty() => Ok(Self::Status(kind.to_owned(), "True".to_owned())),
            ["condition", kind, status] if !kind.is_empty() => {
                Ok(Self::Status(kind.to_owned(), status.to_owned()))
            }
            _ => Err(OpError::new(
                "ksp::kube::condition",
                format!(
                    "{text:?} is not a condition: use rollout, exists, deleted, condition=<type> or field=<JSON pointer>=<text>"
                ),
            )),
        }
    }

    /// Goes between the object and the time.
    pub(super) fn unmet(&self) -> String {
        match self {
            Self::Rollout => "was not rolled out".into(),
            Self::Exists => "did not appear".into(),
            Self::Deleted => "was not deleted".into(),
            Self::Status(kind, status) if status == "True" => format!("did not become {kind}"),
            Self::Status(kind, status) => format!("did not become {kind}={status}"),
            Self::Field(pointer, value) => format!("has no {value:?} at {pointer}"),
        }
    }

    /// Decides from all objects of the subject.
    pub(super) fn judge(&self, subject: &Subject, objects: &[Value]) -> Progress {
        if *self == Self::Deleted {
            return match objects.first() {
                None => Progress::Met,
                Some(_) => Progress::NotYet(format!("{subject} is still there{}", finalizers(objects))),
            };
        }
        if objects.is_empty() {
            return Progress::NotYet(format!("{subject} is not there yet"));
        }
        let unmet: Vec<String> = objects.iter().filter_map(|object| self.judge_one(object).err()).collect();
        match unmet.len() {
            0 => Progress::Met,
            1 => Progress::NotYet(unmet.concat()),
            count => Progress::NotYet(format!(
                "{} of {} are not there yet: {}{}",
                count,
                objects.len(),
                unmet[..count.min(3)].join("; "),
                if count > 3 { "; …" } else { "" }
            )),
        }
    }

    fn judge_one(&self, object: &Value) -> Result<(), String> {
        let verdict = match self {
            Self::Exists | Self::Deleted => Ok(()),
            Self::Rollout => rollout(object),
            Self::Status(kind, status) => condition(object, kind, status),
            Self::Field(pointer, value) => field(object, pointer, value),
        };
        verdict.map_err(|reason| format!("{}: {reason}", title(object)))
    }
}

/// "DaemonSet kube-system/kube-proxy".
pub(super) fn title(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let slash = if text("/metadata/namespace").is_empty() { "" } else { "/" };
    format!("{} {}{slash}{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

fn finalizers(objects: &[Value]) -> String {
    let named = objects.iter().filter_map(|object| object.pointer("/metadata/finalizers")?.as_array());
    let names: Vec<&str> = named.flatten().filter_map(Value::as_str).collect();
    if names.is_empty() { String::new() } else { format!(", held by {}", names.join(", ")) }
}

fn field(object: &Value, pointer: &str, wanted: &str) -> Result<(), String> {
    match object.pointer(pointer).and_then(Value::as_str) {
        Some(found) if found == wanted => Ok(()),
        Some(found) => Err(format!("{pointer} is {found:?} and not {wanted:?}")),
        None => Err(format!("nothing is at {pointer} yet")),
    }
}

fn condition(object: &Value, kind: &str, status: &str) -> Result<(), String> {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|entry| entry["type"].as_str() == Some(kind));
    let Some(entry) = found else { return Err(format!("says nothing of {kind} yet")) };
    if entry["status"].as_str() == Some(status) {
        return Ok(());
    }
    let texts =
        ["reason", "message"].iter().filter_map(|key| entry[*key].as_str()).filter(|text| !text.is_empty());
    let why = texts.collect::<Vec<_>>().join(": ");
    let state = entry["status"].as_str().unwrap_or("Unknown");
    Err(if why.is_empty() { format!("{kind} is {state}") } else { format!("{kind} is {state} ({why})") })
}

fn rollout(object: &Value) -> Result<(), String> {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0);
    let kind = object["kind"].as_str().unwrap_or_default();
    if !["DaemonSet", "Deployment", "StatefulSet"].contains(&kind) {
        return Err(format!("a {kind} cannot be rolled out: wait for a condition"));
    }
    if number("/status/observedGeneration") < number("/metadata/generation") {
        return Err("the change has not been observed yet".into());
    }
    let on_delete = object.pointer("/spec/updateStrategy/type").and_then(Value::as_str) == Some("OnDelete");
    match kind {
        "DaemonSet" => {
            let wanted = number("/status/desiredNumberScheduled");
            if !on_delete {
                enough(number("/status/updatedNumberScheduled"), wanted, "updated")?;
            }
            enough(number("/status/numberAvailable"), wanted, "ready")
        }
        "Deployment" => {
            let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
            let updated = number("/status/updatedReplicas");
            enough(updated, wanted, "updated")?;
            let old = number("/status/replicas") - updated;
            if old > 0 {
                return Err(format!("{old} old pods are still ending"));
            }
            enough(number("/status/availableReplicas"), updated, "ready")
        }
        _ => {
            let wanted = object.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or(1);
            enough(number("/status/readyReplicas"), wanted, "ready")?;
            let partition = number("/spec/updateStrategy/rollingUpdate/partition");
            if on_delete {
                Ok(())
            } else if partition > 0 {
                enough(number("/status/updatedReplicas"), wanted - partition, "updated")
            } else if object.pointer("/status/updateRevision") != object.pointer("/status/currentRevision") {
                Err(format!("{} of {wanted} updated", number("/status/updatedReplicas")))
            } else {
                Ok(())
            }
        }
    }
}

fn enough(have: i64, wanted: i64, what: &str) -> Result<(), String> {
    if have >= wanted { Ok(()) } else { Err(format!("{have} of {wanted} {what}")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judge(condition: &str, objects: &[Value]) -> String {
        let subject = Subject::parse("daemonset/x", "ns").unwrap();
        match Condition::parse(condition).unwrap().judge(&subject, objects) {
            Progress::Met => "met".into(),
            Progress::NotYet(reason) => reason,
        }
    }

    fn daemon_set(status: Value) -> Value {
        json!({"kind": "DaemonSet", "metadata": {"name": "x", "namespace": "ns", "generation": 2}, "status": status})
    }

    #[test]
    fn a_daemon_set_is_rolled_out_when_the_observed_one_is_available() {
        let stale = json!({"observedGeneration": 1, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3});
        assert_eq!(
            judge("rollout", &[daemon_set(stale)]),
            "DaemonSet ns/x: the change has not been observed yet"
        );
        let partly = json!({"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2});
        assert_eq!(judge("rollout", &[daemon_set(partly)]), "DaemonSet ns/x: 2 of 3 ready");
        let done = json!({"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3});
        assert_eq!(judge("rollout", &[daemon_set(done)]), "met");
        assert_eq!(
            judge("rollout", &[daemon_set(json!({}))]),
            "DaemonSet ns/x: the change has not been observed yet"
        );
    }

    #[test]
    fn a_deployment_waits_for_its_old_pods_to_end() {
        let deployment = |updated: i64, replicas: i64, available: i64| {
            json!({"kind": "Deployment", "metadata": {"name": "d", "namespace": "ns", "generation": 1}, "spec": {"replicas": 2},
                "status": {"observedGeneration": 1, "updatedReplicas": updated, "replicas": replicas, "availableReplicas": available}})
        };
        assert_eq!(judge("rollout", &[deployment(1, 2, 2)]), "Deployment ns/d: 1 of 2 updated");
        assert_eq!(judge("rollout", &[deployment(2, 3, 2)]), "Deployment ns/d: 1 old pods are still ending");
        assert_eq!(judge("rollout", &[deployment(2, 2, 1)]), "Deployment ns/d: 1 of 2 ready");
        assert_eq!(judge("rollout", &[deployment(2, 2, 2)]), "met");
    }

    #[test]
    fn a_stateful_set_waits_for_its_revision() {
        let set = |current: &str| {
            json!({"kind": "StatefulSet", "metadata": {"name": "s", "generation": 1}, "spec": {"replicas": 1},
                "status": {"observedGeneration": 1, "readyReplicas": 1, "updatedReplicas": 0, "currentRevision": current, "updateRevision": "b"}})
        };
        assert_eq!(judge("rollout", &[set("a")]), "StatefulSet s: 0 of 1 updated");
        assert_eq!(judge("rollout", &[set("b")]), "met");
    }

    #[test]
    fn conditions_say_why_they_do_not_hold() {
        let node = |status: &str| {
            json!({"kind": "Node", "metadata": {"name": "w1"}, "status": {"conditions": [
                {"type": "Ready", "status": status, "reason": "KubeletNotReady", "message": "cni plugin not initialized"}]}})
        };
        assert_eq!(judge("condition=Ready", &[node("True")]), "met");
        assert_eq!(
            judge("condition=Ready", &[node("False")]),
            "Node w1: Ready is False (KubeletNotReady: cni plugin not initialized)"
        );
        assert_eq!(judge("condition=Ready=False", &[node("False")]), "met");
        let silent = json!({"kind": "Node", "metadata": {"name": "w2"}});
        assert_eq!(judge("condition=Ready", &[node("True"), silent]), "Node w2: says nothing of Ready yet");
    }

    #[test]
    fn presence_and_absence() {
        assert_eq!(judge("exists", &[]), "daemonset ns/x is not there yet");
        assert_eq!(judge("rollout", &[]), "daemonset ns/x is not there yet");
        assert_eq!(judge("exists", &[daemon_set(json!({}))]), "met");
        assert_eq!(judge("deleted", &[]), "met");
        let held = json!({"metadata": {"finalizers": ["a/b"]}});
        assert_eq!(judge("deleted", &[held]), "daemonset ns/x is still there, held by a/b");
    }

    #[test]
    fn many_unmet_objects_are_counted() {
        let nodes: Vec<Value> =
            (0..5).map(|n| json!({"kind": "Node", "metadata": {"name": format!("w{n}")}})).collect();
        let reason = judge("condition=Ready", &nodes);
        assert!(
            reason.starts_with("5 of 5 are not there yet: Node w0:") && reason.ends_with("; …"),
            "{reason}"
        );
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["ready", "condition=", "condition", "rollout=x", "field=a=b", "field=/a"] {
            assert_eq!(Condition::parse(text).unwrap_err().code, "ksp::kube::condition");
        }
        for text in ["node", "/x", "node/", "a/b/c"] {
            assert!(Subject::parse(text, "").is_err(), "{text}");
        }
    }
}
