//! Where the addresses of an attachment come from.

use std::net::IpAddr;

use ipnet::IpNet;
use ksp_sdk::prelude::*;
use serde_json::{Map, Value};

/// What is wrong with the `ipam` of a plugin at a JSON pointer.
pub fn check(pointer: &str, plugin: &Map<String, Value>, ipam: &Map<String, Value>) -> Vec<Finding> {
    let at = format!("{pointer}/ipam");
    let kind = plugin.get("type").and_then(Value::as_str).unwrap_or_default();
    match ipam.get("type") {
        // No addresses: the plugin's own way to say so.
        None if ipam.is_empty() => Vec::new(),
        Some(Value::String(name)) if !name.is_empty() => match name.as_str() {
            "host-local" => host_local(&at, kind, ipam),
            "static" => fixed(&at, plugin, ipam),
            "dhcp" => vec![
                Finding::warning(format!("{at}/type"), "`dhcp` asks a daemon that ksp does not run")
                    .hint("run `/opt/cni/bin/dhcp daemon` on each node, or pods that ask for it never start"),
            ],
            _ => Vec::new(),
        },
        _ => vec![Finding::error(at, "`ipam` does not name a plugin").hint("such as `type = \"static\"`")],
    }
}

/// Ranges of addresses that each node hands out on its own.
fn host_local(at: &str, kind: &str, ipam: &Map<String, Value>) -> Vec<Finding> {
    let mut ranges = Vec::new();
    if ipam.contains_key("subnet") {
        ranges.push((at.to_owned(), ipam));
    }
    let sets = ipam.get("ranges").and_then(Value::as_array).into_iter().flatten().enumerate();
    for (set, list) in sets.filter_map(|(set, value)| Some((set, value.as_array()?))) {
        let tables = list.iter().enumerate().filter_map(|(range, value)| Some((range, value.as_object()?)));
        ranges.extend(tables.map(|(range, table)| (format!("{at}/ranges/{set}/{range}"), table)));
    }
    if ranges.is_empty() {
        let hint = "such as `subnet = \"192.168.7.0/24\"`, or `ranges = [[{ subnet = \"…\" }]]`";
        return vec![Finding::error(at, "`host-local` has no range of addresses").hint(hint)];
    }
    let mut findings: Vec<Finding> =
        ranges.into_iter().flat_map(|(at, range)| check_range(&at, range)).collect();
    if matches!(kind, "macvlan" | "ipvlan" | "vlan") {
        findings.push(
            Finding::warning(
                format!("{at}/type"),
                format!("each node hands out the same addresses of `host-local`, and `{kind}` connects pods of all nodes"),
            )
            .hint("use `static` with `capabilities = { ips = true }`, where each pod names its own, or an address plugin for the whole cluster"),
        );
    }
    findings
}

fn check_range(at: &str, range: &Map<String, Value>) -> Vec<Finding> {
    let shown = |key: &str| range.get(key).map(ToString::to_string).unwrap_or_default();
    let subnet = range.get("subnet").and_then(Value::as_str).and_then(|text| text.parse::<IpNet>().ok());
    let Some(subnet) = subnet.filter(|subnet| subnet.trunc() == *subnet) else {
        let message = match range.contains_key("subnet") {
            true => format!("{} is no network", shown("subnet")),
            false => "`subnet` is missing".to_owned(),
        };
        return vec![
            Finding::error(format!("{at}/subnet"), message)
                .hint("such as \"192.168.7.0/24\", without host bits"),
        ];
    };
    let mut findings = Vec::new();
    let mut addresses: Vec<Option<IpAddr>> = Vec::new();
    for key in ["rangeStart", "rangeEnd", "gateway"] {
        let address = range.get(key).and_then(Value::as_str).and_then(|text| text.parse::<IpAddr>().ok());
        if range.contains_key(key) && address.is_none_or(|address| !subnet.contains(&address)) {
            findings.push(
                Finding::error(format!("{at}/{key}"), format!("{} is no address of {subnet}", shown(key)))
                    .hint(format!("`{key}` must be inside `subnet`")),
            );
        }
        addresses.push(address);
    }
    if let [Some(start), Some(end), _] = addresses[..]
        && start > end
    {
        findings.push(
            Finding::error(format!("{at}/rangeEnd"), format!("{end} is before `rangeStart` {start}"))
                .hint("exchange them"),
        );
    }
    findings
}

