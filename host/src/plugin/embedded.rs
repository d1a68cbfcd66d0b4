//! The first-party plugins inside this binary: one file works without a network. `build.rs` makes the table.

use bytes::Bytes;

use crate::plugin::package::{Package, PackageError};

/// A plugin inside this binary.
#[derive(Debug, Clone, Copy)]
pub struct Embedded {
    /// "ksp/containerd".
    pub name: &'static str,
    /// "sha256:…" of `bytes`.
    pub digest: &'static str,
    /// The packed component.
    pub bytes: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/embedded.rs"));

/// All of them, sorted by name.
pub fn all() -> &'static [Embedded] {
    EMBEDDED
}

/// One by its full name.
pub fn find(name: &str) -> Option<&'static Embedded> {
    EMBEDDED.iter().find(|plugin| plugin.name == name)
}

impl Embedded {
    /// Takes it apart.
    ///
    /// # Errors
    /// None in a binary that passed its tests.
    pub fn package(&self) -> Result<Package, PackageError> {
        Package::read_known(Bytes::from_static(self.bytes), self.digest.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_plugin_is_whole() {
        assert!(!all().is_empty());
        for plugin in all() {
            let package = plugin.package().unwrap();
            assert_eq!(package.metadata.name, plugin.name);
            assert_eq!(crate::plugin::package::digest(plugin.bytes), plugin.digest);
        }
    }
}
