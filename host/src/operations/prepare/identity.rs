//! Whose nodes these are: the cluster's memory is chosen among the control planes, and every machine must be the one that it was.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::facts::Gathered;
use crate::manifest::Manifest;
use crate::node::{Node, NodeId, Role};
use crate::operations::{Class, Failure};
use crate::state::ClusterState;

/// The cluster's memory: the newest one, or a new one when no machine was ever touched.
///
/// # Errors
/// Machines of another cluster, machines that were swapped, or a memory that exists and cannot be read.
pub fn settle(
    manifest: &Manifest,
    gathered: &BTreeMap<NodeId, Gathered>,
    unreachable: &BTreeMap<NodeId, String>,
) -> Result<ClusterState, Failure> {
    let refuse = |finding: Diagnostic| Failure::new(Class::Unreachable, finding);
    let states = gathered.values().filter_map(|it| it.state.clone());
    let newest = ClusterState::newest(states).map_err(|error| refuse(error.into()))?;
    let wrong = strangers(manifest, gathered, newest.as_ref());
    if !wrong.is_empty() {
        return Err(Failure::all(Class::Unreachable, wrong));
    }
    if let Some(state) = newest {
        return Ok(state);
    }
    let known: Vec<&Node> = manifest
        .nodes
        .iter()
        .filter(|node| gathered.get(&node.id).is_some_and(|it| it.marks.identity.is_some()))
        .collect();
    if known.is_empty() {
        return ClusterState::new().map_err(|error| refuse(error.into()));
    }
    Err(refuse(forgotten(manifest, &known, unreachable)))
}

/// Nodes are part of a cluster whose memory is nowhere to be found. A new one would replace all its certificates.
fn forgotten(manifest: &Manifest, known: &[&Node], unreachable: &BTreeMap<NodeId, String>) -> Diagnostic {
    let names: Vec<&str> = known.iter().map(|node| node.name.as_str()).collect();
    let message = format!(
        "{} belong to a cluster, but no control plane that was reached keeps its state (/var/lib/ksp/state.json)",
        names.join(", ")
    );
    let planes = manifest.nodes.iter().filter(|node| node.is(Role::ControlPlane));
    let away: Vec<&str> =
        planes.filter(|node| unreachable.contains_key(&node.id)).map(|node| node.name.as_str()).collect();
    let hint = if away.is_empty() {
        "put back the file from a backup; if this cluster is to be made anew, run `ksp reset` first"
            .to_owned()
    } else {
        format!("make {} reachable again", away.join(", "))
    };
    Diagnostic::error("ksp::state::missing", message).hint(hint)
}

/// Between the beginning and the end of a restore members are neither what they were nor what they will be: nobody else may touch
/// them.
pub fn unfinished_restore(manifest: &Manifest, gathered: &BTreeMap<NodeId, Gathered>) -> Option<Diagnostic> {
    let restoring = |node: &&Node| gathered.get(&node.id).is_some_and(|it| it.marks.restoring);
    let nodes: Vec<&str> = manifest.nodes.iter().filter(restoring).map(|node| node.name.as_str()).collect();
    (!nodes.is_empty()).then(|| {
        let message = format!("a restore of etcd has not come to its end on {}", nodes.join(", "));
        Diagnostic::error("ksp::etcd::restore-unfinished", message)
            .hint("run the same `ksp etcd restore` again: it goes on where it was interrupted")
    })
}

