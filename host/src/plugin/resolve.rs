//! From the manifest's chain to plugins: each found, checked against its range of versions, its config against its schema, its
//! slots against the others', its digest against `ksp.lock`. All findings at once; nothing is run.

mod config;
pub mod slots;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use semver::Version;
use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::manifest::{Manifest, StageEntry};
use crate::node::NodeId;
use crate::plugin::PluginId;
use crate::plugin::capability::{Capability, Need};
use crate::plugin::embedded;
use crate::plugin::grant::Grants;
use crate::plugin::lockfile::{self, LockMode};
use crate::plugin::metadata::Metadata;
use crate::plugin::package::{Assets, LARGEST_PLUGIN, Package, PackageError};

/// The version of the contract that this ksp offers to plugins.
pub const API: Version = Version::new(0, 1, 0);

/// The publisher of the embedded plugins.
pub const FIRST_PARTY: &str = "ksp";

/// A stage with its plugin found and everything about it decided, except what running it says.
#[derive(Debug, Clone)]
pub struct ResolvedStage {
    /// The stage's name in the manifest.
    pub name: String,
    /// Which plugin.
    pub plugin: PluginId,
    /// What the plugin says of itself.
    pub metadata: Arc<Metadata>,
    /// The plugin's file.
    pub component: Bytes,
    /// The files that it carries.
    pub assets: Assets,
    /// What it may do.
    pub grants: Grants,
    /// The nodes it is for, when it is not for all.
    pub nodes: Option<BTreeSet<NodeId>>,
    /// The stage's config, as written; it satisfies the plugin's schema.
    pub config: Value,
    /// First-party: embedded in this binary.
    pub trusted: bool,
}

/// How strictly to resolve.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// What to do with `ksp.lock`.
    pub lock: LockMode,
}

/// The whole chain.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// In the manifest's order.
    pub stages: Vec<ResolvedStage>,
    /// What is worth saying and refuses nothing.
    pub notes: Vec<Diagnostic>,
}

/// Where a plugin was found.
pub(crate) struct Found {
    package: Package,
    /// For the lock: "embedded", or the path as written.
    source: String,
    trusted: bool,
}

/// What was found of a chain, with everything that is wrong with it.
#[derive(Debug, Clone, Default)]
pub struct Examined {
    /// Stages that have no error of their own, in the manifest's order.
    pub stages: Vec<ResolvedStage>,
    /// All findings.
    pub findings: Vec<Diagnostic>,
    locked: Vec<lockfile::Entry>,
}

/// Finds and checks the plugins of all stages. Leaves `ksp.lock` alone.
pub fn examine(manifest: &Manifest) -> Examined {
    let mut examined = Examined::default();
    let mut all = Vec::new();
    for entry in &manifest.stages {
        let found = match find(manifest, entry) {
            Ok(found) => found,
            Err(finding) => {
                examined.findings.push(*finding);
                continue;
            }
        };
        let (stage, source, wrong) = check(manifest, entry, found);
        if !wrong.iter().any(Diagnostic::is_error) {
            examined.stages.push(stage.clone());
        }
        examined.findings.extend(wrong);
        examined.locked.push(lockfile::Entry::of(&stage, source));
        all.push(stage);
    }
    // A stage that was not found would make the slots of the others look missing.
    if all.len() == manifest.stages.len() {
        examined.findings.extend(slots::check(manifest, &all));
    }
    examined
}

impl Examined {
    /// True when something refuses the chain.
    pub fn any_error(&self) -> bool {
        self.findings.iter().any(Diagnostic::is_error)
    }

    /// Compares the plugins with `ksp.lock`, and writes it when something is new. For a chain without errors.
    pub fn settle(&mut self, manifest: &Manifest, options: Options) {
        let path = manifest.path.with_file_name("ksp.lock");
        let mut notes = Vec::new();
        let wrong = lockfile::settle(&path, std::mem::take(&mut self.locked), options.lock, &mut notes);
        self.findings.extend(wrong);
        self.findings.extend(notes);
    }
}

/// Finds and checks the plugins of all stages, and settles `ksp.lock`.
///
/// # Errors
/// All findings together; at least one refuses the run.
pub fn resolve(manifest: &Manifest, options: Options) -> Result<Resolved, Vec<Diagnostic>> {
    let mut examined = examine(manifest);
    if !examined.any_error() {
        examined.settle(manifest, options);
    }
    if examined.any_error() {
        return Err(examined.findings);
    }
    Ok(Resolved { stages: examined.stages, notes: examined.findings })
}

