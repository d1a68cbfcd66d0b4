//! The CNI configuration of an attachment. The plugins that come with the container runtime's stage are known with their keys; of others
//! only what CNI itself says is checked.

use ksp_sdk::prelude::*;
use serde_json::{Map, Value};

use crate::ipam;

/// Versions of CNI.
const VERSIONS: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Keys of every plugin.
const COMMON: &[&str] =
    &["type", "cniVersion", "name", "ipam", "dns", "capabilities", "args", "runtimeConfig"];

/// A plugin that comes with the stages of container runtimes, and what else its configuration may hold.
const KNOWN: &[(&str, &[&str])] = &[
    ("macvlan", &["master", "mode", "mtu", "mac", "linkInContainer", "bcqueuelen"]),
    ("ipvlan", &["master", "mode", "mtu", "linkInContainer"]),
    ("vlan", &["master", "vlanId", "mtu", "linkInContainer"]),
    ("host-device", &["device", "hwaddr", "DPDKMode", "kernelpath", "pciBusID"]),
    (
        "bridge",
        &[
            "bridge",
            "isGateway",
            "isDefaultGateway",
            "forceAddress",
            "ipMasq",
            "ipMasqBackend",
            "mtu",
            "hairpinMode",
            "promiscMode",
            "vlan",
            "vlanTrunk",
            "preserveDefaultVlan",
            "macspoofchk",
            "enabledad",
            "disableContainerInterface",
            "portIsolation",
        ],
    ),
];

/// Others that come with them.
const SHIPPED: &[&str] =
    &["bandwidth", "dummy", "firewall", "loopback", "portmap", "ptp", "sbr", "tap", "tuning", "vrf"];

/// Plugins that make interfaces on one of the node's.
const ON_A_MASTER: [&str; 3] = ["macvlan", "ipvlan", "vlan"];

/// Flannel's and CNI's own.
const TAKEN_BRIDGE: &str = "cni0";

/// Networks of whole clusters: what is kept by a network's name would be theirs.
const TAKEN_NAMES: [&str; 3] = ["cbr0", "cilium", "k8s-pod-network"];

/// The plugins of a configuration with their JSON pointers: itself, or those of its list.
pub fn plugins(config: &Map<String, Value>) -> impl Iterator<Item = (String, &Map<String, Value>)> {
    let list = config.get("plugins").and_then(Value::as_array);
    let alone = list.is_none().then(|| (String::new(), config));
    let listed = list.into_iter().flatten().enumerate();
    let listed = listed.filter_map(|(at, plugin)| Some((format!("/plugins/{at}"), plugin.as_object()?)));
    alone.into_iter().chain(listed)
}

/// The interface of the node that a plugin makes others on.
pub fn master(plugin: &Map<String, Value>) -> Option<&str> {
    let kind = text(plugin, "type")?;
    let in_the_pod = plugin.get("linkInContainer").and_then(Value::as_bool) == Some(true);
    (ON_A_MASTER.contains(&kind) && !in_the_pod).then(|| text(plugin, "master")).flatten()
}

/// What a network is called where addresses are handed out: the name in its configuration, or that of the attachment.
pub fn name<'a>(config: &'a Map<String, Value>, attachment: &'a str) -> &'a str {
    text(config, "name").unwrap_or(attachment)
}

/// True when a node hands out its addresses, and remembers them.
pub fn is_host_local(config: &Map<String, Value>) -> bool {
    let by_node = |plugin: &Map<String, Value>| {
        plugin.get("ipam").and_then(|ipam| ipam.get("type")).and_then(Value::as_str) == Some("host-local")
    };
    plugins(config).any(|(_, plugin)| by_node(plugin))
}

fn text<'a>(table: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    table.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// What is wrong with a configuration. `device`: a device plugin gives the pod its interface.
pub fn check(pointer: &str, config: &Map<String, Value>, device: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(version) = config.get("cniVersion")
        && !version.as_str().is_some_and(|version| VERSIONS.contains(&version))
    {
        let message = format!("{version} is no version of CNI");
        findings.push(
            Finding::error(format!("{pointer}/cniVersion"), message)
                .hint(format!("one of {}, as text", VERSIONS.join(", "))),
        );
    }
    if let Some(name) = config.get("name")
        && !name.as_str().is_some_and(is_name)
    {
        let message = format!("{name} is no name of a network");
        findings.push(
            Finding::error(format!("{pointer}/name"), message)
                .hint("letters, digits, `_`, `.` and `-`, a letter or digit first; not that of the cluster's own network"),
        );
    }
    if let Some(list) = config.get("plugins") {
        findings.extend(check_list(pointer, config, list));
    }
    for (below, plugin) in plugins(config) {
        findings.extend(check_plugin(&format!("{pointer}{below}"), plugin, device));
    }
    findings
}

