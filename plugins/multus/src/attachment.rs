//! Networks that pods may ask for: what the manifest says of each, and the object that it becomes.

use std::collections::{BTreeMap, BTreeSet};

use ksp_sdk::prelude::*;
use serde_json::{Map, Value};

use crate::cni;

/// A network that pods may ask for, a NetworkAttachmentDefinition in Kubernetes.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Attachment {
    /// Its name, which pods name in their annotation.
    pub name: String,
    /// Its namespace; made when it is missing.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// A resource of a device plugin: pods that ask for it get the interface of their device.
    #[serde(default)]
    pub resource: String,
    /// The CNI configuration: `type` and what that plugin knows, or `plugins`, a list of them. `cniVersion` and `name` are filled in.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub config: Map<String, Value>,
}

fn default_namespace() -> String {
    "default".into()
}

/// The version of CNI that is filled in.
const CNI_VERSION: &str = "1.0.0";

impl Attachment {
    /// The configuration with what may be left out.
    fn whole_config(&self) -> Value {
        let mut config = Map::new();
        config.insert("cniVersion".into(), CNI_VERSION.into());
        config.insert("name".into(), self.name.clone().into());
        config.extend(self.config.clone());
        config.into()
    }

    /// The object.
    pub fn object(&self) -> Value {
        let mut metadata = json!({ "name": self.name, "namespace": self.namespace });
        if !self.resource.is_empty() {
            metadata["annotations"] = json!({ "k8s.v1.cni.cncf.io/resourceName": self.resource });
        }
        json!({ "metadata": metadata, "config": self.whole_config().to_string() })
    }

    /// Interfaces of nodes that it is on.
    pub fn masters(&self) -> BTreeSet<&str> {
        cni::plugins(&self.config).filter_map(|(_, plugin)| cni::master(plugin)).collect()
    }

    /// Where a node keeps the addresses that it has handed out.
    pub fn pool(&self) -> Option<String> {
        let name = cni::name(&self.config, &self.name);
        cni::is_host_local(&self.config).then(|| format!("/var/lib/cni/networks/{name}"))
    }

    fn check(&self, pointer: &str) -> Vec<Finding> {
        let mut findings: Vec<Finding> = label(&format!("{pointer}/name"), "name", &self.name)
            .into_iter()
            .chain(label(&format!("{pointer}/namespace"), "namespace", &self.namespace))
            .collect();
        if !self.name.is_empty()
            && !self.config.contains_key("name")
            && !cni::is_name(&self.name)
            && findings.is_empty()
        {
            let message = format!("`{}` is the name of a cluster's own network", self.name);
            findings.push(Finding::error(format!("{pointer}/name"), message).hint("give it another name"));
        }
        if !self.resource.is_empty() && !self.resource.contains('/') {
            let message = format!("`{}` is no resource of a device plugin", self.resource);
            findings.push(
                Finding::error(format!("{pointer}/resource"), message).hint("such as \"intel.com/sriov\""),
            );
        }
        findings.extend(cni::check(&format!("{pointer}/config"), &self.config, !self.resource.is_empty()));
        findings
    }
}

/// What is wrong with all of them.
pub fn check_all(attachments: &[Attachment]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut seen: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (at, attachment) in attachments.iter().enumerate() {
        let pointer = format!("/attachment/{at}");
        findings.extend(attachment.check(&pointer));
        if let Some(first) = seen.insert((&attachment.namespace, &attachment.name), at) {
            let (namespace, name) = (&attachment.namespace, &attachment.name);
            let message = format!(
                "attachments {} and {} are both `{name}` in the namespace `{namespace}`",
                first + 1,
                at + 1
            );
            findings.push(Finding::error(format!("{pointer}/name"), message).hint("give one another name"));
        }
    }
    findings
}

/// A label as of RFC 1123. Multus allows no dots in the names that pods write.
pub fn label(pointer: &str, what: &str, text: &str) -> Option<Finding> {
    let inner = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let fits = (1..=63).contains(&text.len())
        && text.chars().all(|character| inner(character) || character == '-')
        && text.starts_with(inner)
        && text.ends_with(inner);
    let message = format!("`{text}` is no {what}");
    let hint = "at most 63 lower-case letters, digits and `-`, a letter or digit first and last";
    (!fits).then(|| Finding::error(pointer, message).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attachment(value: Value) -> Attachment {
        serde_json::from_value(value).unwrap()
    }

    fn lan(name: &str, namespace: &str) -> Attachment {
        attachment(json!({
            "name": name, "namespace": namespace,
            "config": { "type": "macvlan", "master": "eth1", "ipam": { "type": "dhcp" } },
        }))
    }

    fn errors(attachments: &[Attachment]) -> Vec<String> {
        check_all(attachments).iter().map(|it| format!("{}: {}", it.path(), it.message())).collect()
    }

    #[test]
    fn version_and_name_are_filled_in_and_may_be_given() {
        let object = lan("lan", "default").object();
        let config: Value = serde_json::from_str(object["config"].as_str().unwrap()).unwrap();
        assert_eq!(
            config,
            json!({
                "cniVersion": "1.0.0", "name": "lan", "type": "macvlan", "master": "eth1", "ipam": { "type": "dhcp" },
            })
        );
        assert_eq!(object["metadata"], json!({ "name": "lan", "namespace": "default" }));
        let given = attachment(json!({
            "name": "sriov", "resource": "intel.com/vf",
            "config": { "type": "sriov", "cniVersion": "0.3.1", "name": "pool" },
        }));
        let object = given.object();
        assert_eq!(object["metadata"]["namespace"], "default");
        assert_eq!(object["metadata"]["annotations"]["k8s.v1.cni.cncf.io/resourceName"], "intel.com/vf");
        assert_eq!(object["config"], r#"{"cniVersion":"0.3.1","name":"pool","type":"sriov"}"#);
    }

    #[test]
    fn pools_are_those_of_nodes() {
        let pool = |config: Value| attachment(json!({ "name": "lan", "config": config })).pool();
        let ipam = json!({ "type": "host-local", "subnet": "10.7.0.0/24" });
        assert_eq!(
            pool(json!({ "type": "bridge", "ipam": ipam })).as_deref(),
            Some("/var/lib/cni/networks/lan")
        );
        let listed =
            json!({ "name": "own", "plugins": [{ "type": "bridge", "ipam": ipam }, { "type": "tuning" }] });
        assert_eq!(pool(listed).as_deref(), Some("/var/lib/cni/networks/own"));
        assert_eq!(pool(json!({ "type": "macvlan", "ipam": { "type": "dhcp" } })), None);
    }

    #[test]
    fn names_are_labels_and_there_once() {
        assert!(
            errors(&[lan("lan", "a"), lan("lan", "b"), lan("wan", "a")]).iter().all(|it| it.contains("dhcp"))
        );
        let found = errors(&[lan("lan", "a"), lan("x", "a"), lan("lan", "a")]);
        assert!(
            found.contains(
                &"/attachment/2/name: attachments 1 and 3 are both `lan` in the namespace `a`".to_owned()
            ),
            "{found:?}"
        );
        for bad in ["", "Lan", "lan.one", "-lan", "lan-", "l an", &"x".repeat(64)] {
            let found = errors(&[lan(bad, "default")]);
            assert!(found[0].starts_with("/attachment/0/name"), "{bad}: {found:?}");
        }
        assert!(errors(&[lan("cbr0", "default")])[0].contains("a cluster's own network"));
        assert!(errors(&[lan("lan", "Team")])[0].starts_with("/attachment/0/namespace"));
    }
}
