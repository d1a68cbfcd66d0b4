//! Findings: about a manifest, a config, a plugin, a node. Data only; `cli::ui` draws them.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Accepted, but probably not meant.
    Warning,
    /// Refuses the run.
    Error,
}

/// A place in a text file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The file, as the user named it.
    pub path: PathBuf,
    /// The whole text, shared by all findings about it.
    pub text: Arc<str>,
    /// Bytes of `text`.
    pub range: Range<usize>,
    /// What to say at the place itself; may be empty.
    pub label: String,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable, for programs and for looking up: `ksp::manifest::unknown-key`.
    pub code: String,
    /// How bad it is.
    pub severity: Severity,
    /// Lowercase phrase without a full stop.
    pub message: String,
    /// The node it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Where it is; the first one is the cause.
    #[serde(skip)]
    pub spans: Vec<Span>,
    /// Evidence: last lines, values. Shown below the message.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What to do, most useful first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl Diagnostic {
    /// A finding that refuses the run.
    pub fn error(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A finding that is shown and does not stop anything.
    pub fn warning(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// A finding of a given severity.
    pub fn new(severity: Severity, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            severity,
            message: message.into(),
            node: None,
            spans: Vec::new(),
            notes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// Names the node.
    #[must_use]
    pub fn on_node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// Adds a place.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.spans.push(span);
        self
    }

    /// Adds evidence.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// True when it refuses the run.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
