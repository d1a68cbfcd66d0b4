//! A scenario: some nodes and what their manifest says, as data under `tests/lab/scenarios/`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::build::Wanted;
use crate::node::Node;
use crate::process::run;
use crate::{build, lock, manifest, mirror, paths, podman, release, tell};

/// `<name>.toml`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Scenario {
    /// The file's name.
    #[serde(skip)]
    pub name: String,
    /// The API's address; the first control plane's when not given.
    endpoint: Option<String>,
    /// Who ksp logs in as: `root` or `ksp`.
    #[serde(default = "default_user")]
    pub user: String,
    /// Optional components it needs besides the ordinary ones.
    #[serde(default)]
    pub components: Vec<String>,
    /// Its nodes.
    #[serde(rename = "node")]
    pub nodes: Vec<Node>,
    /// Values for the manifest's template.
    #[serde(default)]
    pub vars: toml::Table,
    /// Merged over the manifest.
    #[serde(default)]
    pub manifest: toml::Table,
    /// Stage → merged over its configuration.
    #[serde(default)]
    pub stage_config: BTreeMap<String, toml::Table>,
}

fn default_user() -> String {
    "root".to_owned()
}

impl Scenario {
    /// One by name.
    pub fn load(name: &str) -> Result<Self> {
        let path = paths::lab().join("scenarios").join(format!("{name}.toml"));
        let text = fs::read_to_string(&path).with_context(|| {
            format!("there is no scenario `{name}` ({}); there are: {}", path.display(), names())
        })?;
        Self::parse(name, &text).with_context(|| path.display().to_string())
    }

    /// Every one.
    pub fn all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for entry in fs::read_dir(paths::lab().join("scenarios"))? {
            let path = entry?.path();
            if let Some(name) =
                path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".toml"))
            {
                all.push(Self::load(name)?);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// One from its text.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let mut scenario: Self = toml::from_str(text)?;
        scenario.name = name.to_owned();
        for node in &mut scenario.nodes {
            node.scenario = name.to_owned();
        }
        scenario.endpoint()?;
        Ok(scenario)
    }

    /// The API's address.
    pub fn endpoint(&self) -> Result<String> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        let first = self.nodes.iter().find(|node| node.roles.iter().any(|role| role == "control-plane"));
        let first = first.with_context(|| format!("scenario `{}` has no control plane", self.name))?;
        Ok(format!("{}:6443", first.address))
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.with_context(|| {
            let names: Vec<&str> = self.nodes.iter().map(|node| node.name.as_str()).collect();
            format!("scenario `{}` has no node `{name}`; it has: {}", self.name, names.join(", "))
        })
    }

    /// `target/lab/<name>`.
    pub fn folder(&self) -> PathBuf {
        paths::working(&self.name)
    }

    /// The manifest that ksp is given.
    pub fn manifest_path(&self) -> PathBuf {
        self.folder().join("manifest.toml")
    }

    /// Where ksp writes the kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join(format!("{}.kubeconfig", self.name))
    }

    /// Builds what is missing, boots the mirror and the nodes, writes the manifest and what it names.
    /// What runs is kept.
    pub fn up(self) -> Result<Self> {
        build::ensure(Wanted::With(&self.components))?;
        mirror::ensure()?;
        let _lock = lock::take(&format!("scenario-{}", self.name))?;
        self.make_key()?;
        side_by_side(&self.nodes, Node::ensure)?;
        self.write_manifest()?;
        self.write_known_hosts()?;
        tell::say(format_args!("up: {}", shown(&self.manifest_path())));
        Ok(self)
    }

    /// Removes the nodes with their disks, and the working folder.
    pub fn down(&self) -> Result<()> {
        down(&self.name)
    }

    /// Writes the manifest and the checksums beside it.
    pub fn write_manifest(&self) -> Result<()> {
        write(&self.manifest_path(), &manifest::render(self)?)?;
        let sums = release::checksums_path()?;
        let text = fs::read_to_string(&sums).with_context(|| format!("cannot read {}", sums.display()))?;
        write(&self.folder().join("SHA256SUMS"), &text)
    }

    /// Writes the host keys of the nodes that run; needed again after a node was replaced.
    pub fn write_known_hosts(&self) -> Result<()> {
        let mut lines = String::new();
        for node in &self.nodes {
            if node.state()?.as_deref() == Some("running") {
                lines.push_str(&node.known_hosts()?);
            }
        }
        write(&self.folder().join("ssh/known_hosts"), &lines)
    }

    fn make_key(&self) -> Result<()> {
        let key = self.folder().join("ssh/id_ed25519");
        fs::create_dir_all(self.folder().join("ssh"))?;
        if key.is_file() {
            return Ok(());
        }
        let comment = format!("ksp-lab-{}", self.name);
        run("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", &comment, "-f"])
            .arg(&key)
            .output()
            .map(drop)
    }
}

/// Removes a scenario's nodes with their disks and its working folder, also when its file is gone.
pub fn down(name: &str) -> Result<()> {
    let _lock = lock::take(&format!("scenario-{name}"))?;
    side_by_side(&podman::labelled(&format!("ksp.scenario={name}"))?, |container| {
        tell::say(format_args!("remove {container}"));
        podman::remove(container)
    })?;
    let folder = paths::working(name);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

/// Does it to all at once; the first failure is told when all have ended.
fn side_by_side<T: Sync>(items: &[T], act: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let acts: Vec<_> = items.iter().map(|item| scope.spawn(|| act(item))).collect();
        let results: Vec<_> = acts.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        results.into_iter().try_for_each(|result| result.unwrap_or_else(|_| bail!("a thread panicked")))
    })
}

/// A path as a person in the checkout would type it.
pub fn shown(path: &Path) -> String {
    path.strip_prefix(paths::root()).unwrap_or(path).display().to_string()
}

fn names() -> String {
    let all = Scenario::all().unwrap_or_default();
    all.iter().map(|scenario| scenario.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Only when it changes, and whole or not at all.
fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|found| found == text) {
        return Ok(());
    }
    let temporary = path.with_extension("new");
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn scenarios_can_run_side_by_side() {
        let all = Scenario::all().unwrap();
        assert!(all.len() >= 3);
        let mut addresses = BTreeSet::new();
        for node in all.iter().flat_map(|scenario| &scenario.nodes) {
            assert!(addresses.insert(node.address), "{} is taken twice", node.address);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = Scenario::parse("x", "node = []").unwrap_err();
        assert!(error.to_string().contains("no control plane"));
        let error = Scenario::load("no-such").unwrap_err();
        assert!(format!("{error:#}").contains("demo"), "{error:#}");
        let error = Scenario::load("demo").unwrap().node("w9").map(drop).unwrap_err();
        assert!(error.to_string().contains("cp1, w1, w2"), "{error}");
    }
}
