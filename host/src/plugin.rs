//! Plugins: where they come from, what they say of themselves, what they may do.

pub mod cache;
pub mod capability;
pub mod download;
pub mod embedded;
pub mod error;
pub mod grant;
pub mod lockfile;
pub mod metadata;
pub mod package;
pub mod resolve;

use semver::Version;

/// A plugin's identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PluginId {
    /// "publisher/name".
    pub name: String,
    /// Its version.
    pub version: Version,
    /// "sha256:…" of the file.
    pub digest: String,
}

impl std::fmt::Display for PluginId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}
