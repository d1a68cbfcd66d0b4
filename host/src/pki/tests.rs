use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use x509_parser::prelude::*;

use super::*;

fn pki() -> Pki {
    Pki::new(Arc::new(Mutex::new(ClusterState::default())), Redactor::default())
}

fn server_request() -> Request {
    Request {
        common_name: "kube-apiserver".into(),
        organizations: vec!["one".into(), "two".into()],
        usages: vec![Usage::Client, Usage::Server],
        dns_names: vec!["kubernetes".into(), "*.example.org".into()],
        ip_addresses: vec!["10.96.0.1".into(), "fd00::1".into()],
        valid_days: 365,
    }
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn verify(root: &str, leaf: &str, name: &str) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(der(root)).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    verifier.verify_server_cert(&der(leaf), &[], &name, &[], UnixTime::now()).map(drop)
}

#[test]
fn an_authority_looks_like_kubeadms_own() {
    let made = pki().authority("kubernetes", "kubernetes", 3650).unwrap();
    let der = der(&made.certificate);
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    assert!(certificate.is_ca());
    assert_eq!(certificate.subject().to_string(), "CN=kubernetes");
    assert_eq!(certificate.subject().as_raw(), certificate.issuer().as_raw());
    let usage = certificate.key_usage().unwrap().unwrap();
    assert!(
        usage.critical
            && usage.value.key_cert_sign()
            && usage.value.crl_sign()
            && usage.value.digital_signature()
    );
    let life = certificate.validity().not_after.timestamp() - now();
    assert!((3650 * make::DAY - 60..=3650 * make::DAY).contains(&life), "{life}");
    assert!(certificate.validity().not_before.timestamp() <= now() - 299);
    assert!(made.key.starts_with("-----BEGIN PRIVATE KEY-----\n"));
}

#[test]
fn an_authority_is_made_once() {
    let pki = pki();
    let first = pki.authority("kubernetes", "kubernetes", 3650).unwrap();
    assert!(first == pki.authority("kubernetes", "another", 10).unwrap());
    assert_eq!(pki.lock().changes, 1);
}

#[test]
fn a_leaf_is_trusted_for_its_names_only() {
    let pki = pki();
    let authority = pki.authority("kubernetes", "kubernetes", 3650).unwrap();
    let other = pki.authority("etcd", "etcd-ca", 3650).unwrap();
    let leaf = pki.issue("kubernetes", "apiserver", &server_request()).unwrap();
    for name in ["kubernetes", "a.example.org", "10.96.0.1", "fd00::1"] {
        verify(&authority.certificate, &leaf.certificate, name).unwrap();
    }
    assert!(verify(&authority.certificate, &leaf.certificate, "10.96.0.2").is_err());
    assert!(verify(&other.certificate, &leaf.certificate, "kubernetes").is_err());
}

#[test]
fn a_leaf_holds_what_was_asked() {
    let pki = pki();
    let authority = pki.authority("kubernetes", "kubernetes", 3650).unwrap();
    let leaf = pki.issue("kubernetes", "apiserver", &server_request()).unwrap();
    let (authority, leaf) = (der(&authority.certificate), der(&leaf.certificate));
    let (_, authority) = X509Certificate::from_der(&authority).unwrap();
    let (_, leaf) = X509Certificate::from_der(&leaf).unwrap();
    assert_eq!(leaf.subject().to_string(), "O=one, O=two, CN=kube-apiserver");
    assert!(!leaf.is_ca());
    let usage = leaf.extended_key_usage().unwrap().unwrap().value;
    assert!(usage.server_auth && usage.client_auth);
    let identifier = |certificate: &X509Certificate<'_>, oid| match certificate
        .get_extension_unique(oid)
        .unwrap()
        .unwrap()
        .parsed_extension()
    {
        ParsedExtension::AuthorityKeyIdentifier(key) => key.key_identifier.clone().unwrap().0.to_vec(),
        ParsedExtension::SubjectKeyIdentifier(key) => key.0.to_vec(),
        _ => Vec::new(),
    };
    assert_eq!(
        identifier(&leaf, &oid_registry::OID_X509_EXT_AUTHORITY_KEY_IDENTIFIER),
        identifier(&authority, &oid_registry::OID_X509_EXT_SUBJECT_KEY_IDENTIFIER)
    );
}

