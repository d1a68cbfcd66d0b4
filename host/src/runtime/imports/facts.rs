//! `facts`: what the host read from the nodes.

use wasmtime::Result;

use crate::node::NodeId;
use crate::runtime::bindings::ksp::plugin::facts::Host;
use crate::runtime::bindings::ksp::plugin::types::{Error, ErrorCode};
use crate::runtime::convert::fault;
use crate::runtime::state::State;

impl State {
    fn known(&self, node: u32) -> Result<&crate::facts::Facts, Error> {
        self.require_answers("what is known of nodes")?;
        let name = &self.node(node)?.name;
        self.inputs.facts.get(&NodeId(node)).ok_or_else(|| {
            fault(ErrorCode::NotFound, "facts.unreachable", format!("node {name} could not be read"))
        })
    }
}

impl Host for State {
    fn get(&mut self, node: u32, key: String) -> Result<Result<Option<String>, Error>> {
        Ok(self
            .known(node)
            .map(|facts| facts.get_for(&self.stage.metadata.name, &key).map(|fact| fact.to_string())))
    }

    fn all(&mut self, node: u32) -> Result<Result<String, Error>> {
        Ok(self.known(node).map(|facts| facts.all_for(&self.stage.metadata.name).to_string()))
    }
}
