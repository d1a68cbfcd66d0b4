//! What of the configuration cannot work.

use std::net::IpAddr;

use ipnet::IpNet;
use ksp_sdk::prelude::*;
use serde_json::Value;

use crate::pool::{self, Pool};
use crate::values::{decided, find};
use crate::{Cilium, Encryption, Ipam, Routing, Tunnel};

/// What every IPv6 link carries, and more than anything smaller is good for.
const SMALLEST_MTU: u32 = 1280;

/// Linux: 15 bytes and an end.
const LONGEST_INTERFACE: usize = 15;

/// The chart refuses longer ones.
const LONGEST_NAME: usize = 32;

/// All of it.
pub fn findings(stage: &Cilium, spec: &Spec, nodes: usize) -> Vec<Finding> {
    let mut findings = unused(stage);
    match Pool::of(stage, spec) {
        Err(finding) => findings.push(finding),
        Ok(pool) => {
            if pool::is_used(stage) {
                findings.extend(pool.findings(stage, nodes));
            }
            findings.extend(taken(stage, spec, &pool));
        }
    }
    findings.extend(numbers(stage));
    findings.extend(devices(stage));
    findings.extend(name(stage, spec));
    findings.extend(endpoint(stage, spec));
    findings
}

/// Keys of the way that is not taken.
fn unused(stage: &Cilium) -> Vec<Finding> {
    let default = Cilium::default();
    let native = stage.routing == Routing::Native;
    let kubernetes = stage.ipam == Ipam::Kubernetes;
    let keys = [
        ("tunnel", native && stage.tunnel != Tunnel::Vxlan, "routing", "native"),
        ("tunnel-port", native && stage.tunnel_port != 0, "routing", "native"),
        ("direct-routes", !native && stage.direct_routes != default.direct_routes, "routing", "tunnel"),
        ("pool", kubernetes && !stage.pool.is_empty(), "ipam", "kubernetes"),
        ("node-mask", kubernetes && stage.node_mask != 0, "ipam", "kubernetes"),
    ];
    let set = keys.into_iter().filter(|(_, set, ..)| *set);
    set.map(|(key, _, other, value)| {
        Finding::error(format!("/{key}"), format!("`{key}` means nothing with `{other} = \"{value}\"`"))
            .hint(format!("leave it out, or choose another `{other}`"))
    })
    .collect()
}

/// Values that a key of this stage decides.
fn taken(stage: &Cilium, spec: &Spec, pool: &Pool) -> Vec<Finding> {
    let decided = decided(stage, spec, pool);
    let taken = decided.iter().filter_map(|(key, (path, _))| Some((key, path, find(&stage.values, path)?.0)));
    taken
        .map(|(key, path, pointer)| {
            let message = format!("`{path}` of the chart is decided by `{key}`");
            Finding::error(format!("/values{pointer}"), message).hint(format!("set `{key}` instead"))
        })
        .collect()
}

fn numbers(stage: &Cilium) -> Vec<Finding> {
    let mut findings = Vec::new();
    if stage.mtu > 0 && stage.mtu < SMALLEST_MTU {
        findings.push(Finding::error("/mtu", format!("{} bytes are too few for a packet", stage.mtu)).hint(
            "0 finds it out; 1500 is what most networks carry, and Cilium subtracts the tunnel itself",
        ));
    }
    if stage.routing == Routing::Tunnel
        && stage.encryption == Encryption::Wireguard
        && stage.tunnel_port == 51871
    {
        findings.push(
            Finding::error("/tunnel-port", "51871 is the port of Cilium's WireGuard")
                .hint("leave it out: 8472 for VXLAN, 6081 for Geneve"),
        );
    }
    if stage.deadline_seconds == 0 {
        findings.push(
            Finding::error("/deadline-seconds", "nothing is ready after 0 seconds").hint("give it some"),
        );
    }
    findings
}

fn devices(stage: &Cilium) -> Vec<Finding> {
    let fine = |name: &str| {
        let bare = name.strip_suffix('+').unwrap_or(name);
        !name.is_empty()
            && bare.len() <= LONGEST_INTERFACE
            && bare.chars().all(|c| c.is_ascii_graphic() && !"/+,".contains(c))
    };
    let wrong = stage.devices.iter().enumerate().filter(|(_, name)| !fine(name));
    wrong
        .map(|(at, name)| {
            Finding::error(format!("/devices/{at}"), format!("`{name}` is no name of a network interface"))
                .hint("such as \"eth0\", or \"eth+\" for all whose names begin so")
        })
        .collect()
}

fn name(stage: &Cilium, spec: &Spec) -> Option<Finding> {
    let own = find(&stage.values, "cluster.name").and_then(|(_, value)| value.as_str());
    let name = own.unwrap_or(&spec.name);
    (name.len() > LONGEST_NAME).then(|| {
        let message =
            format!("`{name}` is too long: Cilium takes {LONGEST_NAME} characters for a cluster's name");
        Finding::error("/values", message).hint("give a shorter one as `cluster.name` of `values`")
    })
}

