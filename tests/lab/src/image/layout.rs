//! An image as an OCI layout folder: what skopeo copies into a registry.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::layer::Layer;
use crate::component::Image;
use crate::{digest, paths};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Unqualified commands of pods are found through it.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The same input gives the same digest.
const CREATED: &str = "2026-01-01T00:00:00Z";

/// Writes it; the folder is removed when dropped.
pub(super) fn write(image: &Image, layers: &[Layer]) -> Result<TempDir> {
    let folder = tempfile::tempdir_in(paths::cached("layers")?)?;
    let blobs = folder.path().join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    for layer in layers {
        fs::hard_link(&layer.path, blobs.join(&layer.digest)).context("cannot link a layer")?;
    }
    let config = blob(&blobs, CONFIG, &config(image, layers))?;
    let layers: Vec<Value> =
        layers.iter().map(|layer| descriptor(LAYER, &layer.digest, layer.size)).collect();
    let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
    let manifest = blob(&blobs, MANIFEST, &manifest)?;
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [manifest] });
    fs::write(folder.path().join("index.json"), index.to_string())?;
    fs::write(folder.path().join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())?;
    Ok(folder)
}

fn config(image: &Image, layers: &[Layer]) -> Value {
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", layer.diff_id)).collect();
    json!({
        "created": CREATED,
        "architecture": paths::arch(),
        "os": "linux",
        "config": { "Env": [PATH], "Entrypoint": image.entrypoint, "Cmd": image.cmd, "User": image.user },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": [{ "created": CREATED, "created_by": "cargo lab build" }],
    })
}

fn blob(folder: &Path, kind: &str, content: &Value) -> Result<Value> {
    let bytes = serde_json::to_vec(content)?;
    let digest = digest::of_bytes(&bytes);
    fs::write(folder.join(&digest), &bytes)?;
    Ok(descriptor(kind, &digest, bytes.len() as u64))
}

fn descriptor(kind: &str, digest: &str, size: u64) -> Value {
    json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": size })
}
