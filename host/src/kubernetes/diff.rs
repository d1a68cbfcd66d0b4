//! What would change in an object, for people: YAML of the fields that differ, with the way to them.

use serde_json::{Map, Value, json};
use similar::{ChangeTag, TextDiff};

use super::yaml;
use crate::redact::MASK;

/// More lines than this of one object are counted, not shown.
const LONGEST: usize = 60;

/// An object without what differs from one answer to the next.
pub(super) fn comparable(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for field in ["managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"] {
            metadata.shift_remove(field);
        }
        // Counts generations.
        if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
            annotations.shift_remove("deprecated.daemonset.template.generation");
        }
    }
    object
}

/// Lines with `+`, `-` or a blank in front; values of Secrets are hidden.
pub(super) fn lines(old: &Value, new: &Value) -> Vec<String> {
    let (mut old, mut new) = reduce(old, new);
    if [&old, &new].iter().any(|object| object["kind"] == "Secret") {
        hide_values(&mut old, &mut new);
    }
    let (old, new) = (yaml(&drop_kind(old)), yaml(&drop_kind(new)));
    let mut lines: Vec<String> = TextDiff::from_lines(&old, &new)
        .iter_all_changes()
        .map(|change| {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            format!("{sign}   {}", change.value().trim_end_matches('\n'))
        })
        .collect();
    if lines.len() > LONGEST {
        let more = lines.len() - LONGEST;
        lines.truncate(LONGEST);
        lines.push(format!("    … {more} more lines"));
    }
    lines
}

/// Both sides with only what differs; elements of lists keep their name.
fn reduce(old: &Value, new: &Value) -> (Value, Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let (mut less, mut more) = (Map::new(), Map::new());
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                match (old.get(key), new.get(key)) {
                    (Some(before), Some(after)) if before == after => {
                        if key == "name" || key == "kind" {
                            less.insert(key.clone(), before.clone());
                            more.insert(key.clone(), after.clone());
                        }
                    }
                    (Some(before), Some(after)) => {
                        let (fewer, others) = reduce(before, after);
                        // A map of which nothing is left differs only in what the other side has.
                        if !is_empty_map(&fewer) || is_empty_map(before) {
                            less.insert(key.clone(), fewer);
                        }
                        if !is_empty_map(&others) || is_empty_map(after) {
                            more.insert(key.clone(), others);
                        }
                    }
                    (before, after) => {
                        before.map(|value| less.insert(key.clone(), value.clone()));
                        after.map(|value| more.insert(key.clone(), value.clone()));
                    }
                }
            }
            (Value::Object(less), Value::Object(more))
        }
        (Value::Array(old), Value::Array(new))
            if old.len() == new.len() && old.iter().all(Value::is_object) =>
        {
            let pairs = old.iter().zip(new).filter(|(old, new)| old != new);
            let (less, more) = pairs.map(|(old, new)| reduce(old, new)).unzip();
            (Value::Array(less), Value::Array(more))
        }
        (old, new) => (old.clone(), new.clone()),
    }
}

fn is_empty_map(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
}

fn hide_values(old: &mut Value, new: &mut Value) {
    for section in ["data", "stringData"] {
        for (side, text) in [(&mut *old, MASK.to_owned()), (&mut *new, format!("{MASK}, new value"))] {
            if let Some(values) = side.get_mut(section).and_then(Value::as_object_mut) {
                values.values_mut().for_each(|value| *value = json!(text));
            }
        }
    }
    // An annotation of kubectl's holds the whole object.
    for side in [old, new] {
        if let Some(values) = side.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut) {
            values.values_mut().for_each(|value| *value = json!(MASK));
        }
    }
}

fn drop_kind(mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.shift_remove("kind");
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_shown_with_the_way_to_it() {
        let old = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x", "labels": {"a": "b"}},
            "spec": {"template": {"spec": {"hostNetwork": true, "containers": [
                {"name": "one", "image": "img:1", "args": ["-a"]}, {"name": "two", "image": "img:1"}]}}}});
        let mut new = old.clone();
        new["spec"]["template"]["spec"]["containers"][0]["image"] = json!("img:2");
        new["metadata"]["labels"]["c"] = json!("d");
        insta::assert_snapshot!(lines(&old, &new).join("\n"));
    }

    #[test]
    fn values_of_secrets_are_hidden() {
        let old = json!({"kind": "Secret", "metadata": {"name": "x", "annotations": {"last": "b2xk"}}, "data": {"a": "b2xk", "same": "eA=="}});
        let new = json!({"kind": "Secret", "metadata": {"name": "x", "annotations": {"last": "bmV3"}}, "data": {"a": "bmV3", "same": "eA==", "b": "bmV3"}});
        let shown = lines(&old, &new).join("\n");
        assert!(!shown.contains("b2xk") && !shown.contains("bmV3"), "{shown}");
        insta::assert_snapshot!(shown);
    }

    #[test]
    fn what_the_api_writes_is_no_difference() {
        let one = json!({"metadata": {"name": "x", "resourceVersion": "1", "generation": 1, "managedFields": []}, "status": {"a": 1}});
        let other =
            json!({"metadata": {"name": "x", "resourceVersion": "2", "generation": 2, "managedFields": [1]}});
        assert_eq!(comparable(one), comparable(other));
    }
}
