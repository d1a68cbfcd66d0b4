//! Secrets by name: those that the manifest refers to, those made once per cluster, those made for one run.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::redact::{Redactor, Secret};
use crate::state::ClusterState;

/// The longest secret that is generated.
pub const LONGEST: u32 = 4096;

/// Finds and makes secrets. Cheap to clone; all clones share what was made.
#[derive(Clone)]
pub struct Secrets {
    referenced: Arc<BTreeMap<String, Secret>>,
    ephemeral: Arc<Mutex<BTreeMap<String, Secret>>>,
    state: Arc<Mutex<ClusterState>>,
    redactor: Redactor,
}

/// Why there is no such secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The manifest has none of that name.
    #[error("the manifest has no secret named {0:?}")]
    Unknown(String),
    /// It cannot be made like that.
    #[error("secret {name:?} cannot be made: {reason}")]
    Invalid {
        /// Its name.
        name: String,
        /// What is wrong with the request.
        reason: String,
    },
    /// No random numbers.
    #[error("secret {name:?} cannot be made: the operating system gave no random bytes: {reason}")]
    Entropy {
        /// Its name.
        name: String,
        /// What came back.
        reason: String,
    },
}

impl SecretError {
    /// Stable.
    pub fn code(&self) -> &'static str {
        match self {
            SecretError::Unknown(_) => "ksp::secret::unknown",
            SecretError::Invalid { .. } => "ksp::secret::invalid",
            SecretError::Entropy { .. } => "ksp::secret::entropy",
        }
    }
}

impl Secrets {
    /// Secrets of one cluster; the redactor learns all that are there.
    pub fn new(referenced: &[(String, Secret)], state: Arc<Mutex<ClusterState>>, redactor: Redactor) -> Self {
        referenced.iter().for_each(|(_, secret)| redactor.learn(secret));
        lock(&state).teach(&redactor);
        Self {
            referenced: Arc::new(referenced.iter().cloned().collect()),
            ephemeral: Arc::default(),
            state,
            redactor,
        }
    }

    /// One that the manifest refers to.
    ///
    /// # Errors
    /// There is none.
    pub fn get(&self, name: &str) -> Result<Secret, SecretError> {
        self.referenced.get(name).cloned().ok_or_else(|| SecretError::Unknown(name.into()))
    }

    /// One that is made once per cluster and kept: asking for another alphabet or length later does not change it.
    ///
    /// # Errors
    /// The request makes no sense, or there are no random numbers.
    pub fn generate(&self, name: &str, alphabet: &str, length: u32) -> Result<Secret, SecretError> {
        let mut state = lock(&self.state);
        if let Some(known) = state.secrets.get(name) {
            return Ok(Secret::new(known.as_bytes()));
        }
        let value = draw(name, alphabet, length)?;
        let secret = self.learned(&value);
        state.secrets.insert(name.into(), value);
        state.touch();
        Ok(secret)
    }

    /// One that is made for this run and never stored; the same name gives the same value within the run.
    ///
    /// # Errors
    /// As [`Self::generate`].
    pub fn ephemeral(&self, name: &str, alphabet: &str, length: u32) -> Result<Secret, SecretError> {
        let mut known = lock(&self.ephemeral);
        if let Some(secret) = known.get(name) {
            return Ok(secret.clone());
        }
        let secret = self.learned(&draw(name, alphabet, length)?);
        known.insert(name.into(), secret.clone());
        Ok(secret)
    }

    fn learned(&self, value: &str) -> Secret {
        let secret = Secret::new(value.as_bytes());
        self.redactor.learn(&secret);
        secret
    }
}

fn draw(name: &str, alphabet: &str, length: u32) -> Result<String, SecretError> {
    let invalid = |reason: &str| SecretError::Invalid { name: name.into(), reason: reason.into() };
    let mut characters: Vec<char> = alphabet.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    if name.is_empty() {
        return Err(invalid("it has no name"));
    }
    if characters.len() < 2 {
        return Err(invalid("the alphabet needs two different characters"));
    }
    if length == 0 || length > LONGEST {
        return Err(invalid(&format!("its length must be between 1 and {LONGEST}")));
    }
    let entropy =
        |error: std::io::Error| SecretError::Entropy { name: name.into(), reason: error.to_string() };
    crate::random::text(&characters, length).map_err(entropy)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets() -> Secrets {
        let state = Arc::new(Mutex::new(ClusterState::default()));
        Secrets::new(&[("s3".into(), Secret::new("from-the-manifest"))], state, Redactor::default())
    }

    #[test]
    fn a_referenced_secret_is_found_and_hidden() {
        let secrets = secrets();
        assert_eq!(secrets.get("s3").unwrap().expose(), b"from-the-manifest");
        assert_eq!(secrets.get("s4").unwrap_err().code(), "ksp::secret::unknown");
        assert_eq!(secrets.redactor.redact("from-the-manifest"), crate::redact::MASK);
    }

    #[test]
    fn a_generated_secret_stays_and_is_kept() {
        let secrets = secrets();
        let first = secrets.generate("key", "abcdef0123456789", 32).unwrap();
        let again = secrets.generate("key", "xyz", 8).unwrap();
        assert_eq!(first, again);
        assert_eq!(first.expose().len(), 32);
        let state = lock(&secrets.state);
        assert_eq!((state.secrets.len(), state.changes), (1, 1));
        assert_eq!(secrets.redactor.redact(&state.secrets["key"]), crate::redact::MASK);
    }

    #[test]
    fn an_ephemeral_secret_is_the_same_within_a_run_and_not_stored() {
        let secrets = secrets();
        let first = secrets.clone().ephemeral("token", "ab", 16).unwrap();
        assert_eq!(first, secrets.ephemeral("token", "ab", 16).unwrap());
        assert!(lock(&secrets.state).secrets.is_empty());
        assert!(lock(&secrets.state).unsaved().is_none());
    }

    #[test]
    fn a_repeated_character_is_not_drawn_more_often() {
        let text = draw("x", "aaaaaaaaab", 4096).unwrap();
        assert!(text.matches('b').count() > 1500);
    }

    #[test]
    fn nonsense_is_refused() {
        for (alphabet, length) in [("", 8), ("a", 8), ("aa", 8), ("ab", 0), ("ab", LONGEST + 1)] {
            let error = secrets().generate("x", alphabet, length).unwrap_err();
            assert_eq!(error.code(), "ksp::secret::invalid", "{alphabet} {length}");
        }
    }
}
