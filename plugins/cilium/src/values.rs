//! What the chart is told.

use ksp_sdk::prelude::*;
use serde_json::{Map, Value};

use crate::config::IMAGES;
use crate::pool::Pool;
use crate::{Cilium, Encryption, Hubble, Ipam, Routing, Tunnel};

/// One value: where it is in the chart's tree, and what it is.
pub type Setting = (&'static str, Value);

/// The chart's images. Each can be asked for by its digest.
const USE_DIGEST: [&str; 11] = [
    "image.useDigest",
    "operator.image.useDigest",
    "envoy.image.useDigest",
    "certgen.image.useDigest",
    "hubble.relay.image.useDigest",
    "hubble.ui.backend.image.useDigest",
    "hubble.ui.frontend.image.useDigest",
    "clustermesh.apiserver.image.useDigest",
    "nodeinit.image.useDigest",
    "preflight.image.useDigest",
    "preflight.envoy.image.useDigest",
];

/// Where the chart has its repositories, and what they are called.
const REPOSITORIES: [(&str, &str); 9] = [
    ("image.repository", "cilium"),
    ("operator.image.repository", "operator"),
    ("envoy.image.repository", "cilium-envoy"),
    ("certgen.image.repository", "certgen"),
    ("hubble.relay.image.repository", "hubble-relay"),
    ("hubble.ui.backend.image.repository", "hubble-ui-backend"),
    ("hubble.ui.frontend.image.repository", "hubble-ui"),
    ("preflight.image.repository", "cilium"),
    ("preflight.envoy.image.repository", "cilium-envoy"),
];

/// What keys of this stage decide, with the key: nobody else may.
pub fn decided(stage: &Cilium, spec: &Spec, pool: &Pool) -> Vec<(&'static str, Setting)> {
    let v6 = pool.network.addr().is_ipv6();
    let mut all = vec![
        ("pod-cidr of [cluster]", ("ipv4.enabled", json!(!v6))),
        ("pod-cidr of [cluster]", ("ipv6.enabled", json!(v6))),
        ("kube-proxy-replacement", ("kubeProxyReplacement", json!(stage.kube_proxy_replacement))),
        ("ipam", ("ipam.mode", json!(stage.ipam.name()))),
        ("routing", ("routingMode", json!(stage.routing.name()))),
        ("l7", ("l7Proxy", json!(stage.l7))),
        ("hubble", ("hubble.enabled", json!(stage.hubble >= Hubble::Agent))),
        ("hubble", ("hubble.relay.enabled", json!(stage.hubble >= Hubble::Relay))),
        ("hubble", ("hubble.ui.enabled", json!(stage.hubble == Hubble::Ui))),
        ("exclusive", ("cni.exclusive", json!(stage.exclusive))),
    ];
    match (stage.ipam, v6) {
        (Ipam::ClusterPool, false) => {
            all.push((
                "pool",
                ("ipam.operator.clusterPoolIPv4PodCIDRList", json!([pool.network.to_string()])),
            ));
            all.push(("node-mask", ("ipam.operator.clusterPoolIPv4MaskSize", json!(pool.node_mask))));
        }
        (Ipam::ClusterPool, true) => {
            all.push((
                "pool",
                ("ipam.operator.clusterPoolIPv6PodCIDRList", json!([pool.network.to_string()])),
            ));
            all.push(("node-mask", ("ipam.operator.clusterPoolIPv6MaskSize", json!(pool.node_mask))));
        }
        (Ipam::Kubernetes, false) => all.push(("ipam", ("k8s.requireIPv4PodCIDR", json!(true)))),
        (Ipam::Kubernetes, true) => all.push(("ipam", ("k8s.requireIPv6PodCIDR", json!(true)))),
    }
    match stage.routing {
        Routing::Tunnel => {
            let port = match (stage.tunnel_port, stage.tunnel) {
                (0, Tunnel::Vxlan) => 8472,
                (0, Tunnel::Geneve) => 6081,
                (port, _) => port,
            };
            all.push(("tunnel", ("tunnelProtocol", json!(stage.tunnel.name()))));
            all.push(("tunnel-port", ("tunnelPort", json!(port))));
        }
        Routing::Native => {
            // What is not masqueraded: the way to any pod is known.
            let native = if v6 { "ipv6NativeRoutingCIDR" } else { "ipv4NativeRoutingCIDR" };
            all.push(("pod-cidr of [cluster]", (native, json!(spec.pod_cidr))));
            all.push(("direct-routes", ("autoDirectNodeRoutes", json!(stage.direct_routes))));
        }
    }
    if stage.mtu > 0 {
        all.push(("mtu", ("MTU", json!(stage.mtu))));
    }
    if !stage.devices.is_empty() {
        all.push(("devices", ("devices", json!(stage.devices))));
    }
    if stage.encryption == Encryption::Wireguard {
        all.push(("encryption", ("encryption.enabled", json!(true))));
        all.push(("encryption", ("encryption.type", json!("wireguard"))));
    }
    if !stage.l7 {
        all.push(("l7", ("envoy.enabled", json!(false))));
    }
    if stage.hubble == Hubble::Agent {
        // Only the socket in the agent's pod: no port, and so no certificates.
        all.push(("hubble", ("hubble.listenAddress", json!(""))));
        all.push(("hubble", ("hubble.tls.enabled", json!(false))));
    }
    if stage.image_repository != IMAGES {
        all.extend(REPOSITORIES.iter().map(|(path, name)| {
            ("image-repository", (*path, json!(format!("{}/{name}", stage.image_repository))))
        }));
    }
    if !stage.image_digests {
        all.extend(USE_DIGEST.iter().map(|path| ("image-digests", (*path, json!(false)))));
    }
    all
}

/// What this stage would say, and a person may say otherwise.
pub fn proposed(stage: &Cilium, spec: &Spec, nodes: usize) -> Vec<Setting> {
    let mut all = vec![
        ("cluster.name", json!(spec.name)),
        // By the endpoint, never by the Service: that address only works once Cilium does (T53).
        ("k8sServiceHost", json!(spec.endpoint_host())),
        ("k8sServicePort", json!(spec.endpoint_port())),
        // Two of them do not fit on one node.
        ("operator.replicas", json!(nodes.clamp(1, 2))),
        // They read the ConfigMap when they start: new content, new pods.
        ("rollOutCiliumPods", json!(true)),
        ("operator.rollOutPods", json!(true)),
    ];
    if !stage.kube_proxy_replacement {
        // Ports of a node for a pod; in kube-proxy's place Cilium does that itself.
        all.push(("cni.chainingMode", json!("portmap")));
    }
    if stage.hubble >= Hubble::Relay {
        // Certificates of the chart's own making end after a year, and nobody would make new ones.
        all.push(("hubble.tls.auto.method", json!("cronJob")));
        all.push(("hubble.relay.rollOutPods", json!(true)));
    }
    if stage.hubble == Hubble::Ui {
        all.push(("hubble.ui.rollOutPods", json!(true)));
    }
    if stage.l7 {
        all.push(("envoy.rollOutPods", json!(true)));
    }
    all
}

/// All of it, with a person's own values over it; keys in order, so that the same values are the same text.
pub fn merged(stage: &Cilium, spec: &Spec, pool: &Pool, nodes: usize) -> Value {
    let mut tree = Value::Object(Map::new());
    for (path, value) in proposed(stage, spec, nodes) {
        set(&mut tree, path, value);
    }
    for (_, (path, value)) in decided(stage, spec, pool) {
        set(&mut tree, path, value);
    }
    lay_over(&mut tree, &Value::Object(stage.values.clone()));
    tree.sort_all_objects();
    tree
}

/// The images that every node is going to need, as far as it is known from here.
pub fn images(stage: &Cilium, merged: &Value) -> Vec<String> {
    let image = |at: &str, suffix: &str, name: &str| {
        let text = |key: &str| merged.pointer(&format!("{at}/{key}")).and_then(Value::as_str);
        if let Some(whole) = text("override").filter(|whole| !whole.is_empty()) {
            return whole.to_owned();
        }
        let own = format!("{}/{name}", stage.image_repository);
        let tag = text("tag").map_or_else(|| format!("v{}", stage.version), str::to_owned);
        format!("{}{suffix}:{tag}", text("repository").unwrap_or(&own))
    };
    vec![image("/image", "", "cilium"), image("/operator/image", "-generic", "operator")]
}

/// The place in `tree` that `path` names, or the first on the way that is no table.
pub fn find<'a>(tree: &'a Map<String, Value>, path: &str) -> Option<(String, &'a Value)> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let found = tree.get(first)?;
    match (rest, found) {
        (Some(rest), Value::Object(inner)) => {
            find(inner, rest).map(|(pointer, value)| (format!("/{first}{pointer}"), value))
        }
        _ => Some((format!("/{first}"), found)),
    }
}