/// Addresses that are written down: here, or in each pod's annotation.
fn fixed(at: &str, plugin: &Map<String, Value>, ipam: &Map<String, Value>) -> Vec<Finding> {
    let list = ipam.get("addresses").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let by_pods =
        plugin.get("capabilities").and_then(|it| it.get("ips")).and_then(Value::as_bool) == Some(true);
    if list.is_empty() && !by_pods {
        return vec![
            Finding::error(at, "`static` has no addresses").hint(
                "write `capabilities = { ips = true }` beside `ipam`, and each pod its own in its annotation; or `addresses`",
            ),
        ];
    }
    let mut findings = Vec::new();
    for (index, entry) in list.iter().enumerate() {
        let text = entry.get("address").and_then(Value::as_str).unwrap_or_default();
        if text.parse::<IpNet>().is_err() {
            findings.push(
                Finding::error(
                    format!("{at}/addresses/{index}"),
                    format!("`{text}` is no address with a prefix length"),
                )
                .hint("such as \"192.168.7.10/24\""),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: &str, ipam: Value, more: Value) -> Vec<String> {
        let mut plugin = more.as_object().unwrap().clone();
        plugin.insert("type".into(), kind.into());
        let findings = check("", &plugin, ipam.as_object().unwrap());
        findings.iter().map(|it| format!("{}: {}", it.path(), it.message())).collect()
    }

    #[test]
    fn ranges_are_networks_with_addresses_inside() {
        let of = |ipam: Value| found("bridge", ipam, json!({}));
        assert!(of(json!({})).is_empty());
        assert!(of(json!({ "type": "whereabouts", "range": "10.0.0.0/24" })).is_empty());
        let good = json!({ "type": "host-local", "subnet": "10.7.0.0/24", "rangeStart": "10.7.0.9", "rangeEnd": "10.7.0.10" });
        assert!(of(good).is_empty());
        assert!(of(json!({ "type": "host-local", "ranges": [[{ "subnet": "fd00:7::/64" }]] })).is_empty());
        for (ipam, expected) in [
            (json!({ "type": "" }), "/ipam: `ipam` does not name a plugin"),
            (json!({ "subnet": "10.7.0.0/24" }), "/ipam: `ipam` does not name a plugin"),
            (json!({ "type": "host-local" }), "/ipam: `host-local` has no range of addresses"),
            (
                json!({ "type": "host-local", "subnet": "10.7.0.1/24" }),
                "/ipam/subnet: \"10.7.0.1/24\" is no network",
            ),
            (
                json!({ "type": "host-local", "ranges": [[{}]] }),
                "/ipam/ranges/0/0/subnet: `subnet` is missing",
            ),
            (
                json!({ "type": "host-local", "subnet": "10.7.0.0/24", "gateway": "10.8.0.1" }),
                "/ipam/gateway: \"10.8.0.1\" is no address of 10.7.0.0/24",
            ),
            (
                json!({ "type": "host-local", "subnet": "10.7.0.0/24", "rangeStart": "10.7.0.9", "rangeEnd": "10.7.0.8" }),
                "/ipam/rangeEnd: 10.7.0.8 is before `rangeStart` 10.7.0.9",
            ),
        ] {
            assert_eq!(of(ipam.clone()), [expected], "{ipam}");
        }
    }

    #[test]
    fn addresses_that_two_nodes_would_hand_out_are_said() {
        let ipam = json!({ "type": "host-local", "subnet": "10.7.0.0/24" });
        assert!(
            found("macvlan", ipam.clone(), json!({}))[0]
                .starts_with("/ipam/type: each node hands out the same")
        );
        assert!(found("bridge", ipam, json!({})).is_empty());
    }

    #[test]
    fn fixed_addresses_are_somewhere() {
        let of = |ipam: Value, more: Value| found("macvlan", ipam, more);
        assert!(of(json!({ "type": "static" }), json!({ "capabilities": { "ips": true } })).is_empty());
        assert!(
            of(json!({ "type": "static", "addresses": [{ "address": "10.7.0.9/24" }] }), json!({}))
                .is_empty()
        );
        assert_eq!(of(json!({ "type": "static" }), json!({})), ["/ipam: `static` has no addresses"]);
        assert_eq!(
            of(json!({ "type": "static", "addresses": [{ "address": "10.7.0.9" }] }), json!({})),
            ["/ipam/addresses/0: `10.7.0.9` is no address with a prefix length"]
        );
    }
}
