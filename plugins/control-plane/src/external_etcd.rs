//! An etcd that another stage runs: the one that provides slot `etcd` publishes `endpoints`, a JSON list of its members' addresses.
//! A control plane is only its client, and never holds the key of its authority.

use ksp_sdk::etcd;
use ksp_sdk::prelude::*;
use ksp_sdk::{CertificateRequest, Usage};
use serde_json::Value;

const AUTHORITY: &str = "/etc/kubernetes/pki/etcd/ca.crt";
const CERTIFICATE: &str = "/etc/kubernetes/pki/apiserver-etcd-client.crt";
const KEY: &str = "/etc/kubernetes/pki/apiserver-etcd-client.key";

/// A year; the host replaces it 73 days before its end, and the API server reads it with each new connection.
const DAYS: u32 = 365;

/// Where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExternalEtcd {
    endpoints: Vec<String>,
}

impl ExternalEtcd {
    /// None when no other stage runs etcd.
    ///
    /// # Errors
    /// What was published is no list of addresses.
    pub fn read(cx: &Context) -> Result<Option<Self>> {
        let endpoints = cx.output("etcd", "endpoints");
        endpoints.map(|json| Ok(Self { endpoints: serde_json::from_str(&json)? })).transpose()
    }

    /// What a control plane shows it, and whom it trusts.
    ///
    /// # Errors
    /// Of the host's authorities.
    pub fn place(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        let plan = cx.plan();
        let authority = etcd::authority(cx)?;
        plan.file(nodes, AUTHORITY, authority.certificate());
        for node in nodes {
            let request = CertificateRequest {
                common_name: "kube-apiserver-etcd-client".into(),
                organizations: Vec::new(),
                usages: vec![Usage::Client],
                dns_names: Vec::new(),
                ip_addresses: Vec::new(),
                valid_days: DAYS,
            };
            let issued = authority.issue(&format!("{}/apiserver", node.name), &request)?;
            plan.secret_file(node, KEY, &issued.key());
            plan.file(node, CERTIFICATE, issued.certificate());
        }
        Ok(())
    }

    /// `etcd` of a `ClusterConfiguration`.
    pub fn kubeadm(&self) -> Value {
        json!({ "external": {
            "endpoints": self.endpoints,
            "caFile": AUTHORITY,
            "certFile": CERTIFICATE,
            "keyFile": KEY,
        } })
    }
}