/// One stage alone, without slots and lock.
///
/// # Errors
/// All findings together.
pub fn resolve_alone(manifest: &Manifest, entry: &StageEntry) -> Result<ResolvedStage, Vec<Diagnostic>> {
    let found = find(manifest, entry).map_err(|finding| vec![*finding])?;
    let (stage, _, findings) = check(manifest, entry, found);
    if findings.iter().any(Diagnostic::is_error) { Err(findings) } else { Ok(stage) }
}

fn find(manifest: &Manifest, entry: &StageEntry) -> Result<Found, Box<Diagnostic>> {
    let at_stage = |finding: Diagnostic| Box::new(at_use(manifest, entry, finding));
    let reference = entry.plugin.as_str();
    if reference.contains("://") {
        let message = format!("stage `{}`: plugins from {reference} are not supported yet", entry.name);
        return Err(at_stage(
            Diagnostic::error("ksp::plugin::unsupported-source", message)
                .hint("use an embedded plugin (`ksp/<name>`), or fetch the file and give its path"),
        ));
    }
    if is_path(reference) {
        return from_file(manifest, entry, reference).map_err(at_stage);
    }
    let full = if reference.contains('/') { reference.to_owned() } else { format!("ksp/{reference}") };
    let Some(plugin) = embedded::find(&full) else {
        return Err(at_stage(unknown(entry, &full)));
    };
    let package = plugin.package().map_err(|error| at_stage(broken(entry, reference, &error)))?;
    Ok(Found { package, source: "embedded".into(), trusted: true })
}

fn is_path(reference: &str) -> bool {
    reference.starts_with(['.', '/']) || Path::new(reference).extension().is_some_and(|kind| kind == "wasm")
}

fn unknown(entry: &StageEntry, full: &str) -> Diagnostic {
    let names: Vec<&str> = embedded::all().iter().map(|plugin| plugin.name).collect();
    let finding = Diagnostic::error(
        "ksp::plugin::unknown",
        format!("stage `{}`: there is no plugin `{}`", entry.name, entry.plugin),
    );
    match config::closest(full, names.iter().copied()) {
        Some(name) => finding.hint(format!("did you mean `{name}`?")),
        None => finding.hint(format!("embedded are: {}", names.join(", "))),
    }
}

fn from_file(manifest: &Manifest, entry: &StageEntry, reference: &str) -> Result<Found, Diagnostic> {
    let path: PathBuf = manifest.path.parent().unwrap_or(Path::new("")).join(reference);
    let unreadable = |reason: String| {
        Diagnostic::error(
            "ksp::plugin::unreadable",
            format!("stage `{}`: the plugin {} cannot be read: {reason}", entry.name, path.display()),
        )
        .hint("paths are relative to the manifest")
    };
    let about = std::fs::metadata(&path).map_err(|error| unreadable(error.to_string()))?;
    if !about.is_file() {
        return Err(unreadable("it is not a file".into()));
    }
    if about.len() > LARGEST_PLUGIN as u64 {
        return Err(unreadable(format!(
            "it has {} MiB, at most {} are read",
            about.len() >> 20,
            LARGEST_PLUGIN >> 20
        )));
    }
    let bytes = std::fs::read(&path).map_err(|error| unreadable(error.to_string()))?;
    let package = Package::read(bytes.into()).map_err(|error| broken(entry, reference, &error))?;
    if package.metadata.publisher() == FIRST_PARTY {
        return Err(Diagnostic::error(
            "ksp::plugin::reserved-name",
            format!("stage `{}`: {reference} calls itself {}", entry.name, package.metadata.name),
        )
        .hint("the publisher `ksp` is that of the embedded plugins; build it under a name of your own"));
    }
    Ok(Found { package, source: reference.to_owned(), trusted: false })
}

fn broken(entry: &StageEntry, reference: &str, error: &PackageError) -> Diagnostic {
    Diagnostic::error(
        error.code(),
        format!("stage `{}`: the plugin {reference} cannot be used: {error}", entry.name),
    )
    .hint(error.hint())
}

fn check(manifest: &Manifest, entry: &StageEntry, found: Found) -> (ResolvedStage, String, Vec<Diagnostic>) {
    let Package { digest, metadata, component, assets } = found.package;
    let metadata = as_configured(metadata, &entry.config);
    let plugin = PluginId { name: metadata.name.clone(), version: metadata.version.clone(), digest };
    let mut findings = check_versions(manifest, entry, &plugin, &metadata);
    let grants = grants(entry, &plugin, &metadata, found.trusted, &mut findings);
    findings.extend(config::check(manifest, entry, &metadata));
    findings = findings.into_iter().map(|finding| at_use(manifest, entry, finding)).collect();
    let stage = ResolvedStage {
        name: entry.name.clone(),
        plugin,
        metadata,
        component,
        assets,
        grants,
        nodes: entry.nodes.clone(),
        config: entry.config.clone(),
        trusted: found.trusted,
    };
    (stage, found.source, findings)
}

