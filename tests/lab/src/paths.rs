//! Where things are: the checkout, the cache, a scenario's working folder.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// `tests/lab` of the checkout this program was built from.
pub fn lab() -> PathBuf {
    let compiled = Path::new(env!("CARGO_MANIFEST_DIR"));
    compiled.canonicalize().unwrap_or_else(|_| compiled.to_path_buf())
}

/// The checkout.
pub fn root() -> PathBuf {
    let lab = lab();
    lab.ancestors().nth(2).map(Path::to_path_buf).unwrap_or(lab)
}

/// The program under test, as `cargo build` leaves it.
pub fn ksp() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    root().join(target).join("debug/ksp")
}

/// Everything that is built once: `KSP_LAB_CACHE`, else `~/.cache/ksp-lab`.
pub fn cache() -> Result<PathBuf> {
    if let Some(own) = std::env::var_os("KSP_LAB_CACHE") {
        return std::path::absolute(own).context("KSP_LAB_CACHE is no usable path");
    }
    let home = std::env::var_os("HOME").context("HOME is not set; set KSP_LAB_CACHE")?;
    Ok(PathBuf::from(home).join(".cache/ksp-lab"))
}

/// A folder of the cache, made when missing.
pub fn cached(folder: &str) -> Result<PathBuf> {
    let path = cache()?.join(folder);
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// A scenario's manifest, keys and kubeconfig: `target/lab/<scenario>`.
pub fn working(scenario: &str) -> PathBuf {
    root().join("target/lab").join(scenario)
}

/// The processor's name as release files spell it.
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "aarch64" => "arm64",
        "x86_64" => "amd64",
        other => other,
    }
}
