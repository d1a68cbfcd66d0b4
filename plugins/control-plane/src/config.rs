//! kubeadm's configuration as JSON documents.

use std::collections::{BTreeMap, BTreeSet};

use ksp_sdk::kubeadm::{self, API_PORT, API_VERSION};
use ksp_sdk::prelude::*;
use serde_json::Value;

use crate::external_etcd::ExternalEtcd;
use crate::{ControlPlane, encryption, etcd};

fn flags(flags: &BTreeMap<String, String>) -> Vec<Value> {
    flags.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// A control plane that is also a worker takes ordinary pods.
fn taints(node: &Node) -> Value {
    if node.is(Role::Worker) {
        json!([])
    } else {
        json!([{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }])
    }
}

fn registration(stage: &ControlPlane, node: &Node, cri_socket: &str) -> Value {
    let mut registration = kubeadm::registration(node, cri_socket, &stage.ignore_preflight_errors);
    registration["taints"] = taints(node);
    registration
}

/// Names in the API server's certificate besides those that kubeadm gives each control plane of its own.
pub fn names(stage: &ControlPlane, spec: &Spec) -> Vec<String> {
    let mut names =
        vec!["localhost".to_owned(), "127.0.0.1".into(), "::1".into(), spec.endpoint_host().to_owned()];
    names.extend(stage.cert_sans.iter().cloned());
    let mut seen = BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

fn cluster(stage: &ControlPlane, spec: &Spec, external: Option<&ExternalEtcd>) -> Value {
    let stacked = || json!({ "local": { "dataDir": etcd::DATA, "extraArgs": flags(&etcd_flags(stage)) } });
    json!({
        "apiVersion": API_VERSION,
        "kind": "ClusterConfiguration",
        "clusterName": spec.name,
        "kubernetesVersion": format!("v{}", spec.kubernetes),
        "controlPlaneEndpoint": spec.endpoint,
        "imageRepository": stage.image_repository,
        "networking": { "podSubnet": spec.pod_cidr, "serviceSubnet": spec.service_cidr, "dnsDomain": spec.dns_domain },
        "apiServer": { "certSANs": names(stage, spec), "extraArgs": flags(&api_server(stage)) },
        "controllerManager": { "extraArgs": flags(&controller_manager(stage)) },
        "scheduler": { "extraArgs": flags(&stage.scheduler) },
        "etcd": external.map_or_else(stacked, ExternalEtcd::kubeadm),
        // Their stages own them; kubeadm must not bring them back at an upgrade.
        "dns": { "disabled": true },
        "proxy": { "disabled": true },
    })
}

fn kubelet(stage: &ControlPlane) -> Value {
    let mut kubelet = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "systemd",
        "rotateCertificates": true,
        "protectKernelDefaults": true,
    });
    for (key, value) in &stage.kubelet {
        kubelet[key] = value.clone();
    }
    kubelet
}

/// With its own default of 20 requests a second the controller manager takes five seconds to start its controllers, each time it
/// becomes the leader; nothing in the cluster moves until then.
fn controller_manager(stage: &ControlPlane) -> BTreeMap<String, String> {
    let defaults = [("kube-api-qps", "100"), ("kube-api-burst", "200")];
    let mut flags: BTreeMap<String, String> =
        defaults.map(|(flag, value)| (flag.to_owned(), value.to_owned())).into();
    flags.extend(stage.controller_manager.clone());
    flags
}

fn api_server(stage: &ControlPlane) -> BTreeMap<String, String> {
    let mut flags = stage.api_server.clone();
    if stage.encrypt_secrets {
        flags.insert(encryption::FLAG.to_owned(), encryption::CONFIG.to_owned());
    }
    flags
}

fn etcd_flags(stage: &ControlPlane) -> BTreeMap<String, String> {
    let mut flags = BTreeMap::from([("peer-trusted-ca-file".to_owned(), etcd::trusted())]);
    flags.extend(stage.etcd.clone());
    flags
}

/// What kubeadm must know of a control plane to make its static pods, and nothing else: another text restarts them.
fn node(node: &Node, registration: &Value) -> Value {
    json!({
        "apiVersion": API_VERSION,
        "kind": "InitConfiguration",
        "localAPIEndpoint": { "advertiseAddress": node.address, "bindPort": API_PORT },
        "nodeRegistration": registration,
    })
}

/// For `kubeadm init` on the first control plane.
pub fn init(
    stage: &ControlPlane,
    spec: &Spec,
    external: Option<&ExternalEtcd>,
    first: &Node,
    cri_socket: &str,
) -> String {
    let mut init = node(first, &registration(stage, first, cri_socket));
    init["bootstrapTokens"] = kubeadm::bootstrap_tokens();
    kubeadm::documents(&[init, cluster(stage, spec, external), kubelet(stage)])
}

