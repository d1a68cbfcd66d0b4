//! Manifests of Kubernetes objects, as plugins hand them over.

use std::fmt;

use kube::core::GroupVersionKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::op::{Content, OpError};

/// An object's name in the API. The version is left out: one object is served in several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Empty for the core group.
    pub group: String,
    /// "DaemonSet".
    pub kind: String,
    /// None for objects of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind, self.name),
            None => write!(f, "{} {}", self.kind, self.name),
        }
    }
}

/// One declared object.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// What it is called.
    pub identity: Identity,
    /// The API version it is written in.
    pub kind: GroupVersionKind,
    /// The whole of it, without what only the API may write.
    pub value: Value,
}

/// When an object is applied: lower first. Deleting goes by [`delete_rank`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Namespace,
    Definition,
    Ordinary,
    Custom,
    Workload,
    Hook,
}

impl Identity {
    /// Where it stands in the order of applying.
    pub(super) fn rank(&self) -> Rank {
        match (self.group.as_str(), self.kind.as_str()) {
            ("", "Namespace") => Rank::Namespace,
            ("apiextensions.k8s.io", "CustomResourceDefinition") => Rank::Definition,
            ("apiregistration.k8s.io", _) => Rank::Hook,
            ("admissionregistration.k8s.io", kind) if kind.ends_with("Configuration") => Rank::Hook,
            ("", "Pod" | "ReplicationController") | ("apps" | "batch", _) => Rank::Workload,
            (group, _) if group.contains('.') && !group.ends_with(".k8s.io") => Rank::Custom,
            _ => Rank::Ordinary,
        }
    }

    /// Where it stands in the order of deleting. Custom objects go first, while the controllers that take off their
    /// finalizers are there; hooks go before the workloads that answer them.
    pub(super) fn delete_rank(&self) -> u8 {
        match self.rank() {
            Rank::Custom => 0,
            Rank::Hook => 1,
            Rank::Workload => 2,
            Rank::Ordinary => 3,
            Rank::Definition => 4,
            Rank::Namespace => 5,
        }
    }
}

/// Reads multi-document YAML or JSON; `List` kinds are taken apart.
///
/// # Errors
/// `ksp::kube::manifest`: not YAML, not objects, or one object twice. Content of a secret manifest is never quoted.
pub fn parse(content: &Content) -> Result<Vec<Object>, OpError> {
    let invalid = |reason: String| {
        OpError::new("ksp::kube::manifest", format!("the manifest of Kubernetes objects {reason}"))
    };
    let text = std::str::from_utf8(content.bytes()).map_err(|_| invalid("is not UTF-8".into()))?;
    // 0644 is octal, as kubectl reads it; yes, no, on, off, y and n are texts, which they are meant to be far more often.
    let options =
        serde_saphyr::options! { legacy_octal_numbers: true, strict_booleans: true, with_snippet: false };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options).map_err(|error| {
        let place = error
            .location()
            .map_or(String::new(), |at| format!(" at line {}, column {}", at.line(), at.column()));
        match content {
            Content::Plain(_) => invalid(format!("is not YAML: {error}")),
            Content::Secret(_) => invalid(format!("is not YAML{place}")),
        }
    })?;
    let mut objects: Vec<Object> = Vec::new();
    for (place, document) in flatten(documents).into_iter().enumerate() {
        let object = read(document)
            .map_err(|reason| invalid(format!("is wrong in document {}: {reason}", place + 1)))?;
        if objects.iter().any(|known| known.identity == object.identity) {
            return Err(invalid(format!("declares {} twice", object.identity)));
        }
        objects.push(object);
    }
    Ok(objects)
}

fn flatten(documents: Vec<Value>) -> Vec<Value> {
    let mut flat = Vec::new();
    for mut document in documents {
        let is_list = document["kind"].as_str().is_some_and(|kind| kind.ends_with("List"));
        match document.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) if is_list => flat.extend(flatten(items)),
            Some(items) => {
                document["items"] = items;
                flat.push(document);
            }
            None if document.is_null() => {}
            None => flat.push(document),
        }
    }
    flat
}

