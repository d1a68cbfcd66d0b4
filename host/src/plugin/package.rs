//! Reads a plugin's file: what it says of itself and what it carries, without running or compiling it. Everything in it comes
//! from strangers, so sizes are bounded before anything is parsed.

pub mod assemble;

/// What `assemble` calls it, here and in `build.rs`.
use super::metadata;

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use wasmparser::{Encoding, Parser, Payload};

use crate::plugin::metadata::Metadata;
use assemble::{ASSETS_SECTION, MANIFEST_SECTION};

/// The largest plugin that is read, in bytes. Compilers of other languages bring whole interpreters.
pub const LARGEST_PLUGIN: usize = 64 << 20;

/// The largest manifest section, in bytes.
const LARGEST_MANIFEST: usize = 4 << 20;

/// The most bytes and files that assets may unpack to.
const LARGEST_ASSETS: u64 = 64 << 20;
const MOST_ASSETS: usize = 10_000;

/// A plugin's file, taken apart.
#[derive(Debug, Clone)]
pub struct Package {
    /// "sha256:…" of the whole file.
    pub digest: String,
    /// What it says of itself.
    pub metadata: Arc<Metadata>,
    /// The whole file: the component, whose custom sections do no harm.
    pub component: Bytes,
    /// The files it carries.
    pub assets: Assets,
}

/// Files shipped in a plugin, by path.
#[derive(Debug, Clone, Default)]
pub struct Assets(Arc<BTreeMap<String, Bytes>>);

impl Assets {
    /// One file.
    pub fn get(&self, path: &str) -> Option<&Bytes> {
        self.0.get(path)
    }

    /// Their names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl FromIterator<(String, Bytes)> for Assets {
    fn from_iter<I: IntoIterator<Item = (String, Bytes)>>(files: I) -> Self {
        Self(Arc::new(files.into_iter().collect()))
    }
}

/// Why a file is not a plugin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// Not a component at all.
    #[error("it is not a WebAssembly component: {0}")]
    NotAComponent(String),
    /// A component that says nothing of itself.
    #[error("it has no `{MANIFEST_SECTION}` section: a component, but not a ksp plugin")]
    NoManifest,
    /// What it says of itself makes no sense to this version of ksp.
    #[error("its manifest cannot be used: {0}")]
    Manifest(String),
    /// What it carries cannot be unpacked.
    #[error("its assets cannot be used: {0}")]
    Assets(String),
    /// More than ksp reads.
    #[error("it is too large: {0}")]
    TooLarge(String),
}

impl PackageError {
    /// Stable.
    pub fn code(&self) -> &'static str {
        match self {
            PackageError::NotAComponent(_) => "ksp::plugin::not-a-component",
            PackageError::NoManifest => "ksp::plugin::no-manifest",
            PackageError::Manifest(_) => "ksp::plugin::manifest",
            PackageError::Assets(_) => "ksp::plugin::assets",
            PackageError::TooLarge(_) => "ksp::plugin::too-large",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            PackageError::NotAComponent(_) => {
                "build it with `cargo build --target wasm32-wasip2` and pack it; a core module or another file does not do"
            }
            PackageError::NoManifest => {
                "pack the component together with its plugin.toml, see `sdk/README.md`"
            }
            PackageError::Manifest(_) => "the plugin may need a newer ksp; otherwise ask its publisher",
            PackageError::Assets(_) | PackageError::TooLarge(_) => "ask the plugin's publisher",
        }
    }
}

/// "sha256:…" of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

impl Package {
    /// Takes a plugin's file apart.
    ///
    /// # Errors
    /// It is not one.
    pub fn read(component: Bytes) -> Result<Self, PackageError> {
        let digest = digest(&component);
        Self::read_known(component, digest)
    }

    /// As [`Self::read`] for a file whose digest was made when ksp was built.
    ///
    /// # Errors
    /// It is not one.
    pub fn read_known(component: Bytes, digest: String) -> Result<Self, PackageError> {
        if component.len() > LARGEST_PLUGIN {
            let size = component.len() >> 20;
            return Err(PackageError::TooLarge(format!(
                "{size} MiB, at most {} are read",
                LARGEST_PLUGIN >> 20
            )));
        }
        let sections = sections(&component)?;
        let manifest = sections.manifest.ok_or(PackageError::NoManifest)?;
        let assets = sections.assets.map_or_else(|| Ok(Assets::default()), unpack)?;
        let metadata = Arc::new(parse_manifest(&component[manifest])?);
        Ok(Self { digest, metadata, component, assets })
    }
}

#[derive(Default)]
struct Sections<'a> {
    manifest: Option<std::ops::Range<usize>>,
    assets: Option<&'a [u8]>,
}

