//! Runs plugins in the sandbox. One engine; a fresh store for each call, dropped after it; one file per WIT interface in
//! `runtime/imports/`. A plugin that traps, loops or eats memory fails its own stage and nothing else.

mod bindings;
mod call;
mod compile;
mod convert;
mod draft;
mod engine;
pub mod handles;
#[cfg(any(test, feature = "test-support"))]
pub mod harness;
mod imports;
mod limits;
mod sandbox;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::Linker;

use crate::diagnostic::Diagnostic;
use crate::event::Events;
use crate::facts::Facts;
use crate::manifest::Manifest;
use crate::node::NodeId;
use crate::pki::Pki;
use crate::plan::StageDraft;
use crate::plan::outputs::Outputs;
use crate::plugin::cache::Cache;
use crate::plugin::download::Downloads;
pub use crate::plugin::error::PluginError;
use crate::plugin::resolve::ResolvedStage;
use crate::redact::Redactor;
use crate::secrets::Secrets;
use crate::transport::Session;
use bindings::PluginPre;
use state::{Phase, State};

/// What a call may look at. Cheap to clone.
#[derive(Clone)]
pub struct StageInputs {
    /// What the user wants.
    pub manifest: Arc<Manifest>,
    /// Of the nodes that could be read.
    pub facts: Arc<BTreeMap<NodeId, Facts>>,
    /// Of the stages before this one.
    pub outputs: Outputs,
    /// The cluster's certificates.
    pub pki: Pki,
    /// The cluster's secrets.
    pub secrets: Secrets,
    /// Where messages go.
    pub events: Events,
    /// Hides secrets in what a plugin says.
    pub redactor: Redactor,
    /// Brings release files to this machine.
    pub downloads: Arc<Downloads>,
}

/// The way from a running plugin to nodes.
pub trait NodeAccess: Send + Sync {
    /// A connection; none when the node cannot be reached.
    fn session(&self, node: NodeId) -> Option<Arc<dyn Session>>;
    /// Shell text in front of everything that may change something: the lease's fence.
    fn prelude(&self, node: NodeId) -> String;
}

/// Loads and runs plugins. Made once.
pub struct Runtime {
    ticking: engine::Ticking,
    linker: Linker<State>,
    cache: Cache,
}

impl Runtime {
    /// Starts the engine. Compiled plugins are kept below `cache_dir`, which only its owner may write.
    ///
    /// # Errors
    /// No engine on this machine, or a cache that others can write.
    pub fn new(cache_dir: &Path) -> Result<Self, PluginError> {
        let ticking = engine::start()?;
        let linker = imports::link(&ticking.engine)?;
        let cache = Cache::open(cache_dir)?;
        Ok(Self { ticking, linker, cache })
    }

    /// Makes a stage ready to be called: from the cache when it was compiled before.
    ///
    /// # Errors
    /// It cannot be compiled, or was made for another version of the contract.
    pub fn load(&self, stage: &ResolvedStage) -> Result<LoadedStage, PluginError> {
        let component = compile::load(&self.ticking.engine, &self.cache, stage)?;
        let instance = self
            .linker
            .instantiate_pre(&component)
            .and_then(PluginPre::new)
            .map_err(|error| compile::incompatible(stage, &component, &self.ticking.engine, &error))?;
        Ok(LoadedStage { stage: Arc::new(stage.clone()), component, instance: Arc::new(instance) })
    }
}

/// A stage, ready to be called. Cheap to clone.
#[derive(Clone)]
pub struct LoadedStage {
    stage: Arc<ResolvedStage>,
    component: wasmtime::component::Component,
    instance: Arc<PluginPre<State>>,
}

impl std::fmt::Debug for LoadedStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LoadedStage({} {})", self.stage.name, self.stage.plugin)
    }
}

impl LoadedStage {
    /// What the plugin says of the stage's config beyond its schema.
    ///
    /// # Errors
    /// The plugin failed.
    pub async fn validate(&self, inputs: &StageInputs) -> Result<Vec<Diagnostic>, PluginError> {
        let state = State::new(&self.stage, inputs, Phase::Validate, None);
        let config = self.stage.config.to_string();
        let call = call::Call::start(self, state, limits::VALIDATE);
        let (found, _) = call
            .finish(async |store, plugin| plugin.ksp_plugin_stage().call_validate(store, &config).await)
            .await?;
        Ok(found.into_iter().map(|finding| convert::config_finding(&self.stage, inputs, finding)).collect())
    }

    /// What the stage wants to be so. Mistakes and denials are error findings in the draft.
    ///
    /// # Errors
    /// The plugin failed.
    pub async fn plan(&self, inputs: &StageInputs) -> Result<StageDraft, PluginError> {
        Ok(self.record(inputs).await?.into_draft())
    }

    async fn record(&self, inputs: &StageInputs) -> Result<State, PluginError> {
        let state = State::new(&self.stage, inputs, Phase::Plan, None);
        let call = call::Call::start(self, state, limits::plan_time(&self.stage.metadata.limits));
        let (answer, state) =
            call.finish(async |store, plugin| plugin.ksp_plugin_stage().call_plan(store).await).await?;
        answer.map_err(|error| convert::guest_error(&self.stage, &inputs.redactor, error, &state.tail()))?;
        Ok(state)
    }

    /// What has to happen on nodes that are about to be reset; none when the plugin does not export it.
    ///
    /// # Errors
    /// The plugin failed.
    pub async fn teardown(
        &self,
        inputs: &StageInputs,
        nodes: &[NodeId],
    ) -> Result<Option<StageDraft>, PluginError> {
        if !call::exports_teardown(&self.component) {
            return Ok(None);
        }
        let state = State::new(&self.stage, inputs, Phase::Plan, None);
        let call = call::Call::start(self, state, limits::plan_time(&self.stage.metadata.limits));
        let nodes: Vec<u32> = nodes.iter().map(|node| node.0).collect();
        let (answer, state) = call.finish_teardown(&nodes).await?;
        answer.map_err(|error| convert::guest_error(&self.stage, &inputs.redactor, error, &state.tail()))?;
        Ok(Some(state.into_draft()))
    }

    /// Calls a `custom` op back on one node. True when it changed something.
    ///
    /// # Errors
    /// The plugin failed, or says that it did not work.
    pub async fn run(
        &self,
        inputs: &StageInputs,
        access: Arc<dyn NodeAccess>,
        tag: &str,
        node: NodeId,
    ) -> Result<bool, PluginError> {
        let state = State::new(&self.stage, inputs, Phase::Run(node), Some(access));
        let call = call::Call::start(self, state, limits::RUN);
        let (answer, state) = call
            .finish(async |store, plugin| plugin.ksp_plugin_stage().call_run(store, tag, node.0).await)
            .await?;
        answer.map_err(|error| convert::guest_error(&self.stage, &inputs.redactor, error, &state.tail()))
    }
}
