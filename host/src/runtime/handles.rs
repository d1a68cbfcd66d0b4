//! What a guest holds a handle to: the values stay on the host.

use std::sync::OnceLock;

use bytes::Bytes;

use crate::op::OpId;
use crate::plugin::download::Release;
use crate::plugin::package;
use crate::redact::Secret;
use crate::transport::{Output, TransportError};

/// Bytes.
#[derive(Debug)]
pub struct Blob {
    /// Cheap to clone.
    pub bytes: Bytes,
    digest: OnceLock<String>,
}

impl Blob {
    /// Holds some bytes.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self { bytes: bytes.into(), digest: OnceLock::new() }
    }

    /// "sha256:…".
    pub fn digest(&self) -> &str {
        self.digest.get_or_init(|| package::digest(&self.bytes))
    }
}

/// A secret with the names that would all have to be granted to reveal it: its own, or those of what was rendered into it.
#[derive(Debug)]
pub struct SecretHandle {
    /// "join-token", "pki/kubernetes".
    pub names: Vec<String>,
    /// Its bytes.
    pub secret: Secret,
}

/// A release file.
#[derive(Debug)]
pub struct ReleaseHandle(pub Release);

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    /// Its name.
    pub name: String,
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: Secret,
}

/// A certificate, or a bare key pair.
#[derive(Debug)]
pub struct Credential {
    /// "authority/name".
    pub name: String,
    /// PEM.
    pub certificate: String,
    /// PEM.
    pub key: Secret,
}

/// A recorded op.
#[derive(Debug, Clone, Copy)]
pub struct OpHandle(pub OpId);

/// A command in progress. Dropped, it is told to stop.
#[derive(Debug)]
pub struct Process {
    /// Its lines.
    pub lines: tokio::sync::mpsc::UnboundedReceiver<String>,
    /// Its end.
    pub end: tokio::task::JoinHandle<Result<Output, TransportError>>,
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end.abort();
    }
}
