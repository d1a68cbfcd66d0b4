//! What a cluster remembers of itself: identity, certificate authorities, generated secrets. Kept in `/var/lib/ksp/state.json`
//! (root, 0600) on control planes only; read back in the round trip of the facts; never written to the workstation.

mod chain;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use crate::redact::{Redactor, Secret};

pub use chain::ChainLink;

/// The format that this program writes and the newest one that it reads.
pub const STATE_VERSION: u32 = 1;

/// The file's content. Private keys and secrets are in it: never log it, never show it.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClusterState {
    /// Format of this file; 1.
    pub version: u32,
    /// Grows with each write: the highest one among the control planes is the truth.
    pub generation: u64,
    /// Made at the first run; 32 hex digits.
    pub cluster_id: String,
    /// Certificate authorities by name.
    #[serde(default)]
    pub authorities: BTreeMap<String, KeyAndCertificate>,
    /// Issued certificates by "authority/name".
    #[serde(default)]
    pub credentials: BTreeMap<String, KeyAndCertificate>,
    /// Bare key pairs by name (`certificate` holds the public key).
    #[serde(default)]
    pub keypairs: BTreeMap<String, KeyAndCertificate>,
    /// Generated secrets by name.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// What made the cluster, as far as it may have left something behind.
    #[serde(default)]
    pub chain: Vec<ChainLink>,
    /// How often something was put in since the control planes last got it; not written.
    #[serde(skip)]
    pub changes: u64,
}

/// PEM texts.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeyAndCertificate {
    /// PEM.
    pub certificate: String,
    /// PEM, PKCS #8.
    pub key: String,
    /// sha256 of the request it answers: another request makes another certificate.
    #[serde(default)]
    pub request: String,
}

impl std::fmt::Debug for ClusterState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterState({} generation {})", self.cluster_id, self.generation)
    }
}

impl std::fmt::Debug for KeyAndCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyAndCertificate(…)")
    }
}

/// What is to be written to every control plane.
#[derive(Debug, Clone)]
pub struct Unsaved {
    /// The file's content.
    pub content: Secret,
    /// The generation in it.
    pub generation: u64,
    changes: u64,
}

/// Why a cluster's memory cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Not JSON, or not this file.
    #[error("the cluster's state (/var/lib/ksp/state.json) cannot be read: {0}")]
    Unreadable(String),
    /// A newer ksp wrote it.
    #[error(
        "the cluster's state (/var/lib/ksp/state.json) has format {found}; this ksp knows formats up to {STATE_VERSION}"
    )]
    Newer {
        /// The format that was found.
        found: u32,
    },
    /// Control planes that remember different clusters.
    #[error("control planes belong to different clusters: {0} and {1}")]
    Foreign(String, String),
    /// Control planes that remember different things of the same age.
    #[error("control planes hold different states of the same generation {0}")]
    Diverged(u64),
    /// No random numbers.
    #[error("the operating system gave no random bytes: {0}")]
    Entropy(String),
}

impl StateError {
    /// Stable.
    pub fn code(&self) -> &'static str {
        match self {
            StateError::Unreadable(_) => "ksp::state::unreadable",
            StateError::Newer { .. } => "ksp::state::newer-version",
            StateError::Foreign(..) => "ksp::state::foreign",
            StateError::Diverged(_) => "ksp::state::diverged",
            StateError::Entropy(_) => "ksp::state::entropy",
        }
    }
}

impl From<StateError> for Diagnostic {
    fn from(error: StateError) -> Self {
        let hint = match &error {
            StateError::Unreadable(_) => "restore the file from another control plane, or from a backup",
            StateError::Newer { .. } => {
                "use the ksp version that last ran against this cluster, or a newer one"
            }
            StateError::Foreign(..) => {
                "check the addresses in the manifest: some machine is part of another cluster"
            }
            StateError::Diverged(_) => {
                "keep /var/lib/ksp/state.json on the control plane whose certificates are in use and remove it from the others"
            }
            StateError::Entropy(_) => "try again",
        };
        Diagnostic::error(error.code(), error.to_string()).hint(hint)
    }
}

impl ClusterState {
    /// The memory of a cluster that does not exist yet.
    ///
    /// # Errors
    /// No random numbers.
    pub fn new() -> Result<Self, StateError> {
        let id: [u8; 16] = crate::random::bytes().map_err(|error| StateError::Entropy(error.to_string()))?;
        Ok(Self { version: STATE_VERSION, cluster_id: hex::encode(id), changes: 1, ..Self::default() })
    }

    /// Reads the file's content.
    ///
    /// # Errors
    /// It is not such a file, or a newer ksp wrote it.
    pub fn parse(content: &[u8]) -> Result<Self, StateError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        // serde_json's messages can quote values: only the place is told.
        let unreadable = |error: serde_json::Error| {
            StateError::Unreadable(format!("line {}, column {}", error.line(), error.column()))
        };
        let Versioned { version } = serde_json::from_slice(content).map_err(unreadable)?;
        if version > STATE_VERSION {
            return Err(StateError::Newer { found: version });
        }
        let state: Self = serde_json::from_slice(content).map_err(unreadable)?;
        if version == 0 || state.cluster_id.is_empty() {
            return Err(StateError::Unreadable("it names no cluster".into()));
        }
        Ok(state)
    }

    /// The one with the highest generation.
    ///
    /// # Errors
    /// They are of different clusters, or differ at the same generation.
    pub fn newest(states: impl IntoIterator<Item = Self>) -> Result<Option<Self>, StateError> {
        let mut newest: Option<Self> = None;
        for state in states {
            let Some(best) = &newest else {
                newest = Some(state);
                continue;
            };
            if best.cluster_id != state.cluster_id {
                return Err(StateError::Foreign(best.cluster_id.clone(), state.cluster_id));
            }
            if best.generation == state.generation && !best.same_content(&state) {
                return Err(StateError::Diverged(state.generation));
            }
            if state.generation > best.generation {
                newest = Some(state);
            }
        }
        Ok(newest)
    }

    fn same_content(&self, other: &Self) -> bool {
        self.authorities == other.authorities
            && self.credentials == other.credentials
            && self.keypairs == other.keypairs
            && self.secrets == other.secrets
            && self.chain == other.chain
    }

    /// Notes that something was put in.
    pub fn touch(&mut self) {
        self.changes += 1;
    }

    /// What has to be written before anything that was made since the last write is used; none when nothing was made.
    pub fn unsaved(&self) -> Option<Unsaved> {
        (self.changes > 0).then(|| {
            let generation = self.generation + 1;
            let content = Self { version: STATE_VERSION, generation, ..self.clone() }.content();
            Unsaved { content, generation, changes: self.changes }
        })
    }

    /// Notes that the control planes have it.
    pub fn saved(&mut self, written: &Unsaved) {
        self.generation = self.generation.max(written.generation);
        self.changes = self.changes.saturating_sub(written.changes);
    }

    /// The file's content as of the last write: for a control plane that does not have it yet.
    pub fn content(&self) -> Secret {
        // Maps with text keys and texts: cannot fail.
        Secret::new(serde_json::to_vec_pretty(self).unwrap_or_default())
    }

    /// Makes every key and secret known, so that none is shown.
    pub fn teach(&self, redactor: &Redactor) {
        let pairs = self.authorities.values().chain(self.credentials.values()).chain(self.keypairs.values());
        pairs.for_each(|pair| redactor.learn(&Secret::new(pair.key.as_bytes())));
        self.secrets.values().for_each(|value| redactor.learn(&Secret::new(value.as_bytes())));
    }
}

#[cfg(test)]
mod tests;
