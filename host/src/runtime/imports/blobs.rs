//! `blobs`: bytes held by the host.

use wasmtime::Result;
use wasmtime::component::Resource;

use crate::runtime::bindings::ksp::plugin::blobs::{Host, HostBlob};
use crate::runtime::bindings::ksp::plugin::types::{Error, ErrorCode};
use crate::runtime::convert::fault;
use crate::runtime::handles::Blob;
use crate::runtime::state::State;

/// The most bytes of one `read`.
const READ_BYTES: usize = 1 << 20;

impl Host for State {
    fn of_bytes(&mut self, data: Vec<u8>) -> Result<Resource<Blob>> {
        self.hold(data)
    }

    fn asset(&mut self, path: String) -> Result<Result<Resource<Blob>, Error>> {
        let Some(bytes) = self.stage.assets.get(&path).cloned() else {
            return Ok(Err(self.no_asset(&path)));
        };
        self.hold(bytes).map(Ok)
    }
}

impl State {
    /// A path that is not among the plugin's assets.
    pub(super) fn no_asset(&self, path: &str) -> Error {
        let names: Vec<&str> = self.stage.assets.names().take(20).collect();
        let there = if names.is_empty() {
            "it carries none".to_owned()
        } else {
            format!("it carries {}", names.join(", "))
        };
        fault(ErrorCode::NotFound, "blobs.asset", format!("the plugin carries no file {path:?}; {there}"))
    }
}

impl HostBlob for State {
    fn digest(&mut self, blob: Resource<Blob>) -> Result<String> {
        Ok(self.table.get(&blob)?.digest().to_owned())
    }

    fn size(&mut self, blob: Resource<Blob>) -> Result<u64> {
        Ok(self.table.get(&blob)?.bytes.len() as u64)
    }

    fn read(&mut self, blob: Resource<Blob>, offset: u64, len: u32) -> Result<Result<Vec<u8>, Error>> {
        let bytes = &self.table.get(&blob)?.bytes;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        if start > bytes.len() {
            return Ok(Err(fault(ErrorCode::InvalidInput, "blobs.offset", "the offset is behind the end")));
        }
        let end = start.saturating_add((len as usize).min(READ_BYTES)).min(bytes.len());
        Ok(Ok(bytes[start..end].to_vec()))
    }

    fn drop(&mut self, blob: Resource<Blob>) -> Result<()> {
        self.table.delete(blob)?;
        Ok(())
    }
}
