//! The stage's configuration.

use std::collections::BTreeMap;

use ksp_sdk::prelude::*;
use serde_json::{Map, Value};

/// Config of `ksp/cilium`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Cilium {
    /// Version of Cilium: of its chart and of its images.
    pub version: String,
    /// Version of Helm, which installs the chart.
    pub helm: String,
    /// Where the images come from.
    pub image_repository: String,
    /// Images by the digests that the chart names; without, by their tags alone, for a mirror whose copies have other digests.
    pub image_digests: bool,
    /// Services by Cilium instead of kube-proxy, whose stage is left out then.
    pub kube_proxy_replacement: bool,
    /// Who hands out addresses to nodes.
    pub ipam: Ipam,
    /// With `cluster-pool`: the addresses of pods, the cluster's `pod-cidr` or a part of it; empty is all of it.
    pub pool: String,
    /// With `cluster-pool`: the prefix length of a node's share; 0 is 24, and for IPv6 16 more than the pool's, at most 120.
    #[schemars(range(max = 128))]
    pub node_mask: u8,
    /// How packets go from node to node.
    pub routing: Routing,
    /// With tunnels: what they are.
    pub tunnel: Tunnel,
    /// With tunnels: their UDP port; 0 is the protocol's, 8472 for VXLAN and 6081 for Geneve.
    pub tunnel_port: u16,
    /// With native routing: routes that name the other node as the next hop, for nodes on one network segment. Without, the network
    /// between nodes has to know the way to pods.
    pub direct_routes: bool,
    /// Bytes of a packet between nodes; 0 finds it out.
    #[schemars(range(max = 65_535))]
    pub mtu: u32,
    /// Network interfaces between nodes, `+` at the end stands for any text; none finds them out.
    pub devices: Vec<String>,
    /// Whether packets between nodes are encrypted.
    pub encryption: Encryption,
    /// Policies that look into HTTP, gRPC, Kafka and DNS, with Envoy on every node.
    pub l7: bool,
    /// Who may watch traffic.
    pub hubble: Hubble,
    /// The agent renames CNI configurations of others. Nothing else stands before Cilium's own by accident, and Multus does on
    /// purpose.
    pub exclusive: bool,
    /// Seconds until agents and operator have to be ready.
    #[schemars(range(min = 1))]
    pub deadline_seconds: u32,
    /// Other values of the chart, laid over those of this stage.
    #[schemars(with = "BTreeMap<String, Value>")]
    pub values: Map<String, Value>,
}

impl Default for Cilium {
    fn default() -> Self {
        Self {
            version: "1.20.2".into(),
            helm: "3.22.0".into(),
            image_repository: IMAGES.into(),
            image_digests: true,
            kube_proxy_replacement: false,
            ipam: Ipam::default(),
            pool: String::new(),
            node_mask: 0,
            routing: Routing::default(),
            tunnel: Tunnel::default(),
            tunnel_port: 0,
            direct_routes: true,
            mtu: 0,
            devices: Vec::new(),
            encryption: Encryption::default(),
            l7: true,
            hubble: Hubble::default(),
            exclusive: false,
            deadline_seconds: 600,
            values: Map::new(),
        }
    }
}

/// Where upstream has its images.
pub const IMAGES: &str = "quay.io/cilium";

/// Who hands out addresses to nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ipam {
    /// Cilium's operator, from a pool.
    #[default]
    ClusterPool,
    /// Kubernetes' controller manager.
    Kubernetes,
}

impl Ipam {
    /// As Cilium calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ClusterPool => "cluster-pool",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// How packets go from node to node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Routing {
    /// In UDP packets: works on any network.
    #[default]
    Tunnel,
    /// As they are.
    Native,
}

impl Routing {
    /// As Cilium calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tunnel => "tunnel",
            Self::Native => "native",
        }
    }
}

/// What a tunnel is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tunnel {
    /// What every kernel has.
    #[default]
    Vxlan,
    /// Its successor.
    Geneve,
}

impl Tunnel {
    /// As Cilium calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
        }
    }
}

/// Whether packets between nodes are encrypted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encryption {
    /// They are not. IPsec can be asked for in `values`: its keys are a Secret that a person makes.
    #[default]
    None,
    /// By the kernel's WireGuard; the agents make the keys.
    Wireguard,
}

/// Who may watch traffic; each includes those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hubble {
    /// Nobody.
    #[default]
    None,
    /// `hubble` in an agent's pod, for that node.
    Agent,
    /// `hubble` anywhere, for the cluster.
    Relay,
    /// A page in the browser.
    Ui,
}