fn strangers(
    manifest: &Manifest,
    gathered: &BTreeMap<NodeId, Gathered>,
    state: Option<&ClusterState>,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let ids =
        gathered.values().filter_map(|it| it.marks.identity.as_ref()).map(|identity| &identity.cluster_id);
    let own = state.map(|state| &state.cluster_id).or_else(|| ids.clone().next());
    for node in &manifest.nodes {
        let Some(it) = gathered.get(&node.id) else { continue };
        let Some(identity) = &it.marks.identity else { continue };
        if own.is_some_and(|own| *own != identity.cluster_id) {
            let message = format!("it belongs to another cluster, as node `{}`", identity.node);
            findings.push(
                Diagnostic::error("ksp::node::foreign", message)
                    .on_node(&node.name)
                    .note(format!("its cluster id is {}", identity.cluster_id))
                    .hint("check the node's address; to take the machine over, run `ksp reset` with its old manifest"),
            );
        } else if identity.node != node.name {
            let message = format!("the machine is node `{}` of this cluster", identity.node);
            findings.push(
                Diagnostic::error("ksp::node::renamed", message)
                    .on_node(&node.name)
                    .hint("check the node's address; a node keeps its name until it is reset"),
            );
        } else if it.facts.text("machine-id").is_some_and(|now| now != identity.machine_id) {
            let message = "another machine answers at this node's address (its machine-id changed)";
            findings.push(
                Diagnostic::error("ksp::node::swapped", message)
                    .on_node(&node.name)
                    .note(format!("expected {}, found {}", identity.machine_id, it.facts.text("machine-id").unwrap_or("")))
                    .hint("if the machine was reinstalled or cloned, remove /var/lib/ksp/node.json on it and run again"),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Facts, Identity, NodeMarks};
    use crate::ledger::Ledger;
    use crate::operations::testing;

    fn gathered(node: &str, cluster: &str, machine: &str, state: Option<&ClusterState>) -> Gathered {
        let identity = (!cluster.is_empty()).then(|| Identity {
            cluster_id: cluster.into(),
            node: node.into(),
            machine_id: "m1".into(),
        });
        Gathered {
            facts: Facts(serde_json::json!({ "machine-id": machine })),
            ledger: Ledger::default(),
            state: state.cloned(),
            marks: NodeMarks { identity, ..NodeMarks::default() },
        }
    }

    fn codes(result: Result<ClusterState, Failure>) -> Vec<String> {
        match result {
            Ok(_) => Vec::new(),
            Err(failure) => failure.findings.into_iter().map(|finding| finding.code).collect(),
        }
    }

    fn settle_one(it: Gathered) -> Result<ClusterState, Failure> {
        let manifest = testing::manifest(1, 0);
        let id = manifest.nodes[0].id;
        settle(&manifest, &[(id, it)].into(), &BTreeMap::new())
    }

    #[test]
    fn an_unfinished_restore_is_named_with_its_nodes() {
        let manifest = testing::manifest(3, 0);
        let mut all: BTreeMap<NodeId, Gathered> =
            manifest.nodes.iter().map(|node| (node.id, gathered(&node.name, "own", "m1", None))).collect();
        assert_eq!(unfinished_restore(&manifest, &all), None);
        let last = &manifest.nodes[2];
        all.get_mut(&last.id).unwrap().marks.restoring = true;
        let finding = unfinished_restore(&manifest, &all).unwrap();
        assert!(finding.is_error() && finding.message.ends_with(&format!("on {}", last.name)));
    }

    #[test]
    fn machines_must_be_those_that_they_were() {
        let state = ClusterState { cluster_id: "own".into(), generation: 3, ..ClusterState::default() };
        let name = testing::manifest(1, 0).nodes[0].name.clone();
        let ask = |node: &str, cluster: &str, machine: &str| {
            codes(settle_one(gathered(node, cluster, machine, Some(&state))))
        };
        assert_eq!(ask(&name, "own", "m1"), Vec::<String>::new());
        assert_eq!(ask(&name, "other", "m1"), ["ksp::node::foreign"]);
        assert_eq!(ask("w9", "own", "m1"), ["ksp::node::renamed"]);
        assert_eq!(ask(&name, "own", "m2"), ["ksp::node::swapped"]);
    }

    #[test]
    fn a_lost_memory_is_not_replaced() {
        let name = testing::manifest(1, 0).nodes[0].name.clone();
        assert_eq!(codes(settle_one(gathered(&name, "own", "m1", None))), ["ksp::state::missing"]);
        assert_eq!(settle_one(gathered(&name, "", "m1", None)).unwrap().generation, 0);
    }
}
