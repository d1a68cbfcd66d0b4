//! Runs the real WebAssembly of a plugin against canned facts, and shows what it recorded as text: for snapshots of plugins.
//! Only in tests (feature `test-support`).

mod text;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::event::Events;
use crate::facts::Facts;
use crate::manifest::Manifest;
use crate::node::NodeId;
use crate::pki::Pki;
use crate::plan::outputs::Outputs;
use crate::plugin::download::Downloads;
use crate::plugin::resolve::{self, ResolvedStage};
use crate::redact::Redactor;
use crate::runtime::{LoadedStage, PluginError, Runtime, StageInputs};
use crate::secrets::Secrets;
use crate::state::ClusterState;

/// What the plugin records for a manifest that has a stage of it. `facts` is a JSON object by node name; `"*"` stands for every
/// node that is not named, a node without facts is unreachable, and `"outputs"` is what other stages published:
/// `{"*": {"arch": "amd64"}, "outputs": {"runtime": {"socket": "/run/x.sock"}}}`.
///
/// Failures are rendered too: snapshots of them are tests as well.
///
/// # Panics
/// Manifest or facts are not readable: the test is wrong.
pub fn plan_text(plugin: &str, manifest: &str, facts: &str) -> String {
    let bench = Bench::new(manifest, facts);
    let loaded = match bench.load(plugin) {
        Ok(loaded) => loaded,
        Err(findings) => return text::findings(&findings),
    };
    let recorded = block_on(async {
        let findings = loaded.validate(&bench.inputs).await?;
        let state = loaded.record(&bench.inputs).await?;
        Ok::<_, PluginError>((findings, state))
    });
    match recorded {
        Ok((findings, state)) => text::findings(&findings) + &text::plan(&bench.inputs.manifest, state),
        Err(error) => text::findings(&[error.into()]),
    }
}

/// As [`plan_text`] for the plugin's `teardown` of some nodes.
///
/// # Panics
/// As [`plan_text`], and when a node is not in the manifest.
pub fn teardown_text(plugin: &str, manifest: &str, facts: &str, nodes: &[&str]) -> String {
    let bench = Bench::new(manifest, facts);
    let loaded = match bench.load(plugin) {
        Ok(loaded) => loaded,
        Err(findings) => return text::findings(&findings),
    };
    let ids: Vec<NodeId> = nodes.iter().map(|name| bench.node(name)).collect();
    match block_on(loaded.teardown(&bench.inputs, &ids)) {
        Ok(Some(draft)) => text::draft(&bench.inputs.manifest, &draft, &BTreeMap::new()),
        Ok(None) => "no teardown\n".into(),
        Err(error) => text::findings(&[error.into()]),
    }
}

/// Everything that a call of a plugin needs, from texts.
pub struct Bench {
    /// What calls look at.
    pub inputs: StageInputs,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// See [`plan_text`].
    ///
    /// # Panics
    /// As [`plan_text`].
    pub fn new(manifest: &str, facts: &str) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no temporary folder: {error}"));
        let path = folder.path().join("manifest.toml");
        std::fs::write(&path, manifest).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let loaded = crate::manifest::load(&path);
        let Some(manifest) = loaded.manifest else { panic!("{}", text::findings(&loaded.findings)) };
        Self { inputs: inputs(manifest, facts), _folder: folder }
    }

    /// The stage of a plugin ("os-prepare", "ksp/os-prepare" or a path, as the manifest has it), ready to be called.
    ///
    /// # Errors
    /// Findings about its config and more.
    pub fn load(&self, plugin: &str) -> Result<LoadedStage, Vec<Diagnostic>> {
        let stage = self.resolve(plugin)?;
        runtime().load(&stage).map_err(|error| vec![error.into()])
    }

    /// As [`Self::load`], before loading.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn resolve(&self, plugin: &str) -> Result<ResolvedStage, Vec<Diagnostic>> {
        let full = format!("ksp/{plugin}");
        let named = |entry: &&crate::manifest::StageEntry| entry.plugin == plugin || entry.plugin == full;
        let Some(entry) = self.inputs.manifest.stages.iter().find(named) else {
            panic!("the manifest of the test has no stage that uses {plugin}")
        };
        resolve::resolve_alone(&self.inputs.manifest, entry)
    }

    /// A node by its name.
    ///
    /// # Panics
    /// There is none.
    pub fn node(&self, name: &str) -> NodeId {
        let found = self.inputs.manifest.nodes.iter().find(|node| node.name == name);
        found.unwrap_or_else(|| panic!("the manifest of the test has no node {name}")).id
    }
}

fn inputs(manifest: Manifest, facts: &str) -> StageInputs {
    let facts: BTreeMap<String, Value> =
        serde_json::from_str(facts).unwrap_or_else(|error| panic!("the facts of the test: {error}"));
    let published: BTreeMap<String, BTreeMap<String, String>> = match facts.get("outputs") {
        Some(outputs) => serde_json::from_value(outputs.clone())
            .unwrap_or_else(|error| panic!("the outputs of the test: {error}")),
        None => BTreeMap::new(),
    };
    let mut outputs = Outputs::default();
    published.iter().for_each(|(slot, values)| outputs.add_to(slot, None, values));
    let resolved = |entry| resolve::resolve_alone(&manifest, entry).ok();
    let plugins: Vec<String> =
        manifest.stages.iter().filter_map(resolved).map(|stage| stage.metadata.name.clone()).collect();
    let known = |node: &crate::node::Node| {
        let found = facts.get(&node.name).or_else(|| facts.get("*"))?;
        let mut found = found.clone();
        // In a test's facts answers to probes are those that every plugin gets.
        if let Some(probes) = found.get_mut("probe") {
            *probes = plugins.iter().map(|plugin| (plugin.clone(), probes.clone())).collect();
        }
        Some((node.id, Facts(found)))
    };
    let by_node = manifest.nodes.iter().filter_map(known).collect();
    let redactor = Redactor::default();
    let state = Arc::new(Mutex::new(ClusterState::default()));
    StageInputs {
        facts: Arc::new(by_node),
        outputs,
        pki: Pki::new(state.clone(), redactor.clone()),
        secrets: Secrets::new(&manifest.secrets, state, redactor.clone()),
        events: Events::none(),
        redactor,
        downloads: Arc::new(Downloads::new("", false)),
        manifest: Arc::new(manifest),
    }
}

/// One runtime for all tests of a process; compiled plugins are shared between processes.
///
/// # Panics
/// This machine cannot run WebAssembly.
pub fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| Runtime::new(&cache_folder()).unwrap_or_else(|error| panic!("{error}")))
}

/// Where compiled plugins are kept, so that a test which starts a runtime of its own need not compile them again.
pub fn cache_folder() -> PathBuf {
    Path::new(env!("OUT_DIR")).join("test-cache")
}

/// # Panics
/// There is no runtime to be had.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap_or_else(|error| panic!("{error}")).block_on(work)
}
