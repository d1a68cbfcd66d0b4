//! Nodes and their facts.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::rc::Rc;

use serde::Deserialize;
use serde_json::Value;

use crate::bindings::ksp::plugin::{cluster, facts};
use crate::{Error, Result};

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the Kubernetes control plane.
    ControlPlane,
    /// Runs a member of an external etcd.
    Etcd,
    /// Runs workloads.
    Worker,
}

/// What the manifest says of a node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NodeSpec {
    /// Also the name of the Kubernetes node.
    pub name: String,
    /// The IP address that other nodes reach it by.
    pub address: String,
    /// What it is for; never empty.
    pub roles: Vec<Role>,
    /// Kubernetes labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Kubernetes taints, `key=value:Effect`.
    #[serde(default)]
    pub taints: Vec<String>,
}

/// A machine that is managed: its number and, as if they were its own fields, what the manifest says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its place in the manifest.
    pub id: u32,
    spec: Rc<NodeSpec>,
}

impl Deref for Node {
    type Target = NodeSpec;
    fn deref(&self) -> &NodeSpec {
        &self.spec
    }
}

impl NodeSpec {
    /// Its address with a port, brackets around IPv6.
    pub fn at_port(&self, port: u16) -> String {
        let address = &self.address;
        if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
    }
}

impl Node {
    /// The node of a number, as `run` and `teardown` are given.
    ///
    /// # Errors
    /// There is no such node.
    pub fn load(id: u32) -> Result<Self> {
        let spec = serde_json::from_str(&cluster::node(id)?)?;
        Ok(Self { id, spec: Rc::new(spec) })
    }

    /// For unit tests of functions that take nodes.
    pub fn for_test(id: u32, spec: NodeSpec) -> Self {
        Self { id, spec: Rc::new(spec) }
    }

    /// True when it has the role.
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// What the host read from it.
    pub fn facts(&self) -> Facts {
        Facts { node: self.id }
    }
}

/// Some nodes, in the manifest's order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nodes(Vec<Node>);

impl Nodes {
    /// The nodes that match a selector.
    ///
    /// # Errors
    /// The selector is not understood.
    pub fn select(selector: &str) -> Result<Self> {
        cluster::nodes(selector)?.into_iter().map(Node::load).collect()
    }

    /// The nodes whose facts are known, with them. A node that cannot be reached has none; the host skips the ops that are
    /// recorded for it, so only decisions that rest on facts need this.
    pub fn with_facts(&self) -> impl Iterator<Item = (&Node, Facts)> {
        self.0.iter().map(|node| (node, node.facts())).filter(|(_, facts)| facts.known())
    }

    /// Those for which the answer is yes.
    #[must_use]
    pub fn filter(&self, mut keep: impl FnMut(&Node) -> bool) -> Self {
        self.0.iter().filter(|node| keep(node)).cloned().collect()
    }
}

impl Deref for Nodes {
    type Target = [Node];
    fn deref(&self) -> &[Node] {
        &self.0
    }
}

impl FromIterator<Node> for Nodes {
    fn from_iter<I: IntoIterator<Item = Node>>(nodes: I) -> Self {
        Self(nodes.into_iter().collect())
    }
}

impl<'a> IntoIterator for &'a Nodes {
    type Item = &'a Node;
    type IntoIter = std::slice::Iter<'a, Node>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl IntoIterator for Nodes {
    type Item = Node;
    type IntoIter = std::vec::IntoIter<Node>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Where an op takes effect: `&Nodes`, `&Node` or a slice of nodes.
pub trait Targets {
    /// The nodes' numbers.
    fn ids(&self) -> Vec<u32>;
}

impl Targets for &Nodes {
    fn ids(&self) -> Vec<u32> {
        self.iter().map(|node| node.id).collect()
    }
}

impl Targets for &Node {
    fn ids(&self) -> Vec<u32> {
        vec![self.id]
    }
}

impl Targets for &[Node] {
    fn ids(&self) -> Vec<u32> {
        self.iter().map(|node| node.id).collect()
    }
}

/// What the host read from a node at the start of the run. Keys are dotted: "os.id", "kernel.release".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    node: u32,
}

/// What a probe that the plugin's manifest declares has answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Probe {
    /// Exit status.
    pub status: i32,
    /// Standard output.
    #[serde(default)]
    pub stdout: String,
}

impl Facts {
    /// False for a node that could not be read: all other answers are empty then.
    pub fn known(&self) -> bool {
        facts::get(self.node, "arch").is_ok()
    }

    /// Any fact.
    pub fn get(&self, key: &str) -> Option<Value> {
        let json = facts::get(self.node, key).ok().flatten()?;
        serde_json::from_str(&json).ok()
    }

    /// A text.
    pub fn text(&self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_u64()
    }

    /// A yes or no; no when it is not known.
    pub fn is(&self, key: &str) -> bool {
        self.get(key).and_then(|value| value.as_bool()).unwrap_or(false)
    }

    /// A list of texts; empty when it is not known.
    pub fn list(&self, key: &str) -> Vec<String> {
        self.read(key).unwrap_or_default()
    }

    /// A fact as a type of your own; none when it is not known or has another shape.
    pub fn read<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        serde_json::from_value(self.get(key)?).ok()
    }

    /// What a declared probe has answered.
    pub fn probe(&self, name: &str) -> Option<Probe> {
        self.read(&format!("probe.{name}"))
    }

    /// "amd64" or "arm64", as release files name it; "unknown" when it is not known.
    pub fn arch(&self) -> String {
        self.text("arch").unwrap_or_else(|| "unknown".into())
    }

    /// All facts as one JSON object.
    ///
    /// # Errors
    /// The node could not be read.
    pub fn all(&self) -> Result<Value> {
        facts::all(self.node).map_err(Error::from).and_then(|json| Ok(serde_json::from_str(&json)?))
    }
}
