//! Plugins of a chain: loaded beside each other, planned one after another, called back during a run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::join_all;

use super::blocking;
use crate::diagnostic::Diagnostic;
use crate::exec::{Access, Callback};
use crate::facts::{Facts, Gathered, Probe};
use crate::manifest::{Manifest, StageEntry};
use crate::node::NodeId;
use crate::op::OpError;
use crate::operations::context::Context;
use crate::operations::{Class, Failure};
use crate::pki::Pki;
use crate::plan::build::{self, Built, Candidate, Outputs, Planner};
use crate::plan::{Plan, StageDraft};
use crate::plugin::download::Downloads;
use crate::plugin::error::PluginError;
use crate::plugin::metadata;
use crate::plugin::resolve::{self, ResolvedStage, slots};
use crate::runtime::{LoadedStage, NodeAccess, Runtime, StageInputs};
use crate::secrets::Secrets;
use crate::state::{ChainLink, ClusterState};
use crate::transport::Session;

/// Failures that are nobody's fault but the plugin's, or ours.
const DEFECTS: [&str; 4] = [
    "ksp::plugin::trapped",
    "ksp::plugin::timeout",
    "ksp::plugin::out-of-memory",
    "ksp::plan::plugin-defect",
];

/// Loaded plugins with everything that they may look at.
pub struct Loaded {
    // Keeps the epoch running that ends endless loops.
    runtime: Arc<Runtime>,
    stages: Vec<(ResolvedStage, LoadedStage)>,
    /// Stages that have left the manifest and have something left to do.
    retired: Vec<(ResolvedStage, LoadedStage)>,
    inputs: Option<StageInputs>,
}

/// The read-only commands that the plugins declare; stages of the same plugin share theirs.
pub fn probes(stages: &[ResolvedStage]) -> Vec<Probe> {
    let of = |stage: &ResolvedStage| {
        let plugin = stage.metadata.name.clone();
        let probe = move |it: &metadata::ProbeCommand| Probe {
            plugin: plugin.clone(),
            name: it.name.clone(),
            argv: it.argv.clone(),
        };
        stage.metadata.probe.iter().map(probe).collect::<Vec<_>>()
    };
    let all: BTreeSet<Probe> = stages.iter().flat_map(of).collect();
    all.into_iter().collect()
}

/// Makes plugins ready to be called. Findings are about those that cannot be.
///
/// # Errors
/// No plugin can be called on this machine.
pub async fn load(stages: Vec<ResolvedStage>, cache: PathBuf) -> Result<(Loaded, Vec<Diagnostic>), Failure> {
    let runtime = blocking(move || Runtime::new(&cache).map_err(refusal)).await??;
    let runtime = Arc::new(runtime);
    let loads = stages.into_iter().map(|stage| {
        let runtime = Arc::clone(&runtime);
        blocking(move || runtime.load(&stage).map(|loaded| (stage, loaded)).map_err(refusal))
    });
    let (mut ready, mut findings) = (Vec::new(), Vec::new());
    for loaded in join_all(loads).await {
        match loaded? {
            Ok(stage) => ready.push(stage),
            Err(failure) => findings.extend(failure.findings),
        }
    }
    Ok((Loaded { runtime, stages: ready, retired: Vec::new(), inputs: None }, findings))
}

/// How a failure with these findings ends: as the user's, or as a defect.
pub(super) fn class_of(findings: &[Diagnostic]) -> Class {
    let defect = findings.iter().any(|finding| DEFECTS.contains(&finding.code.as_str()));
    if defect { Class::Internal } else { Class::Invalid }
}

fn refusal(error: PluginError) -> Failure {
    Failure::new(Class::Invalid, error.into())
}

impl Loaded {
    /// Gives them what they may look at.
    pub(super) fn with_inputs(
        mut self,
        context: &Context,
        manifest: &Arc<Manifest>,
        gathered: &BTreeMap<NodeId, Gathered>,
        pki: &Pki,
    ) -> Self {
        let facts = gathered.iter().map(|(node, it)| (*node, it.facts.clone())).collect();
        self.inputs = Some(inputs(context, manifest, facts, pki));
        self
    }

