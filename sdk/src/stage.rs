//! The trait that a plugin implements, and how the host's calls reach it.

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use crate::bindings::exports::ksp::plugin::stage as wit;
use crate::bindings::ksp::plugin::types::{Diagnostic, Error as WireError};
use crate::bindings::ksp::plugin::{cluster, log, types};
use crate::bindings::teardown::exports::ksp::plugin::teardown as wit_teardown;
use crate::{Context, Error, Finding, Node, Nodes, Result};

/// A stage. The struct is its config: the host has checked it against the JSON Schema of the same struct before any call.
pub trait Stage: DeserializeOwned + JsonSchema {
    /// What the schema cannot say. Pure: of the host only the cluster section, nodes, release files and `log` answer.
    fn validate(&self, cx: &Context) -> Vec<Finding> {
        let _ = cx;
        Vec::new()
    }

    /// Records the ops that make it so. A pure function of manifest, config, facts and outputs; nothing happens now.
    ///
    /// # Errors
    /// It cannot be planned; the run is refused. Several findings at once go through [`crate::Plan::finding`] instead.
    fn plan(&self, cx: &Context) -> Result<()>;

    /// Called on each node of a [`crate::Plan::custom`] op when it takes effect. True when it changed something.
    /// Must be safe to repeat at every point.
    ///
    /// # Errors
    /// It did not work on this node.
    fn run(&self, cx: &Context, tag: &str, node: &Node) -> Result<bool> {
        let _ = (cx, node);
        Err(Error::unsupported("run", format!("this stage records no custom op `{tag}`")))
    }
}

/// For stages that leave more behind than files, units and objects. Register with `register!(Type, teardown)`.
pub trait Teardown: Stage {
    /// Records ops for nodes that are about to be reset: leaving a cluster, draining. They run before what the ledger lists is
    /// removed.
    ///
    /// # Errors
    /// It cannot be planned.
    fn teardown(&self, cx: &Context, nodes: &Nodes) -> Result<()>;
}

impl<T: Stage> wit::Guest for T {
    fn validate(config: String) -> Vec<Diagnostic> {
        report_panics();
        match parse::<T>(&config) {
            Ok(stage) => stage.validate(&Context(())).into_iter().map(|finding| finding.0).collect(),
            Err(error) => vec![Finding::error("", error.message()).0],
        }
    }

    fn plan() -> std::result::Result<(), WireError> {
        report_panics();
        let stage = parse::<T>(&cluster::config())?;
        Ok(stage.plan(&Context(()))?)
    }

    fn run(tag: String, node: u32) -> std::result::Result<bool, WireError> {
        report_panics();
        let stage = parse::<T>(&cluster::config())?;
        Ok(stage.run(&Context(()), &tag, &Node::load(node)?)?)
    }
}

impl<T: Teardown> wit_teardown::Guest for T {
    fn plan(nodes: Vec<u32>) -> std::result::Result<(), WireError> {
        report_panics();
        let stage = parse::<T>(&cluster::config())?;
        let nodes: Nodes = nodes.into_iter().map(Node::load).collect::<Result<_>>()?;
        Ok(stage.teardown(&Context(()), &nodes)?)
    }
}

fn parse<T: DeserializeOwned>(config: &str) -> Result<T> {
    serde_json::from_str(config).map_err(|error| Error::invalid("config", error.to_string()))
}

/// A panic aborts the guest; without this the operator would only see `unreachable`.
fn report_panics() {
    std::panic::set_hook(Box::new(|info| log::emit(types::Severity::Error, &info.to_string(), &[])));
}