/// An address that only works once Cilium does cannot be how Cilium finds the API (T53).
fn endpoint(stage: &Cilium, spec: &Spec) -> Option<Finding> {
    let own = stage.values.get("k8sServiceHost").and_then(Value::as_str);
    let (at, host) = match own {
        Some(own) => ("/values/k8sServiceHost", own),
        None => ("", spec.endpoint_host()),
    };
    let services: Option<IpNet> = spec.service_cidr.parse().ok();
    let inside = match (host.parse::<IpAddr>(), services) {
        (Ok(address), Some(services)) => services.contains(&address),
        _ => {
            host == "kubernetes"
                || host.ends_with(".svc")
                || host.ends_with(&format!(".svc.{}", spec.dns_domain))
        }
    };
    inside.then(|| {
        let message = format!("Cilium would look for the API at `{host}`, which works only once Cilium does");
        Finding::error(at, message)
            .hint("let `endpoint` of `[cluster]` be an address outside of it: 127.0.0.1:7443 with a stage `load-balancer`")
    })
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A cluster with a balancer on each node.
    pub fn spec() -> Spec {
        let spec = json!({
            "name": "test", "kubernetes": "1.36.3", "endpoint": "127.0.0.1:7443", "pod-cidr": "10.244.0.0/16",
            "service-cidr": "10.96.0.0/16", "dns-domain": "cluster.local",
        });
        serde_json::from_value(spec).unwrap()
    }

    fn said(config: Value) -> Vec<String> {
        said_of(&spec(), config)
    }

    fn said_of(spec: &Spec, config: Value) -> Vec<String> {
        let stage: Cilium = serde_json::from_value(config).unwrap();
        let found = findings(&stage, spec, 3);
        found.iter().map(|it| format!("{}: {}", it.path(), it.message())).collect()
    }

    #[test]
    fn the_defaults_are_fine() {
        assert_eq!(said(json!({})), Vec::<String>::new());
        assert_eq!(said(json!({ "routing": "native", "direct-routes": false })), Vec::<String>::new());
        assert_eq!(said(json!({ "kube-proxy-replacement": true, "l7": false })), Vec::<String>::new());
    }

    #[test]
    fn what_a_key_decides_no_value_may() {
        let values =
            json!({ "kubeProxyReplacement": true, "ipam": { "mode": "eni" }, "hubble": true, "debug": {} });
        assert_eq!(
            said(json!({ "values": values })),
            [
                "/values/kubeProxyReplacement: `kubeProxyReplacement` of the chart is decided by `kube-proxy-replacement`",
                "/values/ipam/mode: `ipam.mode` of the chart is decided by `ipam`",
                "/values/hubble: `hubble.enabled` of the chart is decided by `hubble`",
                "/values/hubble: `hubble.relay.enabled` of the chart is decided by `hubble`",
                "/values/hubble: `hubble.ui.enabled` of the chart is decided by `hubble`",
            ]
        );
        // A key that says nothing leaves the value alone.
        assert_eq!(said(json!({ "values": { "MTU": 9000, "encryption": { "type": "ipsec" } } })).len(), 0);
        let both = json!({ "encryption": "wireguard", "values": { "encryption": { "type": "ipsec" } } });
        assert_eq!(
            said(both),
            ["/values/encryption/type: `encryption.type` of the chart is decided by `encryption`"]
        );
    }

    #[test]
    fn keys_of_another_way_are_refused() {
        let native = json!({ "routing": "native", "tunnel": "geneve", "tunnel-port": 1 });
        assert_eq!(said(native).len(), 2);
        assert!(
            said(json!({ "direct-routes": false }))[0].contains("means nothing with `routing = \"tunnel\"`")
        );
        let kubernetes = json!({ "ipam": "kubernetes", "pool": "10.244.0.0/17", "node-mask": 25 });
        assert_eq!(said(kubernetes).len(), 2);
    }

    #[test]
    fn what_the_schema_cannot_say_is_refused() {
        assert!(said(json!({ "mtu": 576 }))[0].starts_with("/mtu: 576 bytes"));
        assert!(said(json!({ "devices": ["eth0", "eth+", "a/b"] }))[0].starts_with("/devices/2"));
        assert!(said(json!({ "node-mask": 12 }))[0].starts_with("/node-mask"));
        assert!(
            said(json!({ "encryption": "wireguard", "tunnel-port": 51871 }))[0].starts_with("/tunnel-port")
        );
        let long = Spec { name: "a".repeat(33), ..spec() };
        assert!(said_of(&long, json!({}))[0].contains("too long"));
        assert_eq!(said_of(&long, json!({ "values": { "cluster": { "name": "short" } } })).len(), 0);
        assert!(serde_json::from_value::<Cilium>(json!({ "tunnel": "gre" })).is_err());
        assert!(serde_json::from_value::<Cilium>(json!({ "encryption": "ipsec" })).is_err());
    }

    #[test]
    fn the_api_is_not_looked_for_behind_cilium_t53() {
        for endpoint in
            ["10.96.0.1:443", "kubernetes.default.svc:443", "kubernetes.default.svc.cluster.local:443"]
        {
            let spec = Spec { endpoint: endpoint.into(), ..spec() };
            assert!(said_of(&spec, json!({}))[0].contains("only once Cilium does"), "{endpoint}");
        }
        for endpoint in ["10.0.0.1:6443", "api.example:6443", "127.0.0.1:7443"] {
            let spec = Spec { endpoint: endpoint.into(), ..spec() };
            assert_eq!(said_of(&spec, json!({})).len(), 0, "{endpoint}");
        }
        let own = json!({ "values": { "k8sServiceHost": "10.96.0.1" } });
        assert!(said(own)[0].starts_with("/values/k8sServiceHost"));
    }
}
