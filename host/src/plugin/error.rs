//! A plugin that failed. Its stage fails, nothing else does.

use std::fmt;

use crate::diagnostic::Diagnostic;
use crate::plugin::PluginId;

/// Why a plugin could not be loaded, or what became of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PluginError {
    /// Stable: `ksp::plugin::trapped`.
    pub code: String,
    /// Who.
    pub plugin: String,
    /// For which stage of the manifest; empty when it was not for one.
    pub stage: String,
    /// Lowercase phrase without a full stop.
    pub message: String,
    /// The last lines that the plugin said, secrets hidden.
    pub tail: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
}

impl PluginError {
    /// An error of a plugin.
    pub fn new(code: &str, plugin: &PluginId, stage: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            plugin: plugin.to_string(),
            stage: stage.into(),
            message: message.into(),
            tail: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// An error of the machinery around plugins.
    pub fn machinery(code: &str, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            plugin: String::new(),
            stage: String::new(),
            message: message.into(),
            tail: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.plugin.as_str(), self.stage.as_str()) {
            ("", _) => f.write_str(&self.message),
            (plugin, "") => write!(f, "plugin {plugin}: {}", self.message),
            (plugin, stage) => write!(f, "stage `{stage}`: plugin {plugin}: {}", self.message),
        }
    }
}

impl std::error::Error for PluginError {}

impl From<PluginError> for Diagnostic {
    fn from(error: PluginError) -> Self {
        let mut diagnostic = Diagnostic::error(error.code.clone(), error.to_string());
        diagnostic.notes = error.tail;
        diagnostic.hints = error.hints;
        diagnostic
    }
}
