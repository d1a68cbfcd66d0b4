//! The pod network by Calico: pools of addresses, encapsulation or BGP between nodes, network policies, optionally eBPF and WireGuard.

mod bgp;
mod check;
mod cni;
mod felix;
mod living;
mod needs;
mod pool;
mod reflectors;
mod remains;
mod typha;

use std::collections::BTreeMap;

use ksp_sdk::prelude::*;
use serde_json::{Map, Value};

use crate::bgp::Bgp;
use crate::pool::Pool;
use crate::typha::Typha;

/// Config of `ksp/calico`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Calico {
    /// Version of Calico.
    pub version: String,
    /// Where the images come from.
    pub image_repository: String,
    /// Where pods get their addresses from.
    pub pools: Vec<Pool>,
    /// How nodes take addresses out of the pools.
    pub ipam: Ipam,
    /// Bytes of a packet between pods; 0 lets each node compute it from its interfaces and the encapsulation.
    #[schemars(range(max = 65_535))]
    pub mtu: u32,
    /// Routes between nodes, and with routers outside, by BGP.
    pub bgp: Bgp,
    /// Services and policies by eBPF programs. Takes the place of kube-proxy.
    pub ebpf: bool,
    /// Packets between nodes are encrypted by WireGuard.
    pub wireguard: bool,
    /// Rules by nftables instead of iptables.
    pub nftables: bool,
    /// What stands between many nodes and the API.
    pub typha: Typha,
    /// Other keys of the `FelixConfiguration`, as Calico writes them: `xdpEnabled = false`.
    #[schemars(with = "BTreeMap<String, Value>")]
    pub felix: Map<String, Value>,
}

/// How nodes take addresses out of the pools.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Ipam {
    /// A node whose blocks are full takes no single addresses out of other nodes' blocks.
    pub strict_affinity: bool,
    /// Blocks that a node may have; 0 is Calico's own limit of 20.
    pub max_blocks_per_host: u32,
}

impl Default for Calico {
    fn default() -> Self {
        Self {
            version: "3.31.7".into(),
            image_repository: "quay.io/calico".into(),
            pools: vec![Pool::default()],
            ipam: Ipam::default(),
            mtu: 0,
            bgp: Bgp::default(),
            ebpf: false,
            wireguard: false,
            nftables: false,
            typha: Typha::default(),
            felix: Map::new(),
        }
    }
}

/// Calico's own namespace.
const NAMESPACE: &str = "calico-system";

/// `calicoctl` with a control plane's own kubeconfig, for who is root there.
const CALICOCTL: &str = "\
apiVersion: projectcalico.org/v3
kind: CalicoAPIConfig
metadata: {}
spec:
  datastoreType: kubernetes
  kubeconfig: /etc/kubernetes/admin.conf
";

/// How long each of them may take until it runs everywhere, and more for each node that the agents come to.
const ROLLOUT: Duration = Duration::from_secs(300);
const ROLLOUT_EACH: Duration = Duration::from_secs(10);

impl Calico {
    fn image(&self, name: &str) -> String {
        format!("{}/{name}:v{}", self.image_repository, self.version)
    }

    /// How nodes take addresses, when it is not as Calico does it anyway.
    fn ipam_object(&self) -> Option<Value> {
        (self.ipam != Ipam::default()).then(|| {
            json!({
                "apiVersion": "crd.projectcalico.org/v1",
                "kind": "IPAMConfig",
                "metadata": { "name": "default" },
                "spec": {
                    "autoAllocateBlocks": true,
                    "strictAffinity": self.ipam.strict_affinity,
                    "maxBlocksPerHost": self.ipam.max_blocks_per_host,
                },
            })
        })
    }

    /// Everything that Calico reads as its own objects.
    fn settings(&self, cx: &Context, spec: &Spec) -> Result<Vec<Value>> {
        let mut objects: Vec<Value> = self.pools.iter().map(|pool| pool.object(spec)).collect();
        objects.push(felix::object(self, spec));
        objects.extend(self.ipam_object());
        if self.bgp.enabled {
            objects.extend(self.bgp.objects(&reflectors::names(cx, &self.bgp)?, spec));
        }
        Ok(objects)
    }