fn set(tree: &mut Value, path: &str, value: Value) {
    let place = path.split('.').fold(tree, |tree, key| &mut tree[key]);
    *place = value;
}

/// Tables are merged, everything else is replaced.
fn lay_over(tree: &mut Value, own: &Value) {
    match (tree, own) {
        (Value::Object(tree), Value::Object(own)) => {
            for (key, value) in own {
                lay_over(tree.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (tree, own) => *tree = own.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::spec;

    fn values(stage: &Cilium) -> Value {
        merged(stage, &spec(), &Pool::of(stage, &spec()).unwrap(), 3)
    }

    #[test]
    fn the_agent_reaches_the_api_by_the_endpoint_t53() {
        let values = values(&Cilium { kube_proxy_replacement: true, ..Cilium::default() });
        assert_eq!(values["k8sServiceHost"], "127.0.0.1");
        assert_eq!(values["k8sServicePort"], 7443);
        assert_eq!(values["kubeProxyReplacement"], true);
    }

    #[test]
    fn host_ports_work_either_way() {
        let chaining = |kube_proxy_replacement| {
            values(&Cilium { kube_proxy_replacement, ..Cilium::default() })["cni"]
                .get("chainingMode")
                .cloned()
        };
        assert_eq!((chaining(false), chaining(true)), (Some(json!("portmap")), None));
    }

    #[test]
    fn own_values_win_and_tables_are_merged() {
        let own = json!({ "operator": { "replicas": 1 }, "debug": { "enabled": true } });
        let stage = Cilium { values: own.as_object().unwrap().clone(), ..Cilium::default() };
        let values = values(&stage);
        assert_eq!(values["operator"], json!({ "replicas": 1, "rollOutPods": true }));
        assert_eq!(values["debug"]["enabled"], true);
    }

    #[test]
    fn operators_are_as_many_as_fit() {
        let stage = Cilium::default();
        let pool = Pool::of(&stage, &spec()).unwrap();
        let replicas = |nodes| merged(&stage, &spec(), &pool, nodes)["operator"]["replicas"].clone();
        assert_eq!((replicas(1), replicas(2), replicas(9)), (json!(1), json!(2), json!(2)));
    }

    #[test]
    fn l7_and_fqdn_policies_are_there_unless_switched_off() {
        let with = values(&Cilium::default());
        assert_eq!(with["l7Proxy"], true);
        // The chart's own choice: Envoy in a DaemonSet.
        assert_eq!(with.pointer("/envoy/enabled"), None);
        let without = values(&Cilium { l7: false, ..Cilium::default() });
        assert_eq!((&without["l7Proxy"], &without["envoy"]["enabled"]), (&json!(false), &json!(false)));
    }

    #[test]
    fn hubble_is_as_far_as_asked_for() {
        let enabled = |hubble| {
            let values = values(&Cilium { hubble, ..Cilium::default() });
            ["/hubble/enabled", "/hubble/relay/enabled", "/hubble/ui/enabled"]
                .map(|at| values.pointer(at) == Some(&json!(true)))
        };
        assert_eq!(enabled(Hubble::None), [false, false, false]);
        assert_eq!(enabled(Hubble::Agent), [true, false, false]);
        assert_eq!(enabled(Hubble::Relay), [true, true, false]);
        assert_eq!(enabled(Hubble::Ui), [true, true, true]);
    }

    #[test]
    fn native_routing_and_wireguard_have_their_settings() {
        let stage = Cilium {
            routing: Routing::Native,
            encryption: Encryption::Wireguard,
            devices: vec!["bond0".into()],
            mtu: 9000,
            ..Cilium::default()
        };
        let values = values(&stage);
        assert_eq!(values["ipv4NativeRoutingCIDR"], "10.244.0.0/16");
        assert_eq!(values["autoDirectNodeRoutes"], true);
        assert_eq!(values.get("tunnelProtocol"), None);
        assert_eq!(values["encryption"], json!({ "enabled": true, "type": "wireguard" }));
        assert_eq!((&values["devices"], &values["MTU"]), (&json!(["bond0"]), &json!(9000)));
    }

    #[test]
    fn images_are_those_that_the_chart_will_name() {
        let names = |stage: &Cilium| images(stage, &values(stage));
        assert_eq!(
            names(&Cilium::default()),
            ["quay.io/cilium/cilium:v1.20.2", "quay.io/cilium/operator-generic:v1.20.2"]
        );
        let own = json!({ "image": { "override": "r.test/c:1" }, "operator": { "image": { "tag": "x" } } });
        let stage = Cilium {
            image_repository: "r.test/cilium".into(),
            values: own.as_object().unwrap().clone(),
            ..Cilium::default()
        };
        assert_eq!(names(&stage), ["r.test/c:1", "r.test/cilium/operator-generic:x"]);
    }
}
