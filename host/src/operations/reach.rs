//! Connecting to nodes and reading what ksp left on them, for commands that need no plan.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt as _, stream};

use super::context::Context;
use super::{Class, Failure};
use crate::diagnostic::Diagnostic;
use crate::event::Event;
use crate::facts::{self, Gathered};
use crate::manifest::{self, Manifest};
use crate::node::{Node, Role};
use crate::transport::{self, ConnectOptions, Session};

/// Connections that are made at a time.
const AT_A_TIME: usize = 64;

/// A node that answered.
pub struct Reached {
    /// Which.
    pub node: Node,
    /// The connection.
    pub session: Arc<dyn Session>,
    /// What is known of it.
    pub gathered: Gathered,
}

/// Reads the manifest; its warnings are not what these commands are about.
///
/// # Errors
/// All findings of an invalid manifest.
pub fn load(path: &Path) -> Result<Manifest, Failure> {
    let loaded = manifest::load(path);
    loaded.manifest.ok_or_else(|| Failure::all(Class::Invalid, loaded.findings))
}

/// The nodes with these names; all when none is named.
///
/// # Errors
/// A name is not in the manifest.
pub fn named<'a>(manifest: &'a Manifest, names: &[String]) -> Result<Vec<&'a Node>, Failure> {
    if let Some(wrong) = names.iter().find(|name| manifest.nodes.iter().all(|node| node.name != **name)) {
        let known: Vec<&str> = manifest.nodes.iter().map(|node| node.name.as_str()).collect();
        let finding =
            Diagnostic::error("ksp::usage::unknown-node", format!("the manifest has no node `{wrong}`"))
                .hint(format!("it has {}", known.join(", ")));
        return Err(Failure::new(Class::Usage, finding));
    }
    Ok(manifest.nodes.iter().filter(|node| names.is_empty() || names.contains(&node.name)).collect())
}

/// Connects to nodes and reads them. The second list names those that did not answer, and why.
pub async fn reach(context: &Context, nodes: &[&Node]) -> (Vec<Reached>, Vec<(String, String)>) {
    let phase = "nodes".to_owned();
    context.events.emit(Event::PhaseStarted { phase: phase.clone() });
    let began = Instant::now();
    let connector =
        transport::connector(ConnectOptions { accept_new: context.accept_new, ..ConnectOptions::default() });
    let connect = |node: Node| {
        let connector = Arc::clone(&connector);
        async move {
            let session =
                connector.connect(&node).await.map_err(|error| (node.name.clone(), error.to_string()))?;
            let gathered = facts::gather(&*session, &[], node.is(Role::ControlPlane)).await;
            let gathered = gathered.map_err(|error| (node.name.clone(), error.to_string()))?;
            Ok(Reached { node, session, gathered })
        }
    };
    let work = nodes.iter().map(|node| connect((*node).clone()));
    let answers: Vec<Result<Reached, (String, String)>> =
        stream::iter(work).buffered(AT_A_TIME).collect().await;
    let mut reached = Vec::new();
    let mut unreachable = Vec::new();
    for answer in answers {
        match answer {
            Ok(node) => reached.push(node),
            Err((node, reason)) => {
                context.events.emit(Event::NodeUnreachable { node: node.clone(), reason: reason.clone() });
                unreachable.push((node, reason));
            }
        }
    }
    let detail = format!("{}/{} nodes", reached.len(), nodes.len());
    context.events.emit(Event::PhaseFinished { phase, detail, seconds: began.elapsed().as_secs_f64() });
    (reached, unreachable)
}