/// Fields that only the API writes; a manifest exported from a cluster has them.
const SERVER_FIELDS: [&str; 6] =
    ["managedFields", "resourceVersion", "uid", "creationTimestamp", "generation", "selfLink"];

fn read(mut value: Value) -> Result<Object, String> {
    let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
    let api_version = text("/apiVersion").ok_or("apiVersion is missing")?.to_owned();
    let kind = text("/kind").ok_or("kind is missing")?.to_owned();
    let name = text("/metadata/name").ok_or_else(|| format!("{kind} has no metadata.name"))?.to_owned();
    let namespace = text("/metadata/namespace").map(str::to_owned);
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    if let Some(object) = value.as_object_mut() {
        object.shift_remove("status");
    }
    if let Some(metadata) = value["metadata"].as_object_mut() {
        SERVER_FIELDS.iter().for_each(|field| drop(metadata.shift_remove(*field)));
    }
    let identity = Identity { group: group.to_owned(), kind: kind.clone(), namespace, name };
    Ok(Object { identity, kind: GroupVersionKind::gvk(group, version, &kind), value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Secret;

    fn plain(text: &str) -> Content {
        Content::Plain(bytes::Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn documents_and_lists_become_objects() {
        let text = r#"
# a comment only
---
apiVersion: v1
kind: Namespace
metadata: {name: a, creationTimestamp: null}
status: {}
---
---
apiVersion: v1
kind: List
items:
- {apiVersion: apps/v1, kind: DaemonSet, metadata: {name: b, namespace: a}, spec: {mode: 0644}}
- apiVersion: rbac.authorization.k8s.io/v1
  kind: ClusterRole
  metadata: {name: c}
"#;
        let objects = parse(&plain(text)).unwrap();
        let names: Vec<String> = objects.iter().map(|object| object.identity.to_string()).collect();
        assert_eq!(names, ["Namespace a", "DaemonSet a/b", "ClusterRole c"]);
        assert_eq!(
            objects[0].value,
            serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}})
        );
        assert_eq!(objects[1].value["spec"]["mode"], 0o644);
        assert_eq!(objects[2].kind, GroupVersionKind::gvk("rbac.authorization.k8s.io", "v1", "ClusterRole"));
    }

    #[test]
    fn json_is_read_too() {
        let objects = parse(&plain(
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"on":"off"}}"#,
        ));
        assert_eq!(objects.unwrap()[0].value["data"]["on"], "off");
    }

    #[test]
    fn nonsense_is_named() {
        let cases = [
            ("kind: X\nmetadata: {name: a}", "document 1: apiVersion is missing"),
            ("apiVersion: v1\nkind: X\nmetadata: {generateName: a-}", "X has no metadata.name"),
            ("a: [", "is not YAML"),
            ("just text", "apiVersion is missing"),
        ];
        for (text, expected) in cases {
            let error = parse(&plain(text)).unwrap_err();
            assert!(error.message.contains(expected), "{error}");
        }
        let twice = "apiVersion: v1\nkind: X\nmetadata: {name: a}\n";
        let error = parse(&plain(&format!("{twice}---\n{twice}"))).unwrap_err();
        assert!(error.message.ends_with("declares X a twice"), "{error}");
    }

    #[test]
    fn a_secret_manifest_is_never_quoted() {
        for text in ["hunter22: [", "hunter22", "a: 1\na: hunter22"] {
            let error = parse(&Content::Secret(Secret::new(text))).unwrap_err();
            assert!(!error.message.contains("hunter22"), "{error}");
        }
    }

    #[test]
    fn what_others_need_comes_first() {
        let rank = |group: &str, kind: &str| {
            Identity { group: group.into(), kind: kind.into(), namespace: None, name: "x".into() }.rank()
        };
        let order = [
            rank("", "Namespace"),
            rank("apiextensions.k8s.io", "CustomResourceDefinition"),
            rank("rbac.authorization.k8s.io", "ClusterRole"),
            rank("crd.projectcalico.org", "IPPool"),
            rank("apps", "DaemonSet"),
            rank("apiregistration.k8s.io", "APIService"),
        ];
        assert!(order.windows(2).all(|pair| pair[0] < pair[1]), "{order:?}");
        assert_eq!(rank("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"), Rank::Ordinary);
    }
}