/// Without the slots that a stage with this config does not provide.
fn as_configured(metadata: Arc<Metadata>, config: &Value) -> Arc<Metadata> {
    if metadata.provides.iter().all(|slot| slot.is_provided(config, &metadata.config_schema)) {
        return metadata;
    }
    let mut own = Metadata::clone(&metadata);
    own.provides.retain(|slot| slot.is_provided(config, &metadata.config_schema));
    Arc::new(own)
}

fn check_versions(
    manifest: &Manifest,
    entry: &StageEntry,
    plugin: &PluginId,
    metadata: &Metadata,
) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    if !entry.version.matches(&plugin.version) {
        findings.push(
            Diagnostic::error(
                "ksp::plugin::version",
                format!(
                    "stage `{}` wants {} {}, found {}",
                    entry.name, plugin.name, entry.version, plugin.version
                ),
            )
            .hint("change the stage's `version`, or use another ksp: each carries its own plugins"),
        );
    }
    if !metadata.api.matches(&API) {
        findings.push(
            Diagnostic::error(
                "ksp::plugin::incompatible",
                format!(
                    "stage `{}`: {plugin} needs version {} of the plugin contract, this ksp offers {API}",
                    entry.name, metadata.api
                ),
            )
            .hint("use another version of the plugin, or a newer ksp"),
        );
    }
    let kubernetes = &manifest.cluster.kubernetes;
    // Ranges mean releases: an alpha of a supported minor is that minor.
    let release = Version::new(kubernetes.major, kubernetes.minor, kubernetes.patch);
    if let Some(range) = metadata.kubernetes.as_ref().filter(|range| !range.matches(&release)) {
        findings.push(
            Diagnostic::error(
                "ksp::plugin::kubernetes",
                format!(
                    "stage `{}`: {plugin} works with Kubernetes {range}, not with {kubernetes}",
                    entry.name
                ),
            )
            .hint("change `cluster.kubernetes`, or use another version of the plugin"),
        );
    }
    findings
}

fn grants(
    entry: &StageEntry,
    plugin: &PluginId,
    metadata: &Metadata,
    trusted: bool,
    findings: &mut Vec<Diagnostic>,
) -> Grants {
    let mut parse = |texts: &[String], whose: &str| -> Vec<Capability> {
        let (good, bad): (Vec<_>, Vec<_>) = texts.iter().map(|text| text.parse()).partition(Result::is_ok);
        findings.extend(bad.into_iter().filter_map(Result::err).map(|error: String| {
            Diagnostic::error("ksp::capability::unknown", format!("stage `{}`: {whose}: {error}", entry.name))
        }));
        good.into_iter().filter_map(Result::ok).collect()
    };
    let asked = parse(&metadata.capabilities, "the plugin's manifest");
    let granted = parse(&entry.grants, "grants");
    let chosen = !granted.is_empty();
    let grants = Grants::new(plugin.clone(), &entry.name, &entry.plugin, asked, granted, trusted);
    let missing = grants.missing();
    // Whoever grants something has chosen: what is left out is denied when it is tried. Whoever grants nothing has not seen
    // what is asked for.
    if !chosen && !missing.is_empty() {
        let texts: Vec<String> = missing.iter().map(|capability| format!("\"{capability}\"")).collect();
        findings.push(
            Diagnostic::error(
                "ksp::capability::not-granted",
                format!("stage `{}`: plugin {plugin} asks for capabilities that the manifest does not grant", entry.name),
            )
            .hint(format!(
                "to allow all of it, give the stage this in the manifest:\n  [[stage]]\n  use = {:?}\n  grants = [{}]",
                entry.plugin,
                texts.join(", ")
            )),
        );
    } else if !metadata.probe.is_empty()
        && let Err(denied) = grants.allows(&Need::Probe)
    {
        findings.push(grants.finding(&denied).note("its manifest declares commands to run with the facts"));
    }
    grants
}

/// Shows the place of the stage, unless the finding has one.
fn at_use(manifest: &Manifest, entry: &StageEntry, finding: Diagnostic) -> Diagnostic {
    match manifest.stage_span(&entry.name) {
        Some(span) if finding.spans.is_empty() => finding.at(span),
        _ => finding,
    }
}
