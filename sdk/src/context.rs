//! What a stage is told, and what it may ask the host for.

use std::collections::BTreeMap;

use semver::Version;
use serde::{Deserialize, Serialize};

use crate::bindings::ksp::plugin::{artifact, blobs, cluster, log, pki, secrets, template};
use crate::node::{Facts, Node, Nodes};
use crate::plan::Plan;
use crate::{Authority, Blob, Credential, Error, Finding, Release, Result, Secret, Severity};

/// The cluster section of the manifest.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Spec {
    /// A DNS label.
    pub name: String,
    /// The Kubernetes version.
    pub kubernetes: Version,
    /// `host:port` by which nodes and users reach the API.
    pub endpoint: String,
    /// Addresses of pods.
    pub pod_cidr: String,
    /// Addresses of Services.
    pub service_cidr: String,
    /// "cluster.local".
    pub dns_domain: String,
    /// Where images come from instead of upstream.
    #[serde(default)]
    pub mirrors: Mirrors,
}

/// Where things come from instead of upstream. Release files are fetched by the host's ops, which know the mirror themselves.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mirrors {
    /// Registry host to mirror address.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// Base address of release files.
    #[serde(default)]
    pub files: Option<String>,
    /// Nodes fetch nothing themselves.
    #[serde(default)]
    pub push: bool,
}

impl Spec {
    /// The host of the endpoint, without brackets around an IPv6 address.
    pub fn endpoint_host(&self) -> &str {
        self.endpoint
            .rsplit_once(':')
            .map_or(self.endpoint.as_str(), |(host, _)| host)
            .trim_matches(['[', ']'])
    }

    /// The port of the endpoint.
    pub fn endpoint_port(&self) -> u16 {
        self.endpoint.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(6443)
    }
}

/// Everything a stage may ask for. Free to copy.
#[derive(Debug, Clone, Copy)]
pub struct Context(pub(crate) ());

impl Context {
    /// The cluster section of the manifest.
    ///
    /// # Errors
    /// The host is of another version than this SDK.
    pub fn spec(&self) -> Result<Spec> {
        Ok(serde_json::from_str(&cluster::spec())?)
    }

    /// Nodes by selector, in the manifest's order. Comma-separated terms, all of which must hold: "*", "role=control-plane",
    /// "label=disk", "label=disk:ssd", "name=w1"; "!" before a term negates it.
    ///
    /// # Errors
    /// A term is not understood.
    pub fn nodes(&self, selector: &str) -> Result<Nodes> {
        Nodes::select(selector)
    }

    /// What the host read from a node.
    pub fn facts(&self, node: &Node) -> Facts {
        node.facts()
    }

    /// What the stage that provides `slot` published under `key`. None also when the slot is provided by different stages on
    /// different nodes that do not say the same: ask for each node then.
    pub fn output(&self, slot: &str, key: &str) -> Option<String> {
        cluster::output(slot, key)
    }

    /// What the stage that provides `slot` on a node published under `key`.
    pub fn output_on(&self, node: &Node, slot: &str, key: &str) -> Option<String> {
        cluster::output_on(node.id, slot, key)
    }

    /// Leaves a value for later stages and for the host.
    ///
    /// # Errors
    /// The key was published already, or this is not `plan`.
    pub fn publish(&self, key: &str, value: impl AsRef<str>) -> Result<()> {
        Ok(cluster::publish(key, value.as_ref())?)
    }

    /// The builder. In `plan` and `teardown` only: elsewhere recording ends the plugin.
    pub fn plan(&self) -> Plan {
        Plan(())
    }

    /// Bytes for the host, to be used several times.
    pub fn blob(&self, bytes: impl AsRef<[u8]>) -> Blob {
        blobs::of_bytes(bytes.as_ref())
    }

    /// A file of the plugin's `assets` folder.
    ///
    /// # Errors
    /// There is no such file.
    pub fn asset(&self, path: &str) -> Result<Blob> {
        Ok(blobs::asset(path)?)
    }

