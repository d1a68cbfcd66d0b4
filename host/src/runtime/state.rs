//! What belongs to one call: made for it, dropped after it.

use std::collections::VecDeque;
use std::sync::Arc;

use wasmtime::component::{Resource, ResourceTable};
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use crate::event::Event;
use crate::node::{Node, NodeId};
use crate::plan::StageDraft;
use crate::plugin::capability::Need;
use crate::plugin::resolve::ResolvedStage;
use crate::runtime::bindings::ksp::plugin::types::{Error, ErrorCode};
use crate::runtime::convert::{clean, fault};
use crate::runtime::draft::Draft;
use crate::runtime::handles::Blob;
use crate::runtime::limits::{self, Meter};
use crate::runtime::sandbox::{self, Time};
use crate::runtime::{NodeAccess, StageInputs};

/// What the call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Look at the cluster section and log.
    Validate,
    /// Record.
    Plan,
    /// Act, on behalf of this node.
    Run(NodeId),
}

/// The store's data.
pub struct State {
    /// Whose call it is.
    pub stage: Arc<ResolvedStage>,
    /// What it may look at.
    pub inputs: StageInputs,
    /// What it may do.
    pub phase: Phase,
    /// The way to nodes; in `run` only.
    pub access: Option<Arc<dyn NodeAccess>>,
    /// What the guest holds handles to.
    pub table: ResourceTable,
    /// What it records.
    pub draft: Draft,
    /// What it may use.
    pub meter: Meter,
    wasi: WasiCtx,
    stderr: MemoryOutputPipe,
    held_bytes: usize,
    log_lines: usize,
    last_errors: VecDeque<String>,
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl State {
    /// For one call.
    pub fn new(
        stage: &Arc<ResolvedStage>,
        inputs: &StageInputs,
        phase: Phase,
        access: Option<Arc<dyn NodeAccess>>,
    ) -> Self {
        let time = if matches!(phase, Phase::Run(_)) { Time::Real } else { Time::Pure };
        let (wasi, stderr) = sandbox::context(time);
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits::HANDLES);
        Self {
            stage: stage.clone(),
            inputs: inputs.clone(),
            phase,
            access,
            table,
            draft: Draft::default(),
            meter: Meter::new(&stage.metadata.limits),
            wasi,
            stderr,
            held_bytes: 0,
            log_lines: 0,
            last_errors: VecDeque::new(),
        }
    }

    /// What was recorded, mistakes as findings.
    pub fn into_draft(self) -> StageDraft {
        self.draft.finish(&self.stage)
    }

    /// Holds bytes for the guest.
    ///
    /// # Errors
    /// It holds too many: ends the guest.
    pub fn hold(&mut self, bytes: impl Into<bytes::Bytes>) -> wasmtime::Result<Resource<Blob>> {
        let blob = Blob::new(bytes);
        self.held_bytes += blob.bytes.len();
        if self.held_bytes > limits::BLOB_BYTES {
            let limit = limits::BLOB_BYTES >> 20;
            return Err(wasmtime::format_err!("the plugin holds more than {limit} MiB of blobs"));
        }
        Ok(self.table.push(blob)?)
    }

    /// Checks a need.
    pub fn require(&self, need: &Need) -> Result<(), Error> {
        self.stage.grants.allows(need).map_err(|denied| {
            let mut error = fault(ErrorCode::Denied, "capability.denied", denied.to_string());
            error.details.push(("hint".into(), denied.hint));
            error
        })
    }

    /// Refuses what validation may not ask: the answer would depend on more than manifest and config.
    pub fn require_answers(&self, what: &str) -> Result<(), Error> {
        match self.phase {
            Phase::Validate => Err(fault(
                ErrorCode::Denied,
                "phase.validate",
                format!("{what} is not there while a config is validated"),
            )),
            Phase::Plan | Phase::Run(_) => Ok(()),
        }
    }

    /// A node by its number.
    pub fn node(&self, id: u32) -> Result<&Node, Error> {
        self.inputs.manifest.nodes.get(id as usize).ok_or_else(|| {
            fault(ErrorCode::NotFound, "node.unknown", format!("there is no node number {id}"))
        })
    }

    /// The node that this call is about, by name.
    pub fn node_name(&self) -> Option<String> {
        match self.phase {
            Phase::Run(id) => self.node(id.0).ok().map(|node| node.name.clone()),
            Phase::Validate | Phase::Plan => None,
        }
    }

    /// A line of the plugin for the run's log.
    pub fn say(&mut self, is_error: bool, line: &str) {
        let line = clean(line, limits::LOG_LINE_BYTES);
        if is_error {
            self.last_errors.push_back(line.clone());
            if self.last_errors.len() > limits::TAIL_LINES {
                self.last_errors.pop_front();
            }
        }
        self.log_lines += 1;
        let text = match self.log_lines.cmp(&limits::LOG_LINES) {
            std::cmp::Ordering::Less => line,
            std::cmp::Ordering::Equal => "this plugin says too much; the rest is left out".into(),
            std::cmp::Ordering::Greater => return,
        };
        self.inputs.events.emit(Event::StepLog {
            stage: self.stage.name.clone(),
            node: self.node_name(),
            text,
        });
    }

    /// The last lines of what it said, secrets hidden: errors through `log`, then standard error.
    pub fn tail(&self) -> Vec<String> {
        let stderr = self.stderr.contents();
        let stderr = String::from_utf8_lossy(&stderr);
        let mut lines: Vec<String> = self.last_errors.iter().cloned().collect();
        lines.extend(stderr.lines().map(|line| clean(line, limits::LOG_LINE_BYTES)));
        let first = lines.len().saturating_sub(limits::TAIL_LINES);
        lines[first..].iter().map(|line| self.inputs.redactor.redact(line)).collect()
    }
}