    /// What the plugins find in their configs that schemas cannot say, or why one could not say anything.
    pub(super) async fn validate(&self, context: &Context, manifest: &Arc<Manifest>) -> Vec<Diagnostic> {
        // There are no facts and no secrets yet, and a plugin that asks for some is told so.
        let state = Arc::new(Mutex::new(ClusterState::default()));
        let pki = Pki::new(state, context.redactor.clone());
        let inputs = inputs(context, manifest, BTreeMap::new(), &pki);
        let mut findings = Vec::new();
        for (_, stage) in &self.stages {
            match stage.validate(&inputs).await {
                Ok(found) => findings.extend(found),
                Err(error) => findings.push(error.into()),
            }
        }
        findings
    }

    /// Asks every plugin for its ops.
    pub(super) async fn build(&self, manifest: &Manifest) -> Result<Built, Failure> {
        let candidates: Vec<Candidate> = self
            .with_inputs_of_each()
            .map(|(resolved, stage)| Candidate {
                name: resolved.name.clone(),
                plugin: resolved.plugin.clone(),
                metadata: Arc::clone(&resolved.metadata),
                nodes: resolved.nodes.clone(),
                planner: Box::new(stage),
            })
            .collect();
        let built = build::build(&candidates, &manifest.nodes, slots::offers).await;
        built.map_err(|findings| Failure::all(class_of(&findings), findings))
    }

    /// What plugins have to do on nodes that are about to be reset, by stage. Stages that have nothing to do are left out.
    ///
    /// # Errors
    /// A plugin failed.
    pub(super) async fn teardown(
        &self,
        plan: &Plan,
        nodes: &[NodeId],
    ) -> Result<BTreeMap<String, StageDraft>, Failure> {
        let outputs = published(plan);
        let mut drafts = BTreeMap::new();
        for (resolved, plugin) in self.with_inputs_of_each() {
            let own = |node: &NodeId| resolved.nodes.as_ref().is_none_or(|own| own.contains(node));
            let nodes: Vec<NodeId> = nodes.iter().copied().filter(own).collect();
            let draft = plugin.loaded.teardown(&plugin.inputs(&outputs), &nodes).await;
            let draft = draft.map_err(|error| Failure::new(Class::Internal, error.into()))?;
            drafts.extend(
                draft.filter(|draft| !draft.ops.is_empty()).map(|draft| (resolved.name.clone(), draft)),
            );
        }
        Ok(drafts)
    }

    /// What the manifest's stages are, for the cluster's memory.
    pub(super) fn chain(&self, manifest: &Manifest) -> Vec<ChainLink> {
        let link = |(stage, _): &(ResolvedStage, LoadedStage)| {
            let entry = manifest.stages.iter().find(|entry| entry.name == stage.name)?;
            Some(ChainLink {
                name: stage.name.clone(),
                plugin: stage.metadata.name.clone(),
                reference: entry.plugin.clone(),
                grants: entry.grants.clone(),
                provides: stage.metadata.provides.iter().map(|slot| slot.slot.clone()).collect(),
                config: stage.config.clone(),
            })
        };
        self.stages.iter().filter_map(link).collect()
    }

    /// Loads a stage that is not in the manifest any more.
    ///
    /// # Errors
    /// Its plugin cannot be found or loaded, or does not take its config any more.
    pub(super) async fn adopt(
        &mut self,
        manifest: &Manifest,
        entry: &StageEntry,
    ) -> Result<ResolvedStage, String> {
        let first = |findings: Vec<Diagnostic>| {
            findings.into_iter().find(Diagnostic::is_error).map(|finding| finding.message).unwrap_or_default()
        };
        let stage = resolve::resolve_alone(manifest, entry).map_err(first)?;
        let (runtime, own) = (Arc::clone(&self.runtime), stage.clone());
        let loaded = blocking(move || runtime.load(&own)).await.map_err(|failure| first(failure.findings))?;
        let loaded = loaded.map_err(|error| Diagnostic::from(error).message)?;
        self.retired.push((stage.clone(), loaded));
        Ok(stage)
    }

