//! Small stages for tests.

use std::sync::Arc;

use semver::{Version, VersionReq};

use crate::op::{Action, Modifiers, OpId, Recorded};
use crate::plan::StagePlan;
use crate::plugin::PluginId;
use crate::plugin::metadata::{Limits, Metadata, Scope, Slot};

/// Metadata from words like `gives:network gives-node:runtime needs:runtime wants:dns`.
pub fn metadata(name: &str, slots: &str) -> Metadata {
    let with = |prefix: &str| -> Vec<String> {
        slots.split_whitespace().filter_map(|word| word.strip_prefix(prefix)).map(str::to_owned).collect()
    };
    let offer = |scope| move |slot| Slot { slot, scope, when: None };
    let mut provides: Vec<Slot> = with("gives:").into_iter().map(offer(Scope::Cluster)).collect();
    provides.extend(with("gives-node:").into_iter().map(offer(Scope::Node)));
    Metadata {
        name: format!("test/{name}"),
        version: Version::new(1, 0, 0),
        api: VersionReq::STAR,
        summary: String::new(),
        license: String::new(),
        provides,
        requires: with("needs:"),
        wants: with("wants:"),
        kubernetes: None,
        capabilities: Vec::new(),
        probe: Vec::new(),
        artifact: std::collections::BTreeMap::default(),
        limits: Limits::default(),
        config_schema: serde_json::Value::Null,
    }
}

/// A stage of a plan with these ops, numbered in order.
pub fn stage(name: &str, slots: &str, ops: Vec<(Action, Vec<u32>, Modifiers)>) -> StagePlan {
    let number = |(index, (action, nodes, modifiers)): (usize, (Action, Vec<u32>, Modifiers))| Recorded {
        id: OpId(u32::try_from(index).unwrap()),
        action,
        nodes: nodes.into_iter().map(crate::node::NodeId).collect(),
        modifiers,
    };
    StagePlan {
        name: name.to_owned(),
        plugin: PluginId {
            name: format!("test/{name}"),
            version: Version::new(1, 0, 0),
            digest: String::new(),
        },
        metadata: Arc::new(metadata(name, slots)),
        nodes: None,
        ops: ops.into_iter().enumerate().map(number).collect(),
        outputs: std::collections::BTreeMap::default(),
        verdicts: std::collections::BTreeMap::default(),
        pending: std::collections::BTreeMap::default(),
    }
}
