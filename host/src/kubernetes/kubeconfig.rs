//! Kubeconfig files for people.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::pki::{Pki, PkiError, Request, Usage, near_its_end, now};
use crate::redact::Secret;

/// kubeadm's group of administrators: its rights come from a ClusterRoleBinding that `kubeadm init` makes and that an
/// administrator can take away, so that a lost kubeconfig can be made worthless.
pub const KUBEADM_ADMINS: &str = "kubeadm:cluster-admins";

/// The group above RBAC: its rights end with the certificate only.
pub const MASTERS: &str = "system:masters";

/// Who a kubeconfig speaks for.
pub const USER: &str = "kubernetes-admin";

/// One year, as kubeadm's.
const VALID_DAYS: u32 = 365;

/// What a kubeconfig is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access<'a> {
    /// The certificate authority's name in the PKI.
    pub authority: &'a str,
    /// Names the cluster in the file.
    pub cluster: &'a str,
    /// "https://api.example:6443".
    pub server: &'a str,
    /// The user's name: CN of its certificate. See [`USER`].
    pub user: &'a str,
    /// The user's group: O of its certificate. See [`KUBEADM_ADMINS`] and [`MASTERS`].
    pub group: &'a str,
}

/// A kubeconfig with a client certificate of its own. To be written with mode 0600.
///
/// # Errors
/// There is no such authority.
pub fn kubeconfig(pki: &Pki, access: Access<'_>) -> Result<Secret, PkiError> {
    let authority = trusted(pki, access)?;
    let request = Request {
        common_name: access.user.to_owned(),
        organizations: vec![access.group.to_owned()],
        usages: vec![Usage::Client],
        valid_days: VALID_DAYS,
        ..Request::default()
    };
    let identity = pki.issue_transient(access.authority, &request)?;
    let context = context(access);
    let file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": access.cluster, "cluster": {
            "certificate-authority-data": STANDARD.encode(authority),
            "server": access.server,
        }}],
        "users": [{"name": context, "user": {
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        }}],
        "contexts": [{"name": context, "context": {"cluster": access.cluster, "user": context}}],
        "current-context": context,
    });
    pki.redactor.learn(&Secret::new(STANDARD.encode(&identity.key)));
    Ok(Secret::new(super::yaml(&file)))
}

/// True when a file that is there already says the same and its certificate lives long enough: it need not be written anew.
pub fn still_good(existing: &str, pki: &Pki, access: Access<'_>) -> bool {
    let Ok(file) = serde_saphyr::from_str::<Value>(existing) else { return false };
    let Ok(authority) = trusted(pki, access) else { return false };
    let decoded = |pointer: &str| {
        let text = file.pointer(pointer).and_then(Value::as_str)?;
        String::from_utf8(STANDARD.decode(text).ok()?).ok()
    };
    let certificate = decoded("/users/0/user/client-certificate-data");
    file.pointer("/clusters/0/cluster/server").and_then(Value::as_str) == Some(access.server)
        && file["current-context"].as_str() == Some(context(access).as_str())
        && decoded("/clusters/0/cluster/certificate-authority-data").is_some_and(|found| found == authority)
        && certificate.is_some_and(|certificate| !near_its_end(&certificate, now()))
}

fn context(access: Access<'_>) -> String {
    format!("{}@{}", access.user, access.cluster)
}

fn trusted(pki: &Pki, access: Access<'_>) -> Result<String, PkiError> {
    let found = pki.find_authority(access.authority);
    found.map(|pair| pair.certificate).ok_or_else(|| PkiError::UnknownAuthority(access.authority.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::redact::Redactor;
    use crate::state::ClusterState;

    const ACCESS: Access<'_> = Access {
        authority: "kubernetes",
        cluster: "prod",
        server: "https://10.0.0.1:6443",
        user: USER,
        group: KUBEADM_ADMINS,
    };

    fn pki() -> Pki {
        let pki = Pki::new(Arc::new(Mutex::new(ClusterState::default())), Redactor::default());
        pki.authority("kubernetes", "kubernetes", 3650).unwrap();
        pki
    }

    #[test]
    fn kube_reads_what_is_written() {
        let pki = pki();
        let text = String::from_utf8(kubeconfig(&pki, ACCESS).unwrap().expose().to_vec()).unwrap();
        let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(read.current_context.as_deref(), Some("kubernetes-admin@prod"));
        assert_eq!(
            read.clusters[0].cluster.as_ref().unwrap().server.as_deref(),
            Some("https://10.0.0.1:6443")
        );
        let key = text.lines().find(|line| line.contains("client-key-data")).unwrap();
        assert!(!pki.redactor.redact(&text).contains(key));
    }

    #[test]
    fn a_good_file_is_recognised() {
        let pki = pki();
        let text = String::from_utf8(kubeconfig(&pki, ACCESS).unwrap().expose().to_vec()).unwrap();
        assert!(still_good(&text, &pki, ACCESS));
        assert!(!still_good(&text, &pki, Access { server: "https://10.0.0.2:6443", ..ACCESS }));
        assert!(!still_good(&text, &pki, Access { cluster: "other", ..ACCESS }));
        assert!(!still_good(&text, &self::pki(), ACCESS));
        assert!(!still_good("nonsense", &pki, ACCESS));
    }
}