    /// What a stage that was adopted has to do on nodes that go on without it. None when its plugin leaves nothing behind.
    ///
    /// # Errors
    /// The plugin failed.
    pub(super) async fn teardown_adopted(
        &self,
        plan: &Plan,
        name: &str,
        nodes: &[NodeId],
    ) -> Result<Option<StageDraft>, String> {
        let found = self.retired.iter().find(|(stage, _)| stage.name == name);
        let (Some((_, loaded)), Some(inputs)) = (found, &self.inputs) else { return Ok(None) };
        let inputs = StageInputs { outputs: published(plan), ..inputs.clone() };
        loaded.teardown(&inputs, nodes).await.map_err(|error| Diagnostic::from(error).message)
    }

    /// Calls back by stage, with the outputs that the whole plan published.
    pub(super) fn callbacks(&self, plan: &Plan) -> BTreeMap<String, Arc<dyn Callback>> {
        let outputs = published(plan);
        let retired = self.retired.iter().filter_map(|it| self.plugin(it));
        self.with_inputs_of_each()
            .chain(retired)
            .map(|(resolved, mut stage)| {
                stage.inputs.outputs = outputs.clone();
                (resolved.name.clone(), Arc::new(stage) as Arc<dyn Callback>)
            })
            .collect()
    }

    fn with_inputs_of_each(&self) -> impl Iterator<Item = (&ResolvedStage, Plugin)> {
        self.stages.iter().filter_map(|stage| self.plugin(stage))
    }

    fn plugin<'a>(
        &self,
        (resolved, loaded): &'a (ResolvedStage, LoadedStage),
    ) -> Option<(&'a ResolvedStage, Plugin)> {
        let runtime = Arc::clone(&self.runtime);
        let plugin = Plugin { _runtime: runtime, loaded: loaded.clone(), inputs: self.inputs.clone()? };
        Some((resolved, plugin))
    }
}

fn inputs(
    context: &Context,
    manifest: &Arc<Manifest>,
    facts: BTreeMap<NodeId, Facts>,
    pki: &Pki,
) -> StageInputs {
    StageInputs {
        manifest: Arc::clone(manifest),
        facts: Arc::new(facts),
        outputs: Outputs::default(),
        pki: pki.clone(),
        secrets: Secrets::new(&manifest.secrets, Arc::clone(&pki.state), context.redactor.clone()),
        events: context.events.clone(),
        redactor: context.redactor.clone(),
        downloads: Arc::new(Downloads::new(context.paths.cache.join("files"), manifest.mirrors.push)),
    }
}

/// What the stages of a plan published, by slot.
fn published(plan: &Plan) -> Outputs {
    let mut outputs = Outputs::default();
    for stage in &plan.stages {
        outputs.add(&stage.metadata, stage.nodes.as_ref(), &stage.outputs);
    }
    outputs
}

/// One plugin with what it may look at.
struct Plugin {
    _runtime: Arc<Runtime>,
    loaded: LoadedStage,
    inputs: StageInputs,
}

impl Plugin {
    fn inputs(&self, outputs: &Outputs) -> StageInputs {
        StageInputs { outputs: outputs.clone(), ..self.inputs.clone() }
    }
}

#[async_trait]
impl Planner for Plugin {
    async fn plan(&self, outputs: &Outputs) -> Result<StageDraft, Diagnostic> {
        self.loaded.plan(&self.inputs(outputs)).await.map_err(Diagnostic::from)
    }
}

#[async_trait]
impl Callback for Plugin {
    async fn run(&self, access: Arc<Access>, tag: &str, node: NodeId) -> Result<bool, OpError> {
        self.loaded.run(&self.inputs, access, tag, node).await.map_err(|error| {
            let mut failed =
                OpError::new("ksp::plugin::failed", format!("[{}] {}", error.code, error.message));
            failed.tail = error.tail;
            failed.hints = error.hints;
            failed
        })
    }
}

impl NodeAccess for Access {
    fn session(&self, node: NodeId) -> Option<Arc<dyn Session>> {
        Access::session(self, node)
    }

    fn prelude(&self, node: NodeId) -> String {
        Access::prelude(self, node)
    }
}
