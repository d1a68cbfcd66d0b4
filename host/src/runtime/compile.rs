//! From a component to machine code: compiled once, then mapped from the cache.

use std::hash::{Hash as _, Hasher};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::plugin::cache::Cache;
use crate::plugin::error::PluginError;
use crate::plugin::package;
use crate::plugin::resolve::ResolvedStage;

/// Compilation is work that a stranger's file chooses.
const DEADLINE: Duration = Duration::from_secs(180);

/// The versions of the contract that this host offers, as they stand in import names.
const OFFERED: &str = "0.1.0";

/// The compiled component of a stage.
///
/// # Errors
/// It is not a valid component, or takes too long to compile.
pub fn load(engine: &Engine, cache: &Cache, stage: &ResolvedStage) -> Result<Component, PluginError> {
    let name = cache_name(engine, &stage.plugin.digest);
    if let Some(path) = cache.compiled(&name)
        && let Some(component) = open(engine, &path)
    {
        return Ok(component);
    }
    let code = compile(engine, stage)?;
    // A cache that cannot be written costs time, not correctness.
    match cache.keep_compiled(&name, &code) {
        Ok(Some(path)) => match open(engine, &path) {
            Some(component) => Ok(component),
            None => from_scratch(engine, stage),
        },
        Ok(None) => from_scratch(engine, stage),
        Err(error) => {
            tracing::warn!(plugin = %stage.plugin, %error, "the compiled plugin is not kept");
            from_scratch(engine, stage)
        }
    }
}

#[expect(
    unsafe_code,
    reason = "the file was written by this program, into a folder that only its owner can write, and its digest was checked"
)]
fn open(engine: &Engine, path: &Path) -> Option<Component> {
    // SAFETY: `deserialize_file` runs whatever the file holds. `Cache` gives out only files below a folder of mode 0700 that
    // belongs to this user, whose content has the digest that was noted when this program wrote it, and nothing ever changes a
    // file there: they are written beside and renamed. Other versions and settings are refused by wasmtime itself.
    let component = unsafe { Component::deserialize_file(engine, path) };
    component
        .inspect_err(|error| tracing::debug!(path = %path.display(), %error, "stale compiled plugin"))
        .ok()
}

fn from_scratch(engine: &Engine, stage: &ResolvedStage) -> Result<Component, PluginError> {
    Component::from_binary(engine, &stage.component).map_err(|error| invalid(stage, &error))
}

/// On a thread, because it cannot be interrupted; one that takes too long is left behind.
fn compile(engine: &Engine, stage: &ResolvedStage) -> Result<Vec<u8>, PluginError> {
    let (sender, receiver) = mpsc::channel();
    let (engine, bytes) = (engine.clone(), stage.component.clone());
    let started = std::thread::Builder::new().name("ksp-compile".into()).spawn(move || {
        let _ = sender.send(engine.precompile_component(&bytes));
    });
    if let Err(error) = started {
        return Err(PluginError::machinery(
            "ksp::plugin::no-sandbox",
            format!("no thread to compile on: {error}"),
        ));
    }
    match receiver.recv_timeout(DEADLINE) {
        Ok(Ok(code)) => Ok(code),
        Ok(Err(error)) => Err(invalid(stage, &error)),
        Err(_) => Err(PluginError::new(
            "ksp::plugin::timeout",
            &stage.plugin,
            &stage.name,
            format!("it could not be compiled within {DEADLINE:?}"),
        )
        .hint("report this to the plugin's publisher")),
    }
}

fn invalid(stage: &ResolvedStage, error: &wasmtime::Error) -> PluginError {
    let mut made = PluginError::new(
        "ksp::plugin::not-a-component",
        &stage.plugin,
        &stage.name,
        format!("it is not a valid WebAssembly component: {}", error.root_cause()),
    )
    .hint("the file may be damaged: fetch it again, or ask the plugin's publisher");
    made.tail = format!("{error:#}").lines().take(5).map(str::to_owned).collect();
    made
}

/// A component that is fine, but not for this host: says what it wants and what there is.
pub fn incompatible(
    stage: &ResolvedStage,
    component: &Component,
    engine: &Engine,
    error: &wasmtime::Error,
) -> PluginError {
    let kind = component.component_type();
    let mut wanted: Vec<String> = kind
        .imports(engine)
        .map(|(name, _)| name.to_owned())
        .filter(|name| name.starts_with("ksp:"))
        .collect();
    wanted.extend(
        kind.exports(engine).map(|(name, _)| name.to_owned()).filter(|name| name.starts_with("ksp:")),
    );
    let versions = |name: &String| name.rsplit_once('@').map(|(_, version)| version.to_owned());
    let mut asked: Vec<String> =
        wanted.iter().filter_map(versions).filter(|version| version != OFFERED).collect();
    asked.sort();
    asked.dedup();
    let what = if asked.is_empty() {
        "it needs something that this ksp does not offer".to_owned()
    } else {
        format!(
            "it is made for version {} of the plugin contract; this ksp offers {OFFERED}",
            asked.join(", ")
        )
    };
    let mut made = PluginError::new("ksp::plugin::incompatible", &stage.plugin, &stage.name, what)
        .hint("use another version of the plugin, or a newer ksp");
    made.tail = vec![error.root_cause().to_string(), format!("{error}")];
    made.tail.dedup();
    made
}

/// Other content, another wasmtime, another processor, other settings: another name.
fn cache_name(engine: &Engine, digest: &str) -> String {
    let mut hasher = Sha256Hasher(Sha256::new());
    digest.hash(&mut hasher);
    engine.precompile_compatibility_hash().hash(&mut hasher);
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    package::digest(&hasher.0.finalize()).trim_start_matches("sha256:").to_owned()
}

/// `std`'s hasher may give other numbers in the next process.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }
    fn finish(&self) -> u64 {
        0
    }
}
