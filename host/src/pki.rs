//! Certificates, made on the workstation and kept in the cluster's state. Private keys never leave the host but as secrets
//! written to nodes.

mod inspect;
mod make;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use sha2::{Digest, Sha256};

pub use inspect::{public_key_hash, seconds_left};

use crate::redact::{Redactor, Secret};
use crate::state::{ClusterState, KeyAndCertificate};

/// Makes and finds certificates. Cheap to clone; all clones share the state.
#[derive(Clone)]
pub struct Pki {
    /// What the cluster remembers; grows when something is made.
    pub state: Arc<Mutex<ClusterState>>,
    /// Learns every key.
    pub redactor: Redactor,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Usage {
    /// A TLS server shows it.
    Server,
    /// A TLS client shows it.
    Client,
}

/// A certificate that is wanted. Another request under the same name makes another certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Request {
    /// CN; for a Kubernetes client the user.
    pub common_name: String,
    /// O; for a Kubernetes client its groups. At most [`MOST_ORGANIZATIONS`].
    pub organizations: Vec<String>,
    /// At least one.
    pub usages: Vec<Usage>,
    /// Alternative names.
    pub dns_names: Vec<String>,
    /// Alternative names: textual IPv4 or IPv6.
    pub ip_addresses: Vec<String>,
    /// Days from now; never longer than the authority lives.
    pub valid_days: u32,
}

/// `rcgen` keeps one value per attribute type, and an attribute type can be named in two ways.
pub const MOST_ORGANIZATIONS: usize = 2;

/// Why there is no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PkiError {
    /// It was never made.
    #[error("there is no certificate authority named {0:?}")]
    UnknownAuthority(String),
    /// The request makes no sense.
    #[error("certificate {name:?} cannot be issued: {reason}")]
    Invalid {
        /// What was to be made.
        name: String,
        /// What is wrong with the request.
        reason: String,
    },
    /// The authority has come to its end.
    #[error("the certificate authority {0:?} has expired")]
    Expired(String),
    /// What is kept is not a certificate or key.
    #[error("{name:?} cannot be read: {reason}")]
    Unreadable {
        /// What was read.
        name: String,
        /// What came back.
        reason: String,
    },
    /// The library or the operating system refused.
    #[error("{name:?} cannot be made: {reason}")]
    Failed {
        /// What was to be made.
        name: String,
        /// What came back.
        reason: String,
    },
}

impl PkiError {
    /// Stable.
    pub fn code(&self) -> &'static str {
        match self {
            PkiError::UnknownAuthority(_) => "ksp::pki::unknown-authority",
            PkiError::Invalid { .. } => "ksp::pki::invalid-request",
            PkiError::Expired(_) => "ksp::pki::expired-authority",
            PkiError::Unreadable { .. } => "ksp::pki::unreadable",
            PkiError::Failed { .. } => "ksp::pki::failed",
        }
    }
}

impl Pki {
    /// Certificates of one cluster; the redactor learns all keys that are there.
    pub fn new(state: Arc<Mutex<ClusterState>>, redactor: Redactor) -> Self {
        let pki = Self { state, redactor };
        pki.lock().teach(&pki.redactor);
        pki
    }

    /// A certificate authority, made on first use. It stays for ever: asking with another name or length of life later does
    /// not change it, because everything that trusts it would have to change with it.
    ///
    /// # Errors
    /// The request makes no sense, or the library refused.
    pub fn authority(
        &self,
        name: &str,
        common_name: &str,
        valid_days: u32,
    ) -> Result<KeyAndCertificate, PkiError> {
        check_name(name, "._-")?;
        let mut state = self.lock();
        if let Some(known) = state.authorities.get(name) {
            return Ok(known.clone());
        }
        let made = make::authority(name, common_name, valid_days, now())?;
        self.learn(&made);
        state.authorities.insert(name.into(), made.clone());
        state.touch();
        Ok(made)
    }

