//! Failures: what the host answers and what a plugin returns are the same thing.

use std::fmt;

use crate::bindings::ksp::plugin::types::Error as Wire;
pub use crate::bindings::ksp::plugin::types::ErrorCode;

/// What fails with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure: a class, a stable dotted reason for programs, a phrase for people, evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Error(Box<Wire>);

impl Error {
    /// A failure of a class. `reason` is dotted and stable ("containerd.version-skew"); `message` is a lowercase phrase without
    /// a full stop.
    pub fn new(code: ErrorCode, reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self(Box::new(Wire {
            code,
            reason: reason.into(),
            message: message.into(),
            retryable: false,
            details: Vec::new(),
        }))
    }

    /// What the operator gave is not acceptable.
    pub fn invalid(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidInput, reason, message)
    }

    /// Something that is needed is not there.
    pub fn not_found(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, reason, message)
    }

    /// This plugin does not do that.
    pub fn unsupported(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Unsupported, reason, message)
    }

    /// A node answered, and the answer was a failure.
    pub fn remote(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(ErrorCode::RemoteFailed, reason, message)
    }

    /// Adds named evidence, shown below the message.
    #[must_use]
    pub fn detail(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.details.push((name.into(), value.into()));
        self
    }

    /// The same call may succeed later without a change.
    #[must_use]
    pub fn retryable(mut self) -> Self {
        self.0.retryable = true;
        self
    }

    /// Its class.
    pub fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// For people.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

impl From<Wire> for Error {
    fn from(wire: Wire) -> Self {
        Self(Box::new(wire))
    }
}

impl From<Error> for Wire {
    fn from(error: Error) -> Self {
        *error.0
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::invalid("json", error.to_string())
    }
}
