//! Where ksp keeps things on a node. Another base is for tests, which run the real scripts in a folder of their own.

/// Paths on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// `/var/lib/ksp`.
    pub base: String,
    /// `/proc`: uptime and boot id are read from there.
    pub proc: String,
    /// `/etc/machine-id`.
    pub machine_id: String,
}

impl Default for Layout {
    fn default() -> Self {
        Self { base: "/var/lib/ksp".into(), proc: "/proc".into(), machine_id: "/etc/machine-id".into() }
    }
}
