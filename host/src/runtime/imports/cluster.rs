//! `cluster`: the manifest as one stage may see it.

use serde_json::json;
use wasmtime::Result;

use crate::manifest;
use crate::node::NodeId;
use crate::runtime::bindings::ksp::plugin::cluster::Host;
use crate::runtime::bindings::ksp::plugin::types::{Error, ErrorCode};
use crate::runtime::convert::fault;
use crate::runtime::state::{Phase, State};

/// What a stage may publish in all, in bytes.
const PUBLISHED_BYTES: usize = 1 << 20;

impl Host for State {
    fn spec(&mut self) -> Result<String> {
        let manifest = &self.inputs.manifest;
        let mut spec = serde_json::to_value(&manifest.cluster)?;
        let mirrors = &manifest.mirrors;
        spec["mirrors"] = json!({ "files": mirrors.files, "push": mirrors.push, "images": mirrors.images });
        Ok(spec.to_string())
    }

    fn config(&mut self) -> Result<String> {
        Ok(self.stage.config.to_string())
    }

    fn nodes(&mut self, selector: String) -> Result<Result<Vec<u32>, Error>> {
        let selected = manifest::select(&self.inputs.manifest.nodes, &selector);
        let own = |node: &NodeId| self.stage.nodes.as_ref().is_none_or(|own| own.contains(node));
        Ok(selected
            .map(|nodes| nodes.into_iter().filter(own).map(|node| node.0).collect())
            .map_err(|message| fault(ErrorCode::InvalidInput, "cluster.selector", message)))
    }

    fn node(&mut self, node: u32) -> Result<Result<String, Error>> {
        Ok(State::node(self, node).map(|node| {
            json!({
                "name": node.name,
                "address": node.address,
                "roles": node.roles,
                "labels": node.labels,
                "taints": node.taints,
            })
            .to_string()
        }))
    }

    fn output(&mut self, slot: String, key: String) -> Result<Option<String>> {
        if self.phase == Phase::Validate {
            return Ok(None);
        }
        Ok(self.inputs.outputs.get(&slot, &key).map(str::to_owned))
    }

    fn output_on(&mut self, node: u32, slot: String, key: String) -> Result<Option<String>> {
        if self.phase == Phase::Validate {
            return Ok(None);
        }
        Ok(self.inputs.outputs.on(NodeId(node), &slot, &key).map(str::to_owned))
    }

    fn publish(&mut self, key: String, value: String) -> Result<Result<(), Error>> {
        if self.phase != Phase::Plan {
            return Ok(Err(fault(
                ErrorCode::Denied,
                "phase.run",
                "values are published while planning only",
            )));
        }
        let published = &mut self.draft.outputs;
        if published.contains_key(&key) {
            return Ok(Err(fault(
                ErrorCode::Conflict,
                "cluster.published",
                format!("{key:?} was published already"),
            )));
        }
        let size: usize = published.iter().map(|(key, value)| key.len() + value.len()).sum();
        if size + key.len() + value.len() > PUBLISHED_BYTES {
            let message = format!("a stage may publish {} KiB in all", PUBLISHED_BYTES >> 10);
            return Ok(Err(fault(ErrorCode::InvalidInput, "cluster.published", message)));
        }
        published.insert(key, value);
        Ok(Ok(()))
    }
}
