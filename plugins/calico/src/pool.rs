//! Pools of addresses: what the manifest says of them, and Calico's own object.

use ipnet::IpNet;
use ksp_sdk::prelude::*;
use serde_json::Value;

/// Where pods get their addresses from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Pool {
    /// Its name; empty is what Calico calls its first one: `default-ipv4-ippool`.
    pub name: String,
    /// Its network; empty is the cluster's `pod-cidr`.
    pub cidr: String,
    /// How packets go from node to node.
    pub encapsulation: Encapsulation,
    /// Prefix length of the blocks that nodes take out of it; 0 is Calico's own, /26 or with IPv6 /122.
    pub block_size: u8,
    /// Packets that leave the pools get the node's address.
    pub nat_outgoing: bool,
    /// Nodes that take addresses out of it, as Calico selects them: `zone == "west"`.
    pub node_selector: String,
    /// No pod gets an address out of it any more.
    pub disabled: bool,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            name: String::new(),
            cidr: String::new(),
            encapsulation: Encapsulation::default(),
            block_size: 0,
            nat_outgoing: true,
            node_selector: EVERYWHERE.into(),
            disabled: false,
        }
    }
}

/// Calico's selector of all nodes.
pub const EVERYWHERE: &str = "all()";

/// How packets go from node to node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Encapsulation {
    /// In UDP packets: works on any network.
    #[default]
    Vxlan,
    /// As they are to nodes on the same network segment, in UDP packets to others.
    VxlanCrossSubnet,
    /// IP in IP: less in each packet than VXLAN. Routes come by BGP.
    Ipip,
    /// As they are to nodes on the same network segment, IP in IP to others. Routes come by BGP.
    IpipCrossSubnet,
    /// As they are. Routes come by BGP.
    None,
}

impl Encapsulation {
    /// As the manifest says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::VxlanCrossSubnet => "vxlan-cross-subnet",
            Self::Ipip => "ipip",
            Self::IpipCrossSubnet => "ipip-cross-subnet",
            Self::None => "none",
        }
    }

    /// Calico's two fields: `ipipMode` and `vxlanMode`.
    pub fn modes(self) -> (&'static str, &'static str) {
        match self {
            Self::Vxlan => ("Never", "Always"),
            Self::VxlanCrossSubnet => ("Never", "CrossSubnet"),
            Self::Ipip => ("Always", "Never"),
            Self::IpipCrossSubnet => ("CrossSubnet", "Never"),
            Self::None => ("Never", "Never"),
        }
    }

    /// Out of Calico's two fields, which may be empty.
    pub fn of_modes(ipip: &str, vxlan: &str) -> Option<Self> {
        let or_never = |mode: &str| if mode.is_empty() { "Never".to_owned() } else { mode.to_owned() };
        let modes = (or_never(ipip), or_never(vxlan));
        [Self::Vxlan, Self::VxlanCrossSubnet, Self::Ipip, Self::IpipCrossSubnet, Self::None]
            .into_iter()
            .find(|known| known.modes() == (modes.0.as_str(), modes.1.as_str()))
    }

    /// IP in IP, always or sometimes.
    pub fn is_ipip(self) -> bool {
        matches!(self, Self::Ipip | Self::IpipCrossSubnet)
    }

    /// VXLAN, always or sometimes.
    pub fn is_vxlan(self) -> bool {
        matches!(self, Self::Vxlan | Self::VxlanCrossSubnet)
    }

    /// Nodes learn each other's routes by BGP alone: for VXLAN the agents set them themselves.
    pub fn needs_bgp(self) -> bool {
        !self.is_vxlan()
    }

    /// Bytes of a packet between nodes that are not the pod's.
    pub fn overhead(self, v6: bool) -> u64 {
        match self {
            Self::Vxlan | Self::VxlanCrossSubnet if v6 => 70,
            Self::Vxlan | Self::VxlanCrossSubnet => 50,
            Self::Ipip | Self::IpipCrossSubnet => 20,
            Self::None => 0,
        }
    }
}

