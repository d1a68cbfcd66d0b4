//! Where ksp keeps things on the workstation.

use std::path::PathBuf;

/// The folders of one user. `KSP_STATE_DIR` and `KSP_CACHE_DIR` win over the XDG ones.
#[derive(Debug, Clone)]
pub struct Paths {
    /// Runs and their journals.
    pub state: PathBuf,
    /// Content-addressed plugins and their compiled form.
    pub cache: PathBuf,
}

impl Paths {
    /// Reads the environment; without a home everything goes below the working directory.
    pub fn from_env() -> Self {
        let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
        let folder = |own: &str, xdg: &str, fallback: &str| {
            std::env::var_os(own).map(PathBuf::from).unwrap_or_else(|| {
                std::env::var_os(xdg).map_or_else(|| home.join(fallback), PathBuf::from).join("ksp")
            })
        };
        Self {
            state: folder("KSP_STATE_DIR", "XDG_STATE_HOME", ".local/state"),
            cache: folder("KSP_CACHE_DIR", "XDG_CACHE_HOME", ".cache"),
        }
    }

    /// `<state>/<cluster>/runs`.
    pub fn runs(&self, cluster: &str) -> PathBuf {
        self.state.join(cluster).join("runs")
    }
}
