//! Container images assembled from binaries, without a Dockerfile, into the registry's storage.

mod layer;
mod layout;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

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
    for file in image.files.values() {
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
    layers.push(layer::own(image, &sources(component, image)?)?);
    let folder = layout::write(image, &layers)?;
    registry.push(folder.path(), repository(&image.reference))
}

/// Path in the image → file of the cache.
fn sources(component: &Component, image: &Image) -> Result<BTreeMap<String, PathBuf>> {
    image
        .files
        .iter()
        .map(|(path, file)| {
            let binary = match file.split_once('/') {
                Some((owner, binary)) => Component::load(owner)?.binary(binary)?,
                None => component.binary(file)?,
            };
            Ok((path.clone(), binary))
        })
        .collect::<Result<_>>()
        .with_context(|| image.reference.clone())
}

#[cfg(test)]
mod tests {
    use super::repository;

    #[test]
    fn the_host_is_no_part_of_the_repository() {
        assert_eq!(repository("registry.k8s.io/coredns/coredns:v1"), "coredns/coredns:v1");
        assert_eq!(repository("docker.io/library/busybox:1.36"), "library/busybox:1.36");
    }
}