    /// A certificate authority that is there already.
    pub fn find_authority(&self, name: &str) -> Option<KeyAndCertificate> {
        self.lock().authorities.get(name).cloned()
    }

    /// A bare key pair, made on first use: `certificate` is the public key (PEM, SubjectPublicKeyInfo).
    ///
    /// # Errors
    /// As [`Self::authority`].
    pub fn keypair(&self, name: &str) -> Result<KeyAndCertificate, PkiError> {
        check_name(name, "._-")?;
        let mut state = self.lock();
        if let Some(known) = state.keypairs.get(name) {
            return Ok(known.clone());
        }
        let made = make::keypair(name)?;
        self.learn(&made);
        state.keypairs.insert(name.into(), made.clone());
        state.touch();
        Ok(made)
    }

    /// A certificate of an authority, made once per name and kept until its request changes, its authority changes, or it
    /// [nears its end](near_its_end).
    ///
    /// # Errors
    /// There is no such authority, the request makes no sense, or the library refused.
    pub fn issue(
        &self,
        authority: &str,
        name: &str,
        request: &Request,
    ) -> Result<KeyAndCertificate, PkiError> {
        check_name(name, "._-:@/")?;
        let mut state = self.lock();
        let issuer = find(&state, authority)?;
        let fingerprint = fingerprint(&issuer, request);
        let key = format!("{authority}/{name}");
        if let Some(known) = state.credentials.get(&key)
            && known.request == fingerprint
            && !near_its_end(&known.certificate, now())
        {
            return Ok(known.clone());
        }
        let mut made = make::leaf(authority, &issuer, name, request, now())?;
        made.request = fingerprint;
        self.learn(&made);
        state.credentials.insert(key, made.clone());
        state.touch();
        Ok(made)
    }

    /// A certificate of an authority that is not kept: for the host's own use, and for people.
    ///
    /// # Errors
    /// As [`Self::issue`].
    pub fn issue_transient(&self, authority: &str, request: &Request) -> Result<KeyAndCertificate, PkiError> {
        let issuer = find(&self.lock(), authority)?;
        let made = make::leaf(authority, &issuer, &request.common_name, request, now())?;
        self.learn(&made);
        Ok(made)
    }

    fn lock(&self) -> MutexGuard<'_, ClusterState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn learn(&self, made: &KeyAndCertificate) {
        self.redactor.learn(&Secret::new(made.key.as_bytes()));
    }
}

fn find(state: &ClusterState, authority: &str) -> Result<KeyAndCertificate, PkiError> {
    state.authorities.get(authority).cloned().ok_or_else(|| PkiError::UnknownAuthority(authority.into()))
}

/// sha256 of what was asked, and of whom.
fn fingerprint(issuer: &KeyAndCertificate, request: &Request) -> String {
    let mut hash = Sha256::new();
    hash.update(issuer.certificate.as_bytes());
    // Texts, numbers and lists: cannot fail.
    hash.update(serde_json::to_vec(request).unwrap_or_default());
    hex::encode(hash.finalize())
}

/// True when less than a fifth of its life, or less than 90 days of a long life, are left. A certificate of one year is
/// replaced 73 days before its end: late enough that a yearly upgrade does it, early enough for a quarterly run.
pub fn near_its_end(certificate_pem: &str, now: i64) -> bool {
    let Ok((not_before, not_after)) = inspect::validity(certificate_pem) else { return true };
    let margin = ((not_after - not_before) / 5).min(90 * make::DAY);
    not_after - now < margin
}

/// No blank: names become keys of maps. `/` stands between an authority and what it issued, so that an authority has none.
fn check_name(name: &str, others: &str) -> Result<(), PkiError> {
    let good = |character: char| character.is_ascii_alphanumeric() || others.contains(character);
    if name.is_empty() || name.len() > 253 || !name.chars().all(good) {
        let reason = format!("its name must consist of letters, digits and any of {others}");
        return Err(PkiError::Invalid { name: name.into(), reason });
    }
    Ok(())
}

/// Seconds since 1970 by the workstation's clock.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests;
