//! Reading certificates.

use sha2::{Digest, Sha256};
use x509_parser::pem::{Pem, parse_x509_pem};

use super::PkiError;

/// "sha256:<hex>" over the DER SubjectPublicKeyInfo: what kubeadm's `caCertHashes` pins.
///
/// # Errors
/// It is not a PEM certificate.
pub fn public_key_hash(certificate_pem: &str) -> Result<String, PkiError> {
    let pem = read(certificate_pem)?;
    let certificate = pem.parse_x509().map_err(unreadable)?;
    Ok(format!("sha256:{}", hex::encode(Sha256::digest(certificate.public_key().raw))))
}

/// Seconds until a certificate's end; negative when it has passed.
///
/// # Errors
/// It is not a PEM certificate.
pub fn seconds_left(certificate_pem: &str) -> Result<i64, PkiError> {
    Ok(validity(certificate_pem)?.1 - super::now())
}

/// First and last second of a certificate's life, since 1970.
pub(super) fn validity(certificate_pem: &str) -> Result<(i64, i64), PkiError> {
    let pem = read(certificate_pem)?;
    let certificate = pem.parse_x509().map_err(unreadable)?;
    let validity = certificate.validity();
    Ok((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

fn read(certificate_pem: &str) -> Result<Pem, PkiError> {
    let (_, pem) = parse_x509_pem(certificate_pem.as_bytes()).map_err(unreadable)?;
    Ok(pem)
}

fn unreadable(error: impl std::fmt::Display) -> PkiError {
    PkiError::Unreadable { name: "certificate".into(), reason: error.to_string() }
}
