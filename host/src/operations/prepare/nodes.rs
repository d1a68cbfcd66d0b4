//! Connects to all nodes and reads them, beside each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt as _;

use crate::diagnostic::Diagnostic;
use crate::facts::{self, Facts, Gathered, Probe};
use crate::node::{Node, NodeId, Role};
use crate::transport::{Connector, Session, TransportError};

/// Nodes at a time.
const AT_A_TIME: usize = 64;

/// Ports that only a machine listens on that is a part of a cluster already: kubelet, API server, etcd.
const SERVING_PORTS: [u64; 3] = [10250, 6443, 2379];

/// Written by a kubelet that the cluster knows.
const KUBELET_IDENTITY: &str = "/etc/kubernetes/kubelet.conf";

/// What came of it.
#[derive(Default)]
pub struct Reached {
    /// Connections to the nodes that answered.
    pub sessions: BTreeMap<NodeId, Arc<dyn Session>>,
    /// What they answered.
    pub gathered: BTreeMap<NodeId, Gathered>,
    /// The others, and why.
    pub unreachable: BTreeMap<NodeId, String>,
    /// What stops everything: a machine that is not the one that it was.
    pub stops: Vec<Diagnostic>,
}

/// Connects and reads.
pub async fn reach(connector: Arc<dyn Connector>, nodes: &[Node], probes: &[Probe]) -> Reached {
    let asked = nodes.iter().map(|node| {
        let connector = Arc::clone(&connector);
        async move { (node, one(connector.as_ref(), node, probes).await) }
    });
    let mut answers: Vec<_> = futures_util::stream::iter(asked).buffer_unordered(AT_A_TIME).collect().await;
    answers.sort_by_key(|(node, _)| node.id);
    let mut reached = Reached::default();
    for (node, answer) in answers {
        match answer {
            Ok((session, gathered)) => {
                reached.sessions.insert(node.id, session);
                reached.gathered.insert(node.id, gathered);
            }
            Err(error) => {
                reached.stops.extend(stop(node, &error));
                reached.unreachable.insert(node.id, error.to_string());
            }
        }
    }
    reached
}

async fn one(
    connector: &dyn Connector,
    node: &Node,
    probes: &[Probe],
) -> Result<(Arc<dyn Session>, Gathered), TransportError> {
    let session = connector.connect(node).await?;
    let gathered = facts::gather(session.as_ref(), probes, node.is(Role::ControlPlane)).await?;
    Ok((session, gathered))
}

/// A host key that changed is never a matter of one node only: somebody may be in between.
fn stop(node: &Node, error: &TransportError) -> Option<Diagnostic> {
    let TransportError::HostKey { changed: true, .. } = error else { return None };
    let finding =
        Diagnostic::error("ksp::transport::host-key-changed", error.to_string()).on_node(&node.name);
    Some(finding.hint(
        "find out why the key changed; when the machine was reinstalled, remove its old key from known_hosts",
    ))
}

/// True when the machine works for a cluster already, or would if it were well: one whose kubelet an interrupted run has stopped
/// is down, and others have to wait until it is back.
pub fn serves(facts: &Facts) -> bool {
    listens_on(facts, &SERVING_PORTS) || has_joined(facts)
}

fn has_joined(facts: &Facts) -> bool {
    let paths = facts.get("paths").and_then(serde_json::Value::as_array);
    paths.into_iter().flatten().any(|path| path.as_str() == Some(KUBELET_IDENTITY))
}

/// True when something on the machine listens on one of these ports.
pub fn listens_on(facts: &Facts, ports: &[u64]) -> bool {
    let sockets = facts.get("listening").and_then(serde_json::Value::as_array);
    let port = |socket: &serde_json::Value| socket.get("port").and_then(serde_json::Value::as_u64);
    sockets.into_iter().flatten().filter_map(port).any(|port| ports.contains(&port))
}
