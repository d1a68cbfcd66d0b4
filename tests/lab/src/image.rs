//! Container images assembled from binaries, without a Dockerfile, into the registry's storage.

mod layer;
mod layout;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::component::{Component, Image};
use crate::registry::Registry;
use crate::{digest, lock, paths, rootfs, tell};

/// Part of every image's key: raise it when this module makes other images from the same input.
const FORMAT: u32 = 1;

/// Assembles and pushes what the registry lacks of these components' images.
pub fn ensure(components: &[Component]) -> Result<()> {
    let _lock = lock::take("images")?;
    let mut registry = None;
    let mut present = 0;
    for (component, image) in components.iter().flat_map(|c| c.images.iter().map(move |image| (c, image))) {
        let key = key(component, image)?;
        let stamp = stamp(image)?;
        if fs::read_to_string(&stamp).is_ok_and(|found| found == key) && Registry::stores(&image.reference)? {
            present += 1;
            continue;
        }
        if registry.is_none() {
            registry = Some(Registry::start()?);
        }
        if let Some(registry) = &registry {
            tell::timed(&format!("image {}", image.reference), || push(component, image, registry))?;
        }
        fs::write(&stamp, key)?;
    }
    if present > 0 {
        tell::say(format_args!("images: {present} present"));
    }
    Ok(())
}

/// The repository and tag without the registry's host, as a mirror serves it.
pub fn repository(reference: &str) -> &str {
    reference.split_once('/').map_or(reference, |(_, rest)| rest)
}

fn stamp(image: &Image) -> Result<PathBuf> {
    Ok(paths::cached("images")?.join(image.reference.replace(['/', ':'], "_")))
}

/// Changes when anything that the image is made of changes.
fn key(component: &Component, image: &Image) -> Result<String> {
    let mut parts = vec![FORMAT.to_string(), component.recipe()?, serde_json::to_string(image)?];
    for file in image.packed() {
        if let Some((owner, _)) = file.split_once('/') {
            parts.push(Component::load(owner)?.recipe()?);
        }
    }
    if let Some(base) = &image.base {
        parts.push(rootfs::key(base)?);
    }
    Ok(digest::of_bytes(parts.join("\n")))
}

fn push(component: &Component, image: &Image, registry: &Registry) -> Result<()> {
    let mut layers = Vec::new();
    if let Some(base) = &image.base {
        layers.push(layer::base(base)?);
    }
    let sources = sources(component, image).with_context(|| image.reference.clone())?;
    layers.push(layer::own(image, &sources)?);
    let folder = layout::write(image, &layers)?;
    registry.push(folder.path(), repository(&image.reference))
}

/// Path in the image → file of the cache.
fn sources(component: &Component, image: &Image) -> Result<BTreeMap<String, PathBuf>> {
    let mut sources = BTreeMap::new();
    for (path, file) in &image.files {
        sources.insert(path.clone(), built(component, file)?);
    }
    for (path, tree) in &image.trees {
        tree_of(path.trim_end_matches('/'), &built(component, tree)?, &mut sources)?;
    }
    Ok(sources)
}

/// Where the cache has a binary or a folder of the component, or of another one by `component/binary`.
fn built(component: &Component, name: &str) -> Result<PathBuf> {
    match name.split_once('/') {
        Some((owner, name)) => Component::load(owner)?.binary(name),
        None => component.binary(name),
    }
}

fn tree_of(path: &str, folder: &Path, sources: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            tree_of(&path, &entry.path(), sources)?;
        } else {
            sources.insert(path, entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_no_part_of_the_repository() {
        assert_eq!(repository("registry.k8s.io/coredns/coredns:v1"), "coredns/coredns:v1");
        assert_eq!(repository("docker.io/library/busybox:1.36"), "library/busybox:1.36");
    }

    #[test]
    fn a_tree_is_all_its_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("service/felix")).unwrap();
        fs::write(folder.path().join("service/felix/run"), "").unwrap();
        fs::write(folder.path().join("rc.local"), "").unwrap();
        let mut sources = BTreeMap::new();
        tree_of("/etc", folder.path(), &mut sources).unwrap();
        assert_eq!(sources.keys().collect::<Vec<_>>(), ["/etc/rc.local", "/etc/service/felix/run"]);
        assert_eq!(sources["/etc/rc.local"], folder.path().join("rc.local"));
    }
}