fn check_list(pointer: &str, config: &Map<String, Value>, list: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !list.as_array().is_some_and(|list| !list.is_empty() && list.iter().all(Value::is_object)) {
        findings.push(
            Finding::error(format!("{pointer}/plugins"), "`plugins` is no list of plugins").hint(
                "write `[[stage.config.attachment.config.plugins]]` for each, or one plugin without it",
            ),
        );
    }
    if config.contains_key("type") {
        findings.push(
            Finding::error(format!("{pointer}/type"), "there is `type` beside `plugins`")
                .hint("`type` belongs to each of the plugins"),
        );
    }
    findings
}

fn check_plugin(pointer: &str, plugin: &Map<String, Value>, device: bool) -> Vec<Finding> {
    let Some(kind) = text(plugin, "type") else {
        let place = if plugin.contains_key("type") { format!("{pointer}/type") } else { pointer.to_owned() };
        return vec![
            Finding::error(place, "`type` does not name a CNI plugin").hint("such as `type = \"macvlan\"`"),
        ];
    };
    let mut findings = Vec::new();
    match KNOWN.iter().find(|(known, _)| *known == kind) {
        Some((_, keys)) => findings.extend(check_known(pointer, kind, keys, plugin, device)),
        None if !SHIPPED.contains(&kind) => findings.push(
            Finding::warning(format!("{pointer}/type"), format!("no stage brings the CNI plugin `{kind}`"))
                .hint("it must be in /opt/cni/bin on the nodes, or pods that ask for it never start"),
        ),
        None => {}
    }
    match plugin.get("ipam") {
        None => {}
        Some(Value::Object(ipam)) => findings.extend(ipam::check(pointer, plugin, ipam)),
        Some(_) => findings.push(
            Finding::error(format!("{pointer}/ipam"), "`ipam` is no table")
                .hint("such as `ipam = { type = \"dhcp\" }`"),
        ),
    }
    findings
}

fn check_known(
    pointer: &str,
    kind: &str,
    keys: &[&str],
    plugin: &Map<String, Value>,
    device: bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut error = |key: &str, message: String, hint: &str| {
        let place = if plugin.contains_key(key) { format!("{pointer}/{key}") } else { pointer.to_owned() };
        findings.push(Finding::error(place, message).hint(hint));
    };
    let needs_master = ON_A_MASTER.contains(&kind);
    if needs_master && text(plugin, "master").is_none() {
        let hint = "write `master`: without it nodes choose an interface each on its own";
        error("master", format!("`{kind}` does not name the interface that it is on"), hint);
    }
    for key in ["master", "device", "bridge"].into_iter().filter(|key| keys.contains(key)) {
        if let Some(name) = text(plugin, key).filter(|name| !is_interface(name)) {
            let hint = "at most 15 characters, no `/` and no spaces";
            error(key, format!("`{name}` is no name of an interface"), hint);
        }
    }
    if kind == "bridge" && text(plugin, "bridge").is_none_or(|name| name == TAKEN_BRIDGE) {
        let message = format!("the bridge would be `{TAKEN_BRIDGE}`, which is that of the cluster's network");
        error("bridge", message, "write `bridge` with a name of its own");
    }
    let named = ["device", "hwaddr", "kernelpath", "pciBusID"].iter().any(|key| text(plugin, key).is_some());
    if kind == "host-device" && !named && !device {
        let hint = "write `device`, `hwaddr`, `kernelpath` or `pciBusID`, or the attachment's `resource`";
        error("type", "`host-device` does not name a device".to_owned(), hint);
    }
    let modes: &[&str] = match kind {
        "macvlan" => &["bridge", "private", "vepa", "passthru"],
        "ipvlan" => &["l2", "l3", "l3s"],
        _ => &[],
    };
    if let Some(mode) = plugin.get("mode").filter(|_| !modes.is_empty())
        && !mode.as_str().is_some_and(|mode| modes.contains(&mode))
    {
        error("mode", format!("{mode} is no mode of `{kind}`"), &format!("one of {}", modes.join(", ")));
    }
    if let Some(mtu) = plugin.get("mtu").filter(|mtu| mtu.as_u64().is_none_or(|mtu| mtu > 65_535)) {
        error(
            "mtu",
            format!("{mtu} is no number of bytes"),
            "from 0, which takes that of the interface, to 65535",
        );
    }
    if kind == "vlan" && plugin.get("vlanId").and_then(Value::as_u64).is_none_or(|id| id > 4094) {
        error("vlanId", "`vlan` needs `vlanId`".to_owned(), "a number from 0 to 4094");
    }
    for key in plugin.keys().filter(|key| !COMMON.contains(&key.as_str()) && !keys.contains(&key.as_str())) {
        findings.push(
            Finding::warning(
                format!("{pointer}/{key}"),
                format!("`{kind}` is not known to have the key `{key}`"),
            )
            .hint(format!("there are: {}", keys.join(", "))),
        );
    }
    findings
}

