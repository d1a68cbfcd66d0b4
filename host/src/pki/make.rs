//! Making keys and certificates: ECDSA P-256, PKCS #8.

use std::net::IpAddr;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use time::OffsetDateTime;

use super::{MOST_ORGANIZATIONS, PkiError, Request, Usage, inspect};
use crate::state::KeyAndCertificate;

/// In seconds.
pub(super) const DAY: i64 = 86_400;

/// Certificates begin a little in the past: nodes' clocks may be behind.
const CLOCK_SKEW: i64 = 5 * 60;

/// X.509 dates end in 9999; longer lives are cut.
const LONGEST_DAYS: u32 = 100 * 366;

/// A self-signed authority, as kubeadm makes its own: CN, no path length, may sign certificates and revocation lists.
pub(super) fn authority(
    name: &str,
    common_name: &str,
    valid_days: u32,
    now: i64,
) -> Result<KeyAndCertificate, PkiError> {
    let key = generate(name)?;
    let mut params = params(name, common_name, &[], now, now + life(name, valid_days)?)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).map_err(|error| failed(name, error))?;
    Ok(KeyAndCertificate { certificate: certificate.pem(), key: key.serialize_pem(), request: String::new() })
}

/// A key pair with its public key in the place of a certificate.
pub(super) fn keypair(name: &str) -> Result<KeyAndCertificate, PkiError> {
    let key = generate(name)?;
    Ok(KeyAndCertificate {
        certificate: key.public_key_pem(),
        key: key.serialize_pem(),
        request: String::new(),
    })
}

/// A certificate signed by an authority.
pub(super) fn leaf(
    authority: &str,
    issuer: &KeyAndCertificate,
    name: &str,
    request: &Request,
    now: i64,
) -> Result<KeyAndCertificate, PkiError> {
    let (_, end_of_authority) = inspect::validity(&issuer.certificate)?;
    if end_of_authority <= now {
        return Err(PkiError::Expired(authority.into()));
    }
    let end = (now + life(name, request.valid_days)?).min(end_of_authority);
    let mut params = params(name, &request.common_name, &request.organizations, now, end)?;
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = usages(name, &request.usages)?;
    params.subject_alt_names = alternative_names(name, request)?;
    let signing = KeyPair::from_pem(&issuer.key).map_err(|error| unreadable(authority, error))?;
    let issuer = Issuer::from_ca_cert_pem(&issuer.certificate, signing)
        .map_err(|error| unreadable(authority, error))?;
    let key = generate(name)?;
    let certificate = params.signed_by(&key, &issuer).map_err(|error| failed(name, error))?;
    Ok(KeyAndCertificate { certificate: certificate.pem(), key: key.serialize_pem(), request: String::new() })
}

fn params(
    name: &str,
    common_name: &str,
    organizations: &[String],
    now: i64,
    end: i64,
) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(name, common_name, organizations)?;
    params.not_before = date(name, now - CLOCK_SKEW)?;
    params.not_after = date(name, end)?;
    // 127 random bits: positive, and never the same again for one authority.
    let mut serial: [u8; 16] = crate::random::bytes().map_err(|error| failed(name, error))?;
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

/// O before CN, as Go's library writes them.
fn subject(name: &str, common_name: &str, organizations: &[String]) -> Result<DistinguishedName, PkiError> {
    if common_name.is_empty() || organizations.iter().any(String::is_empty) {
        return Err(invalid(name, "it needs a common name, and no organization may be empty"));
    }
    if organizations.len() > MOST_ORGANIZATIONS {
        return Err(invalid(name, format!("it names more than {MOST_ORGANIZATIONS} organizations")));
    }
    let mut subject = DistinguishedName::new();
    // The same attribute (2.5.4.10) under two keys, because a key holds one value.
    let keys = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
    for (key, organization) in keys.into_iter().zip(organizations) {
        subject.push(key, organization.as_str());
    }
    subject.push(DnType::CommonName, common_name);
    Ok(subject)
}

fn usages(name: &str, usages: &[Usage]) -> Result<Vec<ExtendedKeyUsagePurpose>, PkiError> {
    let mut wanted = usages.to_vec();
    wanted.sort_unstable();
    wanted.dedup();
    if wanted.is_empty() {
        return Err(invalid(name, "it must be for a server, a client, or both"));
    }
    Ok(wanted
        .into_iter()
        .map(|usage| match usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        })
        .collect())
}

fn alternative_names(name: &str, request: &Request) -> Result<Vec<SanType>, PkiError> {
    let mut names = Vec::new();
    for dns in &request.dns_names {
        let written =
            dns.as_str().try_into().map_err(|_| invalid(name, format!("{dns:?} is not a DNS name")))?;
        if dns.is_empty() || dns.contains(char::is_whitespace) || dns.parse::<IpAddr>().is_ok() {
            return Err(invalid(name, format!("{dns:?} is not a DNS name")));
        }
        names.push(SanType::DnsName(written));
    }
    for address in &request.ip_addresses {
        let parsed =
            address.parse().map_err(|_| invalid(name, format!("{address:?} is not an IP address")))?;
        names.push(SanType::IpAddress(parsed));
    }
    Ok(names)
}

fn life(name: &str, valid_days: u32) -> Result<i64, PkiError> {
    if valid_days == 0 {
        return Err(invalid(name, "it would be valid for 0 days"));
    }
    Ok(i64::from(valid_days.min(LONGEST_DAYS)) * DAY)
}

fn date(name: &str, seconds: i64) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(seconds).map_err(|error| failed(name, error))
}

fn generate(name: &str) -> Result<KeyPair, PkiError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| failed(name, error))
}

fn invalid(name: &str, reason: impl Into<String>) -> PkiError {
    PkiError::Invalid { name: name.into(), reason: reason.into() }
}

fn failed(name: &str, error: impl std::fmt::Display) -> PkiError {
    PkiError::Failed { name: name.into(), reason: error.to_string() }
}

fn unreadable(name: &str, error: impl std::fmt::Display) -> PkiError {
    PkiError::Unreadable { name: name.into(), reason: error.to_string() }
}
