//! What stages published for later ones. Stages that provide the same slot on different nodes each have their own values.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::node::NodeId;
use crate::plugin::metadata::Metadata;

/// By slot. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outputs(Arc<BTreeMap<String, Vec<Published>>>);

/// What one stage published.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Published {
    /// The nodes it is for, when it is not for all.
    nodes: Option<BTreeSet<NodeId>>,
    values: BTreeMap<String, String>,
}

impl Outputs {
    /// Takes up what a stage published.
    pub fn add(
        &mut self,
        metadata: &Metadata,
        nodes: Option<&BTreeSet<NodeId>>,
        values: &BTreeMap<String, String>,
    ) {
        for slot in metadata.provides.iter().filter(|_| !values.is_empty()) {
            self.add_to(&slot.slot, nodes, values);
        }
    }

    /// As [`Self::add`], for one slot.
    pub fn add_to(
        &mut self,
        slot: &str,
        nodes: Option<&BTreeSet<NodeId>>,
        values: &BTreeMap<String, String>,
    ) {
        let published = Published { nodes: nodes.cloned(), values: values.clone() };
        Arc::make_mut(&mut self.0).entry(slot.to_owned()).or_default().push(published);
    }

    /// The value for the whole cluster: none when nobody published it, or when it is not the same on all nodes.
    pub fn get(&self, slot: &str, key: &str) -> Option<&str> {
        let mut values = self.0.get(slot)?.iter().map(|published| published.values.get(key));
        let first = values.next()??;
        values.all(|other| other == Some(first)).then_some(first)
    }

    /// The value on a node.
    pub fn on(&self, node: NodeId, slot: &str, key: &str) -> Option<&str> {
        let here =
            |published: &&Published| published.nodes.as_ref().is_none_or(|nodes| nodes.contains(&node));
        self.0.get(slot)?.iter().find(here)?.values.get(key).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_own_and_the_cluster_what_all_share() {
        let values = |socket: &str| {
            BTreeMap::from([("socket".to_owned(), socket.to_owned()), ("api".to_owned(), "v1".to_owned())])
        };
        let mut outputs = Outputs::default();
        outputs.add_to("runtime", Some(&BTreeSet::from([NodeId(0)])), &values("a"));
        outputs.add_to("runtime", Some(&BTreeSet::from([NodeId(1)])), &values("b"));
        outputs.add_to("etcd", None, &values("e"));
        assert_eq!(outputs.on(NodeId(0), "runtime", "socket"), Some("a"));
        assert_eq!(outputs.on(NodeId(1), "runtime", "socket"), Some("b"));
        assert_eq!(outputs.on(NodeId(2), "runtime", "socket"), None);
        assert_eq!(outputs.on(NodeId(2), "etcd", "socket"), Some("e"));
        assert_eq!(outputs.get("runtime", "socket"), None);
        assert_eq!(outputs.get("runtime", "api"), Some("v1"));
        assert_eq!(outputs.get("etcd", "socket"), Some("e"));
        assert_eq!(outputs.get("dns", "socket"), None);
    }
}