    /// Renders a template text (Jinja) with data; an undefined name is an error.
    ///
    /// # Errors
    /// With the line and what is wrong.
    pub fn render(&self, source: &str, data: &impl Serialize) -> Result<Blob> {
        Ok(template::render(source, &serde_json::to_string(data)?)?)
    }

    /// Renders a template of the plugin's `assets` folder.
    ///
    /// # Errors
    /// As [`Self::render`], and when there is no such file.
    pub fn render_asset(&self, path: &str, data: &impl Serialize) -> Result<Blob> {
        Ok(template::render_asset(path, &serde_json::to_string(data)?)?)
    }

    /// Renders a template in which each secret stands under its name; the result is a secret.
    ///
    /// # Errors
    /// As [`Self::render`].
    pub fn render_secret(
        &self,
        source: &str,
        data: &impl Serialize,
        values: &[(&str, &Secret)],
    ) -> Result<Secret> {
        let values: Vec<_> = values.iter().map(|(name, secret)| ((*name).to_owned(), *secret)).collect();
        Ok(template::render_secret(source, &serde_json::to_string(data)?, &values)?)
    }

    /// A release file that the plugin's manifest declares.
    ///
    /// # Errors
    /// The manifest does not list the name or the version; the message lists what it does.
    pub fn release(&self, name: &str, version: &str) -> Result<Release> {
        Ok(artifact::get(name, version)?)
    }

    /// What is wrong with a version of a release file, for `validate`: the plugin's manifest does not list it, nor do the checksums of
    /// the operator's mirror. `path` is the JSON pointer of the config's key.
    pub fn unknown_release(&self, name: &str, version: &str, path: &str) -> Option<Finding> {
        let error = Error::from(artifact::get(name, version).err()?);
        Some(Finding::error(path, error.message()).hint("choose one of these, or leave the key out"))
    }

    /// A certificate authority, made on first use. Needs `pki:<name>`.
    ///
    /// # Errors
    /// Not granted.
    pub fn authority(&self, name: &str, common_name: &str, valid_days: u32) -> Result<Authority> {
        Ok(pki::get_authority(name, common_name, valid_days)?)
    }

    /// A bare key pair, made on first use. Needs `pki:<name>`.
    ///
    /// # Errors
    /// Not granted.
    pub fn keypair(&self, name: &str) -> Result<Credential> {
        Ok(pki::get_keypair(name)?)
    }

    /// A secret of the operator's manifest. Needs `secrets:<name>`.
    ///
    /// # Errors
    /// Not granted, or not in the manifest.
    pub fn secret(&self, name: &str) -> Result<Secret> {
        Ok(secrets::get(name)?)
    }

    /// A secret made once per cluster, from these characters. Needs `secrets:<name>`.
    ///
    /// # Errors
    /// Not granted, or the host refuses length or alphabet.
    pub fn generate(&self, name: &str, alphabet: &str, len: u32) -> Result<Secret> {
        Ok(secrets::generate(name, alphabet, len)?)
    }

    /// A secret for this run only, never stored. Needs `secrets:<name>`.
    ///
    /// # Errors
    /// As [`Self::generate`].
    pub fn ephemeral(&self, name: &str, alphabet: &str, len: u32) -> Result<Secret> {
        Ok(secrets::ephemeral(name, alphabet, len)?)
    }

    /// A line for the run's log.
    pub fn log(&self, severity: Severity, message: impl AsRef<str>) {
        log::emit(severity, message.as_ref(), &[]);
    }

    /// What a long `run` has done so far.
    pub fn progress(&self, done: u64, total: u64, unit: &str) {
        log::progress(done, total, unit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_is_taken_apart() {
        let mut spec: Spec = serde_json::from_value(serde_json::json!({
            "name": "c", "kubernetes": "1.36.3", "endpoint": "[fd00::1]:7443", "pod-cidr": "", "service-cidr": "",
            "dns-domain": "cluster.local",
        }))
        .unwrap();
        assert_eq!((spec.endpoint_host(), spec.endpoint_port()), ("fd00::1", 7443));
        spec.endpoint = "api.example:6443".into();
        assert_eq!((spec.endpoint_host(), spec.endpoint_port()), ("api.example", 6443));
    }
}
