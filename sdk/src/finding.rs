//! Findings about a stage's config, which its JSON Schema cannot express.

use crate::bindings::ksp::plugin::types::{Diagnostic, Severity};

/// One finding, at a place in the config.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding(pub(crate) Diagnostic);

impl Finding {
    /// Refuses the manifest. `path` is a JSON pointer into the config ("/mirrors/0/url"); `message` a lowercase phrase.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, path, message)
    }

    /// Is shown and refuses nothing.
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warn, path, message)
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The JSON pointer.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The phrase.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    fn new(severity: Severity, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Diagnostic { path: path.into(), severity, message: message.into(), hint: None })
    }
}
