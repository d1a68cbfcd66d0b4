//! `ksp plugin list`: what stages are made of.

use std::path::Path;

use serde::Serialize;

use super::init::ChainEntry;
use super::{Class, Failure, reach};
use crate::diagnostic::Diagnostic;
use crate::plugin::embedded;
use crate::plugin::lockfile::LockMode;
use crate::plugin::metadata::Metadata;
use crate::plugin::resolve::{Options, ResolvedStage, resolve, slots};

/// Data, so that no code names a stage.
const DEFAULT_CHAIN: &str = include_str!("../../../plugins/default-chain");

/// A plugin.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The stage that uses it; none for the list of the binary.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// "publisher/name".
    pub name: String,
    /// Its version.
    pub version: String,
    /// "sha256:…" of the file.
    pub digest: String,
    /// One line.
    pub summary: String,
    /// Slots it offers.
    pub provides: Vec<String>,
    /// Slots it needs.
    pub requires: Vec<String>,
    /// What it asks for.
    pub capabilities: Vec<String>,
}

impl Row {
    /// As `ksp init` writes it.
    pub fn chain_entry(&self) -> ChainEntry<'_> {
        let serves_endpoint = self.provides.iter().any(|slot| slot == slots::ENDPOINT);
        ChainEntry { plugin: &self.name, summary: &self.summary, serves_endpoint }
    }

    fn new(stage: Option<String>, metadata: &Metadata, digest: &str) -> Self {
        Self {
            stage,
            name: metadata.name.clone(),
            version: metadata.version.to_string(),
            digest: digest.to_owned(),
            summary: metadata.summary.clone(),
            provides: metadata.provides.iter().map(|slot| slot.slot.clone()).collect(),
            requires: metadata.requires.clone(),
            capabilities: metadata.capabilities.clone(),
        }
    }
}

/// The plugins inside this binary.
///
/// # Errors
/// None in a binary that passed its tests.
pub fn embedded() -> Result<Vec<Row>, Failure> {
    let row = |plugin: &embedded::Embedded| {
        let package = plugin.package().map_err(|error| {
            let message = format!("the embedded plugin {} is damaged: {error}", plugin.name);
            Failure::new(Class::Internal, Diagnostic::error("ksp::plugin::manifest", message))
        })?;
        Ok(Row::new(None, &package.metadata, plugin.digest))
    };
    embedded::all().iter().map(row).collect()
}

/// The plugins of a manifest's stages, in the order of the chain.
///
/// # Errors
/// The manifest or a plugin cannot be used.
pub fn of_manifest(path: &Path) -> Result<Vec<Row>, Failure> {
    let manifest = reach::load(path)?;
    let options = Options { lock: LockMode::Ignore };
    let resolved = resolve(&manifest, options).map_err(|findings| Failure::all(Class::Invalid, findings))?;
    let row =
        |stage: &ResolvedStage| Row::new(Some(stage.name.clone()), &stage.metadata, &stage.plugin.digest);
    Ok(resolved.stages.iter().map(row).collect())
}

/// The plugins that a new manifest begins with, in the order of the chain.
///
/// # Errors
/// None in a binary that passed its tests.
pub fn default_chain() -> Result<Vec<Row>, Failure> {
    let known = embedded()?;
    let names =
        DEFAULT_CHAIN.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(names.filter_map(|name| known.iter().find(|row| row.name == name).cloned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plugin_of_the_default_chain_is_in_the_binary() {
        let lines = DEFAULT_CHAIN.lines().filter(|line| !line.starts_with('#')).count();
        assert_eq!(default_chain().unwrap().len(), lines);
    }
}
