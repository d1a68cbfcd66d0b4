//! Why an op failed, as people and programs are told.

use crate::transport::{Output, TransportError};

/// Why an op failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct OpError {
    /// Stable: `ksp::op::checksum-mismatch`.
    pub code: &'static str,
    /// Lowercase phrase without a full stop.
    pub message: String,
    /// The command that was tried, secrets hidden.
    pub command: Option<String>,
    /// Last lines of its output.
    pub tail: Vec<String>,
    /// What to do.
    pub hints: Vec<String>,
    /// The same may succeed later.
    pub retryable: bool,
}

impl OpError {
    /// An error that another attempt will not cure.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            command: None,
            tail: Vec::new(),
            hints: Vec::new(),
            retryable: false,
        }
    }

    /// A command that exited with a failure.
    pub fn from_output(what: impl Into<String>, output: &Output) -> Self {
        let mut error =
            Self::new("ksp::op::command-failed", format!("{} (exit status {})", what.into(), output.status));
        error.tail = output.tail(20);
        error.retryable = true;
        error
    }

    /// Adds advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl From<TransportError> for OpError {
    fn from(error: TransportError) -> Self {
        let code = match &error {
            TransportError::OutcomeUnknown(_) => "ksp::transport::outcome-unknown",
            TransportError::Timeout(_) => "ksp::transport::timeout",
            TransportError::Unreachable { .. } => "ksp::transport::unreachable",
            TransportError::HostKey { .. } => "ksp::transport::host-key",
            TransportError::Authentication { .. } => "ksp::transport::authentication",
            TransportError::Privilege { .. } => "ksp::transport::privilege",
            TransportError::Other(_) => "ksp::transport::failed",
        };
        let mut mapped = Self::new(code, error.to_string());
        mapped.retryable = matches!(error, TransportError::Timeout(_));
        mapped
    }
}