/// The custom sections of the outermost level only: nested modules may hold anything.
fn sections(component: &[u8]) -> Result<Sections<'_>, PackageError> {
    let broken = |error: wasmparser::BinaryReaderError| {
        PackageError::NotAComponent(format!("{} at byte {}", error.message(), error.offset()))
    };
    let mut found = Sections::default();
    let mut depth = 0_usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(broken)? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(PackageError::NotAComponent("it is a core module".into()));
            }
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::CustomSection(section) if depth == 0 => match section.name() {
                MANIFEST_SECTION if found.manifest.is_some() => {
                    return Err(PackageError::Manifest("there are two".into()));
                }
                MANIFEST_SECTION => {
                    let start = section.data_offset();
                    found.manifest = Some(start..start + section.data().len());
                }
                ASSETS_SECTION if found.assets.is_some() => {
                    return Err(PackageError::Assets("there are two".into()));
                }
                ASSETS_SECTION => found.assets = Some(section.data()),
                _ => {}
            },
            _ => {}
        }
    }
    Ok(found)
}

fn parse_manifest(json: &[u8]) -> Result<Metadata, PackageError> {
    if json.len() > LARGEST_MANIFEST {
        return Err(PackageError::TooLarge(format!("a manifest of {} MiB", json.len() >> 20)));
    }
    let metadata: Metadata =
        serde_json::from_slice(json).map_err(|error| PackageError::Manifest(error.to_string()))?;
    let mistakes = metadata.mistakes();
    if mistakes.is_empty() { Ok(metadata) } else { Err(PackageError::Manifest(mistakes.join("; "))) }
}

fn unpack(archive: &[u8]) -> Result<Assets, PackageError> {
    let broken = |error: std::io::Error| PackageError::Assets(error.to_string());
    let mut files = BTreeMap::new();
    let mut total = 0_u64;
    for entry in tar::Archive::new(archive).entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?.to_string_lossy().into_owned();
        let plain = entry.header().entry_type().is_file()
            && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !plain {
            return Err(PackageError::Assets(format!("{path:?} is not a plain file below the archive")));
        }
        total += entry.size();
        if total > LARGEST_ASSETS || files.len() >= MOST_ASSETS {
            return Err(PackageError::TooLarge(format!(
                "assets of more than {} MiB or {MOST_ASSETS} files",
                LARGEST_ASSETS >> 20
            )));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(broken)?;
        if files.insert(path.clone(), Bytes::from(bytes)).is_some() {
            return Err(PackageError::Assets(format!("{path:?} is there twice")));
        }
    }
    Ok(Assets(Arc::new(files)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    const MANIFEST: &str =
        "name = 'acme/x'\nversion = '0.1.0'\napi = '^0.1'\nsummary = 's'\nlicense = 'MIT'\n";

    fn packed(assets: &[(String, Vec<u8>)]) -> Bytes {
        assemble::assemble(COMPONENT, MANIFEST, "{\"type\":\"object\"}", assets).unwrap().into()
    }

    #[test]
    fn what_is_packed_is_read_back() {
        let files = [("a/b.txt".to_owned(), b"hello".to_vec()), ("c".to_owned(), vec![0; 3])];
        let package = Package::read(packed(&files)).unwrap();
        assert_eq!(package.metadata.name, "acme/x");
        assert_eq!(package.metadata.config_schema["type"], "object");
        assert_eq!(package.assets.names().collect::<Vec<_>>(), ["a/b.txt", "c"]);
        assert_eq!(package.assets.get("a/b.txt").unwrap().as_ref(), b"hello");
    }

    #[test]
    fn packing_twice_gives_the_same_bytes() {
        let files = [("a".to_owned(), b"hello".to_vec())];
        assert_eq!(packed(&files), packed(&files));
    }

    #[test]
    fn what_is_no_plugin_is_refused_by_kind() {
        let code = |bytes: &'static [u8]| Package::read(Bytes::from_static(bytes)).unwrap_err().code();
        assert_eq!(code(b""), "ksp::plugin::not-a-component");
        assert_eq!(code(b"#!/bin/sh\n"), "ksp::plugin::not-a-component");
        assert_eq!(code(b"\0asm\x01\0\0\0"), "ksp::plugin::not-a-component");
        assert_eq!(code(COMPONENT), "ksp::plugin::no-manifest");
    }

    #[test]
    fn every_truncation_is_refused() {
        let whole = packed(&[("a".to_owned(), b"hello".to_vec())]);
        for length in 0..whole.len() {
            let cut = Package::read(whole.slice(..length));
            // Cut exactly between the two sections it is a plugin without assets; its digest tells.
            assert!(
                cut.is_err() || cut.is_ok_and(|package| package.assets.names().count() == 0),
                "at {length}"
            );
        }
    }

    #[test]
    fn a_manifest_with_terminal_tricks_is_refused() {
        let manifest = MANIFEST.replace("'s'", "\"\\u001b[31mred\"");
        assert!(
            assemble::assemble(COMPONENT, &manifest, "{}", &[]).unwrap_err().contains("control characters")
        );
    }
}