impl Pool {
    /// What it is called in the cluster.
    pub fn name(&self, spec: &Spec) -> String {
        match self.name.as_str() {
            "" if is_v6(&spec.pod_cidr) => "default-ipv6-ippool".into(),
            "" => "default-ipv4-ippool".into(),
            name => name.into(),
        }
    }

    /// Its network as text.
    pub fn cidr<'a>(&'a self, spec: &'a Spec) -> &'a str {
        if self.cidr.is_empty() { &spec.pod_cidr } else { &self.cidr }
    }

    /// Its network; none when it is not one, or has host bits.
    pub fn network(&self, spec: &Spec) -> Option<IpNet> {
        network(self.cidr(spec))
    }

    /// Prefix length of its blocks.
    pub fn block_size(&self, spec: &Spec) -> u8 {
        match self.block_size {
            0 => default_block_size(self.cidr(spec)),
            size => size,
        }
    }

    /// How many blocks it has; none when it has too few bits for one.
    pub fn blocks(&self, spec: &Spec) -> Option<u64> {
        let bits = self.block_size(spec).checked_sub(self.network(spec)?.prefix_len())?;
        Some(1u64.checked_shl(bits.into()).unwrap_or(u64::MAX))
    }

    /// Calico's object.
    pub fn object(&self, spec: &Spec) -> Value {
        let (ipip, vxlan) = self.encapsulation.modes();
        json!({
            "apiVersion": "crd.projectcalico.org/v1",
            "kind": "IPPool",
            "metadata": { "name": self.name(spec) },
            "spec": {
                "cidr": self.cidr(spec),
                "blockSize": self.block_size(spec),
                "ipipMode": ipip,
                "vxlanMode": vxlan,
                "natOutgoing": self.nat_outgoing,
                "nodeSelector": self.node_selector,
                "disabled": self.disabled,
                "allowedUses": ["Workload", "Tunnel"],
            },
        })
    }
}

/// A network without host bits.
pub fn network(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>().ok().filter(|network| network.trunc() == *network)
}

/// Calico's own choice for a pool that names none.
pub fn default_block_size(cidr: &str) -> u8 {
    if is_v6(cidr) { 122 } else { 26 }
}

/// The family of a network or an address.
pub fn is_v6(text: &str) -> bool {
    text.contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::spec;

    #[test]
    fn encapsulations_are_calicos_modes_and_back() {
        for name in ["vxlan", "vxlan-cross-subnet", "ipip", "ipip-cross-subnet", "none"] {
            let encapsulation: Encapsulation = serde_json::from_value(json!(name)).unwrap();
            assert_eq!(encapsulation.name(), name);
            let (ipip, vxlan) = encapsulation.modes();
            assert_eq!(Encapsulation::of_modes(ipip, vxlan), Some(encapsulation));
        }
        assert_eq!(Encapsulation::of_modes("", "Always"), Some(Encapsulation::Vxlan));
        assert_eq!(Encapsulation::of_modes("", ""), Some(Encapsulation::None));
        assert_eq!(Encapsulation::of_modes("Always", "Always"), None);
    }

    #[test]
    fn what_is_not_said_is_the_clusters() {
        let pool = Pool::default();
        assert_eq!(pool.name(&spec()), "default-ipv4-ippool");
        assert_eq!((pool.cidr(&spec()), pool.block_size(&spec())), ("10.244.0.0/16", 26));
        assert_eq!(pool.blocks(&spec()), Some(1024));
        let spec = Spec { pod_cidr: "fd00:1::/112".into(), ..spec() };
        assert_eq!((pool.name(&spec).as_str(), pool.block_size(&spec)), ("default-ipv6-ippool", 122));
        assert_eq!(pool.object(&spec)["spec"]["cidr"], "fd00:1::/112");
    }

    #[test]
    fn a_pool_that_is_smaller_than_a_block_has_none() {
        let pool = |cidr: &str| Pool { cidr: cidr.into(), ..Pool::default() };
        assert_eq!(pool("10.9.0.0/26").blocks(&spec()), Some(1));
        assert_eq!(pool("10.9.0.0/27").blocks(&spec()), None);
        assert_eq!(pool("10.9.0.1/16").blocks(&spec()), None);
    }
}
