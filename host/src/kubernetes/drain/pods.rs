//! Which pods leave a node that is drained, and why others do not.

use k8s_openapi::api::core::v1::Pod;

/// On pods that the kubelet made from a file: the API only shows them.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// What becomes of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is static, belongs to a DaemonSet, or has ended: it stays.
    Stays,
    /// It goes, and its owner makes another one elsewhere.
    Goes,
    /// Nobody would make it again.
    Lost,
}

/// Decides on a pod. Data in `emptyDir` volumes goes with it: it is temporary by its nature, and a node that fails takes it as well.
pub fn fate(pod: &Pod) -> Fate {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let mirror = pod.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(MIRROR));
    if mirror || matches!(phase, Some("Succeeded" | "Failed")) {
        return Fate::Stays;
    }
    match owner(pod) {
        Some(("DaemonSet", _)) => Fate::Stays,
        Some(_) => Fate::Goes,
        // What is deleted already is as good as gone.
        None if is_leaving(pod) => Fate::Goes,
        None => Fate::Lost,
    }
}

/// True when it was deleted, or evicted, and has not ended yet.
pub fn is_leaving(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

/// "default/web-1".
pub fn name(pod: &Pod) -> String {
    let part = |part: &Option<String>| part.clone().unwrap_or_default();
    format!("{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
}

/// Kind and name of what keeps the pod there.
pub fn owner(pod: &Pod) -> Option<(&str, &str)> {
    let owners = pod.metadata.owner_references.as_ref()?;
    let controller = owners.iter().find(|owner| owner.controller == Some(true))?;
    Some((&controller.kind, &controller.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(value: serde_json::Value) -> Pod {
        serde_json::from_value(value).unwrap()
    }

    fn owned(kind: &str) -> serde_json::Value {
        json!([{ "apiVersion": "apps/v1", "kind": kind, "name": "x", "uid": "1", "controller": true }])
    }

    #[test]
    fn each_pod_has_its_fate_t62() {
        let cases = [
            (json!({ "metadata": { "name": "a", "ownerReferences": owned("ReplicaSet") } }), Fate::Goes),
            (json!({ "metadata": { "name": "a", "ownerReferences": owned("DaemonSet") } }), Fate::Stays),
            (json!({ "metadata": { "name": "a" } }), Fate::Lost),
            (json!({ "metadata": { "name": "a" }, "status": { "phase": "Succeeded" } }), Fate::Stays),
            (json!({ "metadata": { "name": "a", "deletionTimestamp": "2026-01-01T00:00:00Z" } }), Fate::Goes),
            (
                json!({ "metadata": { "name": "etcd-cp1", "annotations": { MIRROR: "x" },
                    "ownerReferences": owned("Node") } }),
                Fate::Stays,
            ),
            (
                json!({ "metadata": { "name": "a", "ownerReferences": owned("ReplicaSet") },
                    "spec": { "containers": [], "volumes": [{ "name": "v", "emptyDir": {} }] } }),
                Fate::Goes,
            ),
        ];
        for (value, expected) in cases {
            assert_eq!(fate(&pod(value.clone())), expected, "{value}");
        }
    }
}