    /// What all templates are filled in with.
    fn data(&self, spec: &Spec, nodes: usize) -> Value {
        let network = cni::network(self, spec);
        json!({
            "namespace": NAMESPACE,
            "images": {
                "cni": self.image("cni"),
                "controllers": self.image("kube-controllers"),
                "node": self.image("node"),
                "typha": self.image("typha"),
            },
            "network": network,
            "backend": if self.bgp.enabled { "bird" } else { "vxlan" },
            "bgp": self.bgp.enabled,
            "ipv6": pool::is_v6(&spec.pod_cidr),
            "typha": self.typha.stands_between(nodes),
            "typha_replicas": self.typha.replicas(nodes),
            "api_host": spec.endpoint_host(),
            "api_port": spec.endpoint_port(),
        })
    }
}

impl Stage for Calico {
    fn validate(&self, cx: &Context) -> Vec<Finding> {
        let known = cx.spec().and_then(|spec| Ok((spec, members(cx)?)));
        match known {
            Ok((spec, nodes)) => {
                let releases =
                    ["calicoctl", "crds"].map(|name| cx.unknown_release(name, &self.version, "/version"));
                let mut findings: Vec<Finding> = releases.into_iter().flatten().take(1).collect();
                findings.extend(check::findings(self, &spec, &nodes));
                findings
            }
            Err(error) => vec![Finding::error("", error.message())],
        }
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let spec = cx.spec()?;
        let nodes = members(cx)?;
        let control_planes = nodes.filter(|node| node.is(Role::ControlPlane));
        let typha = self.typha.stands_between(nodes.len());
        living::refuse(cx, &control_planes, &self.pools, &spec);
        needs::refuse(self, cx, &nodes);

        let plan = cx.plan();
        let mut images = vec!["node", "cni", "kube-controllers"];
        images.extend(typha.then_some("typha"));
        let images: Vec<Op> =
            images.into_iter().map(|image| plan.image(&nodes, self.image(image)).prepare()).collect();
        plan.install(&control_planes, "/usr/local/bin/calicoctl", &cx.release("calicoctl", &self.version)?)
            .mode(0o755)
            .prepare();
        plan.directory(if typha { &nodes } else { &control_planes }, "/etc/calico").prepare();
        plan.file(&control_planes, "/etc/calico/calicoctl.cfg", CALICOCTL).prepare();

        let mut data = self.data(&spec, nodes.len());
        // Read when the agent's pod starts: another one is another pod.
        data["network_digest"] = cx.blob(cni::network(self, &spec)).digest().into();
        data["certificates_digest"] =
            if typha { typha::certificates(cx, &nodes)?.into() } else { Value::Null };

        plan.kube_apply_release("definitions", &cx.release("crds", &self.version)?);
        plan.kube_apply("settings", self.settings(cx, &spec)?);
        reflectors::annotate(cx, &self.bgp, &control_planes)?;
        plan.kube_apply("access", &cx.render_asset("access.yaml", &data)?);
        let apply = |name: &str| {
            let objects = cx.render_asset(&format!("{name}.yaml"), &data)?;
            Ok::<Op, Error>(plan.kube_apply(name, &objects).after_all(&images))
        };
        let mut applied = vec![("daemonset/calico-node", apply("agents")?)];
        if typha {
            applied.insert(0, ("deployment/calico-typha", apply("typha")?));
        }
        applied.push(("deployment/calico-kube-controllers", apply("controllers")?));
        let deadline = ROLLOUT + ROLLOUT_EACH * u32::try_from(nodes.len()).unwrap_or(u32::MAX);
        for (object, op) in &applied {
            plan.kube_wait(object, NAMESPACE, "rollout", deadline).on_change(op);
        }

        cx.publish("cni-config", "/etc/cni/net.d/10-calico.conflist")?;
        cx.publish("network-policies", "true")
    }
}

/// Nodes that run pods.
fn members(cx: &Context) -> Result<Nodes> {
    Ok(cx.nodes("*")?.filter(|node| node.is(Role::ControlPlane) || node.is(Role::Worker)))
}

impl Teardown for Calico {
    fn teardown(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        remains::remove(cx, nodes, &self.pools, &cx.spec()?);
        Ok(())
    }
}

ksp_sdk::register!(Calico, teardown);
