//! What a callback of a plugin may reach while it runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;

use crate::kubernetes::Kubernetes;
use crate::node::NodeId;
use crate::op::OpError;
use crate::transport::Session;

/// The nodes as a callback sees them: a session, and the shell text that must stand in front of everything that changes
/// something.
pub struct Access {
    pub(super) sessions: Arc<BTreeMap<NodeId, Arc<dyn Session>>>,
    /// For the node of the op, what it has to remember too.
    pub(super) here: (NodeId, String),
    /// For the other nodes.
    pub(super) fence: String,
}

impl Access {
    /// The connection to a node, when it is reachable.
    pub fn session(&self, node: NodeId) -> Option<Arc<dyn Session>> {
        self.sessions.get(&node).map(Arc::clone)
    }

    /// Goes in front of every script that changes something on the node.
    pub fn prelude(&self, node: NodeId) -> String {
        if node == self.here.0 { self.here.1.clone() } else { self.fence.clone() }
    }
}

/// Calls a plugin back: `stage.run(tag, node)`.
#[async_trait]
pub trait Callback: Send + Sync {
    /// True when it changed something.
    ///
    /// # Errors
    /// What the plugin said, or why it was ended.
    async fn run(&self, access: Arc<Access>, tag: &str, node: NodeId) -> Result<bool, OpError>;
}

/// Reaches the Kubernetes API, when there is one.
#[async_trait]
pub trait ClusterAccess: Send + Sync {
    /// A client.
    ///
    /// # Errors
    /// The API does not answer (retryable), or the stage that provides it did not say how to reach it.
    async fn connect(&self) -> Result<Kubernetes, OpError>;
}
