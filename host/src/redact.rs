//! Secrets and how they are kept out of everything that is shown or written down.

use std::fmt;
use std::sync::{Arc, RwLock};

use base64::Engine as _;
use zeroize::Zeroizing;

/// What stands where a secret stood.
pub const MASK: &str = "(sensitive)";

/// Shorter values are not searched for in texts: they would hide ordinary words.
const SHORTEST_SEARCHED: usize = 6;

/// Secret bytes: wiped when dropped, never shown, never serialised.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<Vec<u8>>>);

impl Secret {
    /// Takes over the bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Arc::new(Zeroizing::new(bytes.into())))
    }

    /// The bytes, for writing to a node or for computing with them.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

/// Knows every secret of the run and hides them in texts: as they are, in base64, and line by line (a PEM key in an error
/// message arrives in pieces).
#[derive(Debug, Clone, Default)]
pub struct Redactor {
    needles: Arc<RwLock<Vec<Zeroizing<String>>>>,
}

impl Redactor {
    /// Remembers a secret.
    pub fn learn(&self, secret: &Secret) {
        let mut found = Vec::new();
        let text = String::from_utf8_lossy(secret.expose()).into_owned();
        found
            .extend(text.lines().map(str::trim).filter(|line| !line.starts_with("-----")).map(str::to_owned));
        found.push(base64::engine::general_purpose::STANDARD.encode(secret.expose()));
        let mut needles = self.needles.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        for needle in found {
            if needle.len() >= SHORTEST_SEARCHED && !needles.iter().any(|known| known.as_str() == needle) {
                needles.push(Zeroizing::new(needle));
            }
        }
        // Longest first, so that a secret that contains another leaves no rest.
        needles.sort_by_key(|needle| std::cmp::Reverse(needle.len()));
    }

    /// The text with every known secret replaced by [`MASK`].
    pub fn redact(&self, text: &str) -> String {
        let needles = self.needles.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut text = text.to_owned();
        for needle in needles.iter() {
            if text.contains(needle.as_str()) {
                text = text.replace(needle.as_str(), MASK);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_plain_in_base64_and_by_line() {
        let redactor = Redactor::default();
        let secret = Secret::new("-----BEGIN KEY-----\nabcdefgh12345678\n-----END KEY-----\n");
        redactor.learn(&secret);
        let encoded = base64::engine::general_purpose::STANDARD.encode(secret.expose());
        let shown = redactor.redact(&format!("x abcdefgh12345678 y {encoded} z"));
        assert_eq!(shown, "x (sensitive) y (sensitive) z");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("hunter22")), MASK);
    }
}