/// T10: a second run writes no new certificates, and restarts nobody.
#[test]
fn a_leaf_is_kept_until_its_request_or_its_authority_changes() {
    let pki = pki();
    pki.authority("kubernetes", "kubernetes", 3650).unwrap();
    let first = pki.issue("kubernetes", "apiserver", &server_request()).unwrap();
    assert!(first == pki.issue("kubernetes", "apiserver", &server_request()).unwrap());
    let mut wider = server_request();
    wider.ip_addresses.push("10.0.0.4".into());
    let second = pki.issue("kubernetes", "apiserver", &wider).unwrap();
    assert!(first.certificate != second.certificate && first.key != second.key);
    assert_eq!(pki.lock().credentials.len(), 1);

    let replacement = make::authority("kubernetes", "kubernetes", 3650, now()).unwrap();
    pki.lock().authorities.insert("kubernetes".into(), replacement);
    assert!(second != pki.issue("kubernetes", "apiserver", &wider).unwrap());
}

/// T10: leaves live for a year and are renewed in time, not for a century.
#[test]
fn a_leaf_is_replaced_before_its_end() {
    let pki = pki();
    pki.authority("kubernetes", "kubernetes", 36500).unwrap();
    for (days, kept_until_days_left) in [(10, 2), (365, 73), (3650, 90)] {
        let request = Request { valid_days: days, ..server_request() };
        let leaf = pki.issue_transient("kubernetes", &request).unwrap();
        let end = now() + i64::from(days) * make::DAY;
        let margin = kept_until_days_left * make::DAY;
        assert!(!near_its_end(&leaf.certificate, end - margin - 120), "{days}");
        assert!(near_its_end(&leaf.certificate, end - margin + 120), "{days}");
    }
}

#[test]
fn a_leaf_never_outlives_its_authority() {
    let pki = pki();
    let authority = pki.authority("short", "short", 10).unwrap();
    let leaf = pki.issue_transient("short", &server_request()).unwrap();
    let end = |pem: &str| inspect::validity(pem).unwrap().1;
    assert_eq!(end(&leaf.certificate), end(&authority.certificate));
    let error =
        make::leaf("short", &authority, "late", &server_request(), now() + 11 * make::DAY).unwrap_err();
    assert_eq!(error, PkiError::Expired("short".into()));
}

#[test]
fn a_bare_key_pair_fits_together() {
    let pki = pki();
    let pair = pki.keypair("service-accounts").unwrap();
    assert!(pair == pki.keypair("service-accounts").unwrap());
    assert!(pair.certificate.starts_with("-----BEGIN PUBLIC KEY-----\n"));
    let key = rcgen::KeyPair::from_pem(&pair.key).unwrap();
    assert_eq!(key.public_key_pem(), pair.certificate);
    rustls::crypto::ring::sign::any_ecdsa_type(&PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap())
        .unwrap();
}

#[test]
fn every_key_is_hidden() {
    let pki = pki();
    pki.authority("kubernetes", "kubernetes", 3650).unwrap();
    let leaf = pki.issue_transient("kubernetes", &server_request()).unwrap();
    let shown = pki.redactor.redact(&leaf.key);
    let secret_lines = leaf.key.lines().filter(|line| !line.starts_with("-----"));
    assert!(secret_lines.into_iter().all(|line| !shown.contains(line)), "{shown}");
}

#[test]
fn the_public_key_hash_is_what_openssl_computes() {
    // openssl x509 -pubkey -noout | openssl pkey -pubin -outform der | sha256sum
    let certificate = include_str!("testdata/authority.pem");
    assert_eq!(public_key_hash(certificate).unwrap(), include_str!("testdata/authority.hash").trim());
    assert_eq!(public_key_hash("nonsense").unwrap_err().code(), "ksp::pki::unreadable");
}

#[test]
fn nonsense_is_refused() {
    let pki = pki();
    pki.authority("kubernetes", "kubernetes", 3650).unwrap();
    type Break = fn(&mut Request);
    let broken: [(&str, Break); 8] = [
        ("common name", |request| request.common_name.clear()),
        ("organization", |request| request.organizations = vec![String::new()]),
        ("2 organizations", |request| request.organizations.push("three".into())),
        ("server", |request| request.usages.clear()),
        ("DNS", |request| request.dns_names.push("ä.example".into())),
        ("DNS", |request| request.dns_names.push("10.0.0.1".into())),
        ("IP", |request| request.ip_addresses.push("10.0.0.256".into())),
        ("0 days", |request| request.valid_days = 0),
    ];
    for (expected, break_it) in broken {
        let mut request = server_request();
        break_it(&mut request);
        let error = pki.issue("kubernetes", "apiserver", &request).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(matches!(pki.issue("none", "x", &server_request()), Err(PkiError::UnknownAuthority(_))));
    assert!(matches!(pki.authority("a/b", "x", 1), Err(PkiError::Invalid { .. })));
    assert!(pki.lock().credentials.is_empty());
}
