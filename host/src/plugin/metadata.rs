//! What a plugin says of itself: `plugin.toml`, embedded in the component as JSON in the custom section `ksp:manifest`.
//! The host reads it without running the guest.

use std::collections::BTreeMap;

use semver::{Version, VersionReq};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A plugin's manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Metadata {
    /// "publisher/name".
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Versions of the contract it works with: "^0.1".
    pub api: VersionReq,
    /// One line.
    pub summary: String,
    /// SPDX.
    pub license: String,
    /// What it offers to other stages.
    #[serde(default)]
    pub provides: Vec<Slot>,
    /// Slots it needs.
    #[serde(default)]
    pub requires: Vec<String>,
    /// Slots it comes after when some stage provides them.
    #[serde(default)]
    pub wants: Vec<String>,
    /// Supported Kubernetes versions; default: all.
    #[serde(default)]
    pub kubernetes: Option<VersionReq>,
    /// What it asks for, see `capability.rs`: "exec", "files:/etc/containerd/**", "services", "kube:kube-system", "artifacts", "pki:kubernetes" …
    #[serde(default)]
    pub capabilities: Vec<String>,
    /// Read-only commands that the host runs with the facts.
    #[serde(default)]
    pub probe: Vec<ProbeCommand>,
    /// Release files it may install, by name.
    #[serde(default)]
    pub artifact: BTreeMap<String, Artifact>,
    /// Limits that differ from the host's defaults.
    #[serde(default)]
    pub limits: Limits,
    /// JSON Schema of the config, put in when the plugin is packaged (from `config.schema.json`).
    #[serde(default)]
    pub config_schema: Value,
}

/// The longest text that a plugin may have in its manifest.
const LONGEST_TEXT: usize = 4096;

impl Metadata {
    /// The name without its publisher: the stage's default name.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// Who publishes it.
    pub fn publisher(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// What is wrong with it beyond its shape, one phrase each. Everything here comes from the plugin's author and ends up on
    /// terminals and in file names.
    pub fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        match self.name.split_once('/') {
            Some((publisher, name)) if is_label(publisher) && is_label(name) => {}
            _ => found.push(format!(
                "name {:?} is not `publisher/name` in lower case letters, digits and dashes",
                self.name
            )),
        }
        let texts = [("summary", &self.summary), ("license", &self.license)];
        for (key, text) in texts {
            if text.is_empty() || text.len() > LONGEST_TEXT || text.chars().any(is_unprintable) {
                found.push(format!("{key} is empty, too long or holds control characters"));
            }
        }
        let slots = self.provides.iter().map(|slot| &slot.slot).chain(&self.requires).chain(&self.wants);
        for slot in slots.filter(|slot| !is_label(slot)) {
            found.push(format!("slot {slot:?} is not in lower case letters, digits and dashes"));
        }
        for pointer in self.provides.iter().filter_map(|slot| slot.when.as_ref()) {
            if !pointer.strip_prefix('/').is_some_and(|keys| keys.split('/').all(is_label)) {
                found.push(format!("`when` {pointer:?} is not a JSON pointer to a key of the config"));
            }
        }
        for probe in &self.probe {
            if !is_label(&probe.name)
                || probe.argv.is_empty()
                || probe.argv.iter().any(|word| word.contains('\0'))
            {
                found.push(format!(
                    "probe {:?} needs a name in lower case letters, digits and dashes, and a command",
                    probe.name
                ));
            }
        }
        for (name, artifact) in &self.artifact {
            found
                .extend(artifact.mistakes().into_iter().map(|mistake| format!("artifact {name}: {mistake}")));
        }
        if self.limits.memory_mib.is_some_and(|mib| !(1..=Limits::MOST_MEMORY_MIB).contains(&mib)) {
            found.push(format!("limits.memory-mib must be between 1 and {}", Limits::MOST_MEMORY_MIB));
        }
        if self.limits.plan_ms.is_some_and(|ms| !(1..=Limits::MOST_PLAN_MS).contains(&ms)) {
            found.push(format!("limits.plan-ms must be between 1 and {}", Limits::MOST_PLAN_MS));
        }
        found
    }
}

impl Artifact {
    fn mistakes(&self) -> Vec<String> {
        let mut found = Vec::new();
        let plain = self.url.strip_prefix("https://").or_else(|| self.url.strip_prefix("http://"));
        if plain.is_none() || self.url.chars().any(|c| c.is_whitespace() || is_unprintable(c)) {
            found.push(format!("{:?} is not an http or https address", self.url));
        }
        for (version, digests) in &self.versions {
            if version.chars().any(|c| c == '/' || c.is_whitespace() || is_unprintable(c))
                || version.contains("..")
            {
                found.push(format!("{version:?} is not a version"));
            }
            for (arch, digest) in digests {
                let hex = digest.strip_prefix("sha256:").unwrap_or_default();
                if hex.len() != 64 || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
                    found.push(format!("{version} {arch}: {digest:?} is not `sha256:` and 64 hex digits"));
                }
            }
        }
        found
    }
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Control characters, and those that change the direction of text.
fn is_unprintable(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Something that a stage offers to others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Slot {
    /// "runtime", "network", …
    pub slot: String,
    /// Whether those who need it wait for their own node only, or for the whole cluster.
    pub scope: Scope,
    /// JSON pointer to a key of the config: provided only by a stage that sets it to `true`. Left out, it counts as what the schema
    /// gives as its default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
}

impl Slot {
    /// The key that must be set, as people write it: `a.b` for `/a/b`.
    pub fn key(&self) -> Option<String> {
        self.when.as_ref().map(|pointer| pointer.trim_start_matches('/').replace('/', "."))
    }

    /// True when a stage with this config provides it.
    pub fn is_provided(&self, config: &Value, schema: &Value) -> bool {
        let Some(pointer) = &self.when else { return true };
        let default = || schema.pointer(&format!("{}/default", pointer.replace('/', "/properties/")));
        config.pointer(pointer).or_else(default).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// Who waits for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// A step waits for the step of the same node.
    Node,
    /// A step waits for all steps of the providing stage, or for the op that provides the slot.
    Cluster,
}

/// A read-only command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ProbeCommand {
    /// The fact is `probe.<name>`.
    pub name: String,
    /// What to run.
    pub argv: Vec<String>,
}

/// A release file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Artifact {
    /// Address with `{version}` and `{arch}`.
    pub url: String,
    /// What upstream calls an architecture where that is not "amd64" or "arm64".
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arch_names: BTreeMap<String, String>,
    /// Version to architecture to "sha256:…"; the architecture "any" stands for a file that fits all.
    #[serde(default)]
    pub versions: BTreeMap<String, BTreeMap<String, String>>,
}

/// What a plugin may use of the controller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Limits {
    /// Linear memory in MiB; default 64, at most 256.
    pub memory_mib: Option<u32>,
    /// Wall time of `plan` in milliseconds; default 10 000.
    pub plan_ms: Option<u64>,
}

impl Limits {
    /// The most linear memory that a plugin can ask for.
    pub const MOST_MEMORY_MIB: u32 = 256;
    /// The most time that a plugin can ask for.
    pub const MOST_PLAN_MS: u64 = 120_000;
}
