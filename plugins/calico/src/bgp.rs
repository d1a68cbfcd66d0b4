//! Routes by BGP: between nodes, by a mesh of all or by route reflectors, and with routers outside.

use std::collections::BTreeMap;

use ksp_sdk::prelude::*;
use serde_json::{Map, Value};

/// Routes between nodes, and with routers outside, by BGP.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Bgp {
    /// Every node speaks BGP.
    pub enabled: bool,
    /// The AS number of the nodes.
    pub as_number: u32,
    /// TCP port.
    pub port: u16,
    /// Every node peers with every other one. Off when there are route reflectors.
    pub mesh: bool,
    /// Nodes that hand on what others tell them.
    pub route_reflectors: RouteReflectors,
    /// Routers outside.
    #[serde(rename = "peer")]
    pub peers: Vec<Peer>,
    /// What peers are told besides routes to pods.
    pub advertise: Advertise,
}

impl Default for Bgp {
    fn default() -> Self {
        Self {
            enabled: false,
            as_number: 64_512,
            port: 179,
            mesh: true,
            route_reflectors: RouteReflectors::default(),
            peers: Vec::new(),
            advertise: Advertise::default(),
        }
    }
}

/// Nodes that hand on what others tell them: with many nodes, fewer connections than a mesh has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct RouteReflectors {
    /// Which nodes, as a stage's `nodes` says it: `label=reflector`; empty for none.
    pub nodes: String,
    /// What they are known by together, in the form of an IPv4 address.
    pub cluster_id: String,
}

impl Default for RouteReflectors {
    fn default() -> Self {
        Self { nodes: String::new(), cluster_id: "244.0.0.1".into() }
    }
}

/// A router outside.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Peer {
    /// A name for it.
    pub name: String,
    /// Its address, perhaps with a port.
    pub address: String,
    /// Its AS number.
    pub as_number: u32,
    /// Nodes that peer with it, as Calico selects them: `rack == "a"`.
    #[serde(default = "everywhere")]
    pub node_selector: String,
    /// Other keys of the `BGPPeer`, as Calico writes them.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, Value>")]
    pub settings: Map<String, Value>,
}

fn everywhere() -> String {
    crate::pool::EVERYWHERE.into()
}

/// What peers are told besides routes to pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Advertise {
    /// The addresses of Services within the cluster.
    pub service_addresses: bool,
    /// Networks of Services' external addresses.
    pub external_addresses: Vec<String>,
    /// Networks of load balancers' addresses.
    pub load_balancer_addresses: Vec<String>,
}

impl Bgp {
    /// Calico's objects; `reflectors` are names of nodes.
    pub fn objects(&self, reflectors: &[String], spec: &Spec) -> Vec<Value> {
        let networks = |list: &[String]| list.iter().map(|cidr| json!({ "cidr": cidr })).collect::<Vec<_>>();
        let mut settings = json!({
            "asNumber": self.as_number,
            "listenPort": self.port,
            "logSeverityScreen": "Info",
            "nodeToNodeMeshEnabled": self.mesh && reflectors.is_empty(),
        });
        if self.advertise.service_addresses {
            settings["serviceClusterIPs"] = networks(std::slice::from_ref(&spec.service_cidr)).into();
        }
        if !self.advertise.external_addresses.is_empty() {
            settings["serviceExternalIPs"] = networks(&self.advertise.external_addresses).into();
        }
        if !self.advertise.load_balancer_addresses.is_empty() {
            settings["serviceLoadBalancerIPs"] = networks(&self.advertise.load_balancer_addresses).into();
        }
        let mut objects = vec![object("BGPConfiguration", "default", settings)];
        if !reflectors.is_empty() {
            let names: Vec<String> = reflectors.iter().map(|name| format!("'{name}'")).collect();
            let among = format!("kubernetes.io/hostname in {{ {} }}", names.join(", "));
            let everyone = json!({ "nodeSelector": crate::pool::EVERYWHERE, "peerSelector": among });
            objects.push(object("BGPPeer", "route-reflectors", everyone));
        }
        objects.extend(self.peers.iter().map(Peer::object));
        objects
    }
}

impl Peer {
    fn object(&self) -> Value {
        let mut settings = json!({
            "peerIP": self.address,
            "asNumber": self.as_number,
            "nodeSelector": self.node_selector,
        });
        for (key, value) in &self.settings {
            settings[key] = value.clone();
        }
        object("BGPPeer", &self.name, settings)
    }
}

fn object(kind: &str, name: &str, settings: Value) -> Value {
    json!({
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": kind,
        "metadata": { "name": name },
        "spec": settings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::spec;

    #[test]
    fn reflectors_take_the_place_of_the_mesh() {
        let bgp = Bgp { enabled: true, ..Bgp::default() };
        let mesh = bgp.objects(&[], &spec());
        assert_eq!(mesh.len(), 1);
        assert_eq!(mesh[0]["spec"]["nodeToNodeMeshEnabled"], true);
        let reflected = bgp.objects(&["cp1".into(), "cp2".into()], &spec());
        assert_eq!(reflected[0]["spec"]["nodeToNodeMeshEnabled"], false);
        assert_eq!(reflected[1]["spec"]["peerSelector"], "kubernetes.io/hostname in { 'cp1', 'cp2' }");
    }

    #[test]
    fn peers_and_services_are_told() {
        let peer: Peer = serde_json::from_value(json!({
            "name": "top", "address": "10.0.0.254", "as-number": 64_513, "settings": { "keepOriginalNextHop": true },
        }))
        .unwrap();
        let advertise = Advertise { service_addresses: true, ..Advertise::default() };
        let bgp = Bgp { enabled: true, peers: vec![peer], advertise, ..Bgp::default() };
        let objects = bgp.objects(&[], &spec());
        assert_eq!(objects[0]["spec"]["serviceClusterIPs"], json!([{ "cidr": "10.96.0.0/16" }]));
        assert_eq!(objects[1]["metadata"]["name"], "top");
        assert_eq!(
            objects[1]["spec"],
            json!({ "peerIP": "10.0.0.254", "asNumber": 64_513, "nodeSelector": "all()", "keepOriginalNextHop": true })
        );
    }
}
