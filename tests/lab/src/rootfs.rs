//! Small Debian systems made by mmdebstrap: the nodes', the mirror's and the images' base layers.
//! One folder each under `tests/lab/rootfs/`; cached under the digest of that folder and of those it is based on.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::process::run;
use crate::{digest, lock, paths, tell};

/// `rootfs.toml`; the folder `files/` beside it is copied over the tree.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recipe {
    /// Another recipe, which this one adds to.
    base: Option<String>,
    #[serde(default)]
    suite: String,
    #[serde(default)]
    variant: String,
    packages: Vec<String>,
    /// Shell lines run with the tree as `$1`.
    #[serde(default)]
    customize: Vec<String>,
    /// Folders that are copied over the tree, in this order.
    #[serde(skip)]
    files: Vec<PathBuf>,
}

impl Recipe {
    /// With everything of its base.
    fn read(name: &str) -> Result<Self> {
        let own = Self::own(name)?;
        let Some(base) = &own.base else { return Ok(own) };
        let mut whole = Self::read(base)?;
        whole.packages.extend(own.packages);
        whole.customize.extend(own.customize);
        whole.files.extend(own.files);
        Ok(whole)
    }

    fn own(name: &str) -> Result<Self> {
        let path = folder(name).join("rootfs.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut recipe: Self = toml::from_str(&text).with_context(|| path.display().to_string())?;
        recipe.files = vec![folder(name).join("files")];
        Ok(recipe)
    }
}

fn folder(name: &str) -> PathBuf {
    paths::lab().join("rootfs").join(name)
}

/// A system that exists in the cache.
#[derive(Debug, Clone)]
pub struct Rootfs {
    /// The tree, or the tar file.
    pub path: PathBuf,
    /// Name and digest of the recipe.
    pub key: String,
}

/// As a folder, for a container.
pub fn tree(name: &str) -> Result<Rootfs> {
    ensure(name, "")
}

/// As a tar file, for an image's layer.
pub fn archive(name: &str) -> Result<Rootfs> {
    ensure(name, ".tar")
}

/// Name and digest of a recipe, without making it.
pub fn key(name: &str) -> Result<String> {
    let mut digest = digest::of_folder(&folder(name), &[])?;
    if let Some(base) = Recipe::own(name)?.base {
        digest = digest::of_bytes(format!("{digest} {}", key(&base)?));
    }
    Ok(format!("{name}-{}", &digest[..16]))
}

fn ensure(name: &str, extension: &str) -> Result<Rootfs> {
    let key = key(name)?;
    let path = paths::cached("rootfs")?.join(format!("{key}{extension}"));
    if !path.exists() {
        let _lock = lock::take(&format!("rootfs-{name}"))?;
        if !path.exists() {
            tell::timed(&format!("make the Debian system `{name}`"), || make(name, &path, extension))?;
        }
    }
    Ok(Rootfs { path, key })
}

fn make(name: &str, path: &Path, extension: &str) -> Result<()> {
    let recipe = Recipe::read(name)?;
    let parent = path.parent().context("the cache has no parent folder")?;
    let temporary = tempfile::Builder::new().prefix(".making-").tempdir_in(parent)?;
    let output = temporary.path().join(format!("rootfs{extension}"));
    let mut mmdebstrap = run("nice")
        .args(["-n", "10", "mmdebstrap", "--mode=root"])
        .arg(format!("--variant={}", recipe.variant))
        .arg(format!("--include={}", recipe.packages.join(",")));
    for files in recipe.files.iter().filter(|files| files.is_dir()) {
        mmdebstrap = mmdebstrap.arg(format!("--customize-hook=cp -rT '{}' \"$1\"", files.display()));
    }
    for line in &recipe.customize {
        mmdebstrap = mmdebstrap.arg(format!("--customize-hook={line}"));
    }
    mmdebstrap
        .arg(&recipe.suite)
        .arg(&output)
        .env("SOURCE_DATE_EPOCH", "1767225600")
        .deadline(900)
        .output()?;
    fs::rename(&output, path).context("cannot finish the system")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_reads_and_has_a_stable_key() {
        for entry in fs::read_dir(paths::lab().join("rootfs")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(!Recipe::read(name).unwrap().suite.is_empty(), "{name}");
            assert_eq!(key(name).unwrap(), key(name).unwrap());
        }
    }
}