/// As CNI has it, and nobody else's.
pub fn is_name(name: &str) -> bool {
    let inner = |character: char| character.is_ascii_alphanumeric() || "_.-".contains(character);
    name.starts_with(|character: char| character.is_ascii_alphanumeric())
        && name.chars().all(inner)
        && !TAKEN_NAMES.contains(&name)
}

fn is_interface(name: &str) -> bool {
    name.len() <= 15 && !name.contains(|character: char| character == '/' || character.is_whitespace())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places below the configuration, with messages.
    fn found(config: Value) -> Vec<String> {
        let findings = check("", config.as_object().unwrap(), false);
        findings.iter().map(|it| format!("{}: {}", it.path(), it.message())).collect()
    }

    #[test]
    fn good_ones_have_no_findings() {
        for config in [
            json!({ "type": "macvlan", "master": "eth1", "mode": "bridge", "mtu": 1400 }),
            json!({ "type": "ipvlan", "master": "eth1", "mode": "l3s", "ipam": { "type": "static", "addresses": [] },
                "capabilities": { "ips": true } }),
            json!({ "type": "vlan", "master": "eth1", "vlanId": 7 }),
            json!({ "type": "bridge", "bridge": "lab0", "isGateway": true }),
            json!({ "type": "host-device", "device": "eth2" }),
            json!({ "type": "ptp" }),
            json!({ "plugins": [{ "type": "macvlan", "master": "eth1" }, { "type": "tuning" }] }),
        ] {
            assert!(found(config.clone()).is_empty(), "{config}: {:?}", found(config.clone()));
        }
    }

    #[test]
    fn bad_ones_are_named() {
        for (config, expected) in [
            (json!({}), ": `type` does not name a CNI plugin"),
            (json!({ "type": 7 }), "/type: `type` does not name a CNI plugin"),
            (json!({ "type": "ptp", "cniVersion": "2.0" }), "/cniVersion: \"2.0\" is no version of CNI"),
            (json!({ "type": "ptp", "name": "a/b" }), "/name: \"a/b\" is no name of a network"),
            (json!({ "type": "ptp", "name": "cbr0" }), "/name: \"cbr0\" is no name of a network"),
            (json!({ "type": "macvlan" }), ": `macvlan` does not name the interface that it is on"),
            (json!({ "type": "macvlan", "master": "eth 1" }), "/master: `eth 1` is no name of an interface"),
            (
                json!({ "type": "macvlan", "master": "e", "mode": "l2" }),
                "/mode: \"l2\" is no mode of `macvlan`",
            ),
            (json!({ "type": "ipvlan", "master": "e", "mtu": -1 }), "/mtu: -1 is no number of bytes"),
            (json!({ "type": "vlan", "master": "e" }), ": `vlan` needs `vlanId`"),
            (json!({ "type": "vlan", "master": "e", "vlanId": 4095 }), "/vlanId: `vlan` needs `vlanId`"),
            (
                json!({ "type": "bridge" }),
                ": the bridge would be `cni0`, which is that of the cluster's network",
            ),
            (
                json!({ "type": "bridge", "bridge": "cni0" }),
                "/bridge: the bridge would be `cni0`, which is that of the cluster's network",
            ),
            (json!({ "type": "host-device" }), "/type: `host-device` does not name a device"),
            (json!({ "type": "maclvan" }), "/type: no stage brings the CNI plugin `maclvan`"),
            (
                json!({ "type": "macvlan", "master": "e", "mastr": "x" }),
                "/mastr: `macvlan` is not known to have the key `mastr`",
            ),
            (json!({ "type": "ptp", "ipam": "dhcp" }), "/ipam: `ipam` is no table"),
            (json!({ "plugins": [] }), "/plugins: `plugins` is no list of plugins"),
            (json!({ "plugins": [{ "type": "ptp" }, {}] }), "/plugins/1: `type` does not name a CNI plugin"),
            (
                json!({ "type": "ptp", "plugins": [{ "type": "ptp" }] }),
                "/type: there is `type` beside `plugins`",
            ),
        ] {
            assert_eq!(found(config.clone()), [expected], "{config}");
        }
    }

    #[test]
    fn masters_are_those_of_the_node() {
        let of = |config: Value| {
            let config = config.as_object().unwrap().clone();
            plugins(&config).filter_map(|(_, plugin)| master(plugin).map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(of(json!({ "type": "macvlan", "master": "eth1" })), ["eth1"]);
        assert_eq!(
            of(json!({ "plugins": [{ "type": "vlan", "master": "eth2" }, { "type": "tuning" }] })),
            ["eth2"]
        );
        assert!(of(json!({ "type": "macvlan", "master": "net1", "linkInContainer": true })).is_empty());
        assert!(of(json!({ "type": "host-device", "device": "eth3" })).is_empty());
    }
}
