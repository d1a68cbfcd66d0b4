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
    /// Name and server of each control plane that gets a context of its own, to switch to.
    pub others: &'a [(String, String)],
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
    let user = context(access, access.cluster);
    let authority = STANDARD.encode(authority);
    let clusters: Vec<Value> = clusters(access)
        .map(|(name, server)| {
            json!({"name": name, "cluster": {"certificate-authority-data": authority, "server": server}})
        })
        .collect();
    let contexts: Vec<Value> = self::clusters(access)
        .map(|(name, _)| json!({"name": context(access, &name), "context": {"cluster": name, "user": user}}))
        .collect();
    let file = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": clusters,
        "users": [{"name": user, "user": {
            "client-certificate-data": STANDARD.encode(&identity.certificate),
            "client-key-data": STANDARD.encode(&identity.key),
        }}],
        "contexts": contexts,
        "current-context": user,
    });
    pki.redactor.learn(&Secret::new(STANDARD.encode(&identity.key)));
    Ok(Secret::new(super::yaml(&file)))
}

/// True when a file that is there already says the same and its certificate lives long enough: it need not be written anew. Its
/// owner may have switched to another of its contexts, as long as that one's server is [`Access::server`].
pub fn still_good(existing: &str, pki: &Pki, access: Access<'_>) -> bool {
    let Ok(file) = serde_saphyr::from_str::<Value>(existing) else { return false };
    let Ok(authority) = trusted(pki, access) else { return false };
    let decoded = |value: Option<&Value>| {
        let text = value.and_then(Value::as_str)?;
        String::from_utf8(STANDARD.decode(text).ok()?).ok()
    };
    let entries = file["clusters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let trusted = entries.iter().all(|entry| {
        decoded(entry.pointer("/cluster/certificate-authority-data")).is_some_and(|found| found == authority)
    });
    let others =
        entries.iter().skip(1).map(|entry| (entry["name"].as_str(), entry["cluster"]["server"].as_str()));
    let wanted: Vec<(String, String)> = clusters(access).skip(1).collect();
    let certificate = decoded(file.pointer("/users/0/user/client-certificate-data"));
    trusted
        && entries.first().and_then(|entry| entry["name"].as_str()) == Some(access.cluster)
        && others.eq(wanted.iter().map(|(name, server)| (Some(name.as_str()), Some(server.as_str()))))
        && current_server(existing).as_deref() == Some(access.server)
        && certificate.is_some_and(|certificate| !near_its_end(&certificate, now()))
}

/// The server of the context that a file uses.
pub fn current_server(existing: &str) -> Option<String> {
    let file: Value = serde_saphyr::from_str(existing).ok()?;
    let named = |list: &str, name: &Value| {
        file[list].as_array()?.iter().find(|entry| entry["name"] == *name && name.is_string()).cloned()
    };
    let context = named("contexts", &file["current-context"])?;
    let cluster = named("clusters", &context["context"]["cluster"])?;
    cluster["cluster"]["server"].as_str().map(str::to_owned)
}

/// Names and servers in the file's order, the one that is used first.
fn clusters(access: Access<'_>) -> impl Iterator<Item = (String, String)> {
    let first = (access.cluster.to_owned(), access.server.to_owned());
    let others = access.others.iter();
    std::iter::once(first)
        .chain(others.map(move |(name, server)| (format!("{}-{name}", access.cluster), server.clone())))
}

fn context(access: Access<'_>, cluster: &str) -> String {
    format!("{}@{cluster}", access.user)
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
        others: &[],
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

    #[test]
    fn each_control_plane_has_a_context() {
        let pki = pki();
        let others = ["1", "2"].map(|n| (format!("cp{n}"), format!("https://10.0.0.{n}:6443")));
        let access = Access { others: &others, ..ACCESS };
        let text = String::from_utf8(kubeconfig(&pki, access).unwrap().expose().to_vec()).unwrap();
        let read = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        let contexts: Vec<&str> = read.contexts.iter().map(|context| context.name.as_str()).collect();
        assert_eq!(
            contexts,
            ["kubernetes-admin@prod", "kubernetes-admin@prod-cp1", "kubernetes-admin@prod-cp2"]
        );
        assert_eq!(current_server(&text).as_deref(), Some("https://10.0.0.1:6443"));
        assert!(still_good(&text, &pki, access));
        assert!(!still_good(&text, &pki, Access { others: &others[..1], ..access }));

        let switched = text
            .replace("current-context: kubernetes-admin@prod", "current-context: kubernetes-admin@prod-cp2");
        assert_eq!(current_server(&switched).as_deref(), Some("https://10.0.0.2:6443"));
        assert!(!still_good(&switched, &pki, access));
        assert!(still_good(&switched, &pki, Access { server: "https://10.0.0.2:6443", ..access }));
    }
}