/// For phases of `kubeadm init` on a control plane that lives.
pub fn cluster_file(
    stage: &ControlPlane,
    spec: &Spec,
    external: Option<&ExternalEtcd>,
    of: &Node,
    cri_socket: &str,
) -> String {
    let registration = json!({ "name": of.name, "criSocket": cri_socket });
    kubeadm::documents(&[node(of, &registration), cluster(stage, spec, external)])
}

/// As [`cluster_file`], of the member of etcd alone. It belongs to a cluster that is there: should it ever be started without its
/// data, it must not begin another one (T1). It does not tell the node's runtime: another one is no reason to restart etcd.
pub fn etcd_file(stage: &ControlPlane, spec: &Spec, of: &Node) -> String {
    let mut flags = etcd_flags(stage);
    flags.insert("initial-cluster-state".to_owned(), "existing".to_owned());
    let cluster = json!({
        "apiVersion": API_VERSION,
        "kind": "ClusterConfiguration",
        "kubernetesVersion": format!("v{}", spec.kubernetes),
        "imageRepository": stage.image_repository,
        "etcd": { "local": { "dataDir": etcd::DATA, "extraArgs": self::flags(&flags) } },
    });
    kubeadm::documents(&[node(of, &json!({ "name": of.name })), cluster])
}

/// For `kubeadm join` of a further control plane: the authorities are in place, so no certificate key is needed.
pub fn join(stage: &ControlPlane, node: &Node, cri_socket: &str) -> String {
    kubeadm::documents(&[json!({
        "apiVersion": API_VERSION,
        "kind": "JoinConfiguration",
        "discovery": kubeadm::discovery(),
        "nodeRegistration": registration(stage, node, cri_socket),
        "controlPlane": { "localAPIEndpoint": { "advertiseAddress": node.address, "bindPort": API_PORT } },
    })])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(roles: &[&str]) -> Node {
        let spec = json!({ "name": "cp1", "address": "10.0.0.1", "roles": roles });
        Node::for_test(0, serde_json::from_value(spec).unwrap())
    }

    fn spec() -> Spec {
        serde_json::from_value(json!({
            "name": "c", "kubernetes": "1.36.3", "endpoint": "api:6443", "pod-cidr": "10.244.0.0/16",
            "service-cidr": "10.96.0.0/16", "dns-domain": "cluster.local",
        }))
        .unwrap()
    }

    #[test]
    fn a_control_plane_that_works_has_no_taint() {
        assert_eq!(taints(&member(&["control-plane", "worker"])), json!([]));
        assert_eq!(taints(&member(&["control-plane"])).as_array().unwrap().len(), 1);
    }

    #[test]
    fn names_in_the_certificate_are_not_doubled() {
        let stage =
            ControlPlane { cert_sans: vec!["api".into(), "k8s.example".into()], ..ControlPlane::default() };
        assert_eq!(names(&stage, &spec()), ["localhost", "127.0.0.1", "::1", "api", "k8s.example"]);
    }

    /// Growing and shrinking must not restart the others.
    #[test]
    fn what_a_control_plane_is_told_names_no_other_node() {
        let stage = ControlPlane::default();
        let text = cluster_file(&stage, &spec(), None, &member(&["control-plane"]), "unix:///cri.sock");
        assert!(text.contains("10.0.0.1") && !text.contains("token"), "{text}");
        let text = etcd_file(&stage, &spec(), &member(&["control-plane"]));
        assert!(text.contains("\"existing\"") && !text.contains("controlPlaneEndpoint"), "{text}");
    }

    /// T16: authorities are in place on a control plane that joins, so that no key waits in the cluster for two hours and ends.
    #[test]
    fn no_certificate_key_can_expire_between_steps_t16() {
        let stage = ControlPlane::default();
        let member = member(&["control-plane"]);
        for text in [join(&stage, &member, "unix:///c"), init(&stage, &spec(), None, &member, "unix:///c")] {
            assert!(!text.contains("certificateKey"), "{text}");
        }
    }

    #[test]
    fn kubelet_settings_win() {
        let settings = json!({ "failCgroupV1": false, "protectKernelDefaults": false });
        let stage =
            ControlPlane { kubelet: settings.as_object().unwrap().clone(), ..ControlPlane::default() };
        assert_eq!(kubelet(&stage)["failCgroupV1"], json!(false));
        assert_eq!(kubelet(&stage)["protectKernelDefaults"], json!(false));
    }
}
