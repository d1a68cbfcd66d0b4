//! Workers join by kubeadm as soon as the API answers, all at once.

use ksp_sdk::kubeadm::{self, Token};
use ksp_sdk::prelude::*;

/// Config of `ksp/workers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Workers {
    /// kubeadm's own preflight checks to let pass, by their names.
    pub ignore_preflight_errors: Vec<String>,
}

/// Written by the kubelet when its certificate was issued.
const JOINED: &str = "/etc/kubernetes/kubelet.conf";

/// What the stages before this one have published.
struct Upstream {
    /// The certificate of the API server's authority.
    authority: String,
    /// A control plane that can mint tokens.
    first: String,
}

impl Upstream {
    fn read(cx: &Context) -> Result<Self> {
        let output = |slot: &str, key: &str| {
            cx.output(slot, key).ok_or_else(|| {
                Error::unsupported(
                    "workers.no-output",
                    format!("the stage that provides `{slot}` does not publish `{key}`"),
                )
            })
        };
        Ok(Self { authority: output("api", "authority-certificate")?, first: output("api", "first")? })
    }
}

impl Workers {
    fn join_document(&self, cx: &Context, node: &Node) -> Result<String> {
        let socket = kubeadm::cri_socket(cx, node)?;
        Ok(kubeadm::documents(&[json!({
            "apiVersion": kubeadm::API_VERSION,
            "kind": "JoinConfiguration",
            "discovery": kubeadm::discovery(),
            "nodeRegistration": kubeadm::registration(node, &socket, &self.ignore_preflight_errors),
        })]))
    }
}

/// Waits until the controller manager has begun to work: it makes this ConfigMap, and it signs the certificates of kubelets. A kubelet
/// that starts before that is refused by the API again and again, and its first pods come late because it asks less and less often.
fn controllers_run(cx: &Context, on: &Node) -> Op {
    let argv = argv![
        "kubectl",
        "--kubeconfig=/etc/kubernetes/admin.conf",
        "--namespace=kube-system",
        "wait",
        "--for=create",
        "configmap/kube-root-ca.crt",
        "--timeout=120s",
    ];
    cx.plan().exec(on, argv).summary("wait for the controller manager").timeout(Duration::from_secs(150))
}

impl Stage for Workers {
    fn plan(&self, cx: &Context) -> Result<()> {
        let workers = cx.nodes("role=worker,!role=control-plane")?;
        if workers.is_empty() {
            return Ok(());
        }
        let spec = cx.spec()?;
        let upstream = Upstream::read(cx)?;
        let token = Token::ephemeral(cx, "worker")?;
        let plan = cx.plan();

        let minting = cx.nodes(&format!("name={}", upstream.first))?;
        let Some(minting) = minting.first() else {
            return Err(Error::unsupported(
                "workers.no-control-plane",
                format!("there is no node `{}`", upstream.first),
            ));
        };
        let mint = token.mint(cx, &spec, minting)?;
        plan.file(&workers, kubeadm::DISCOVERY, kubeadm::discovery_file(&spec.endpoint, &upstream.authority));
        let controllers = controllers_run(cx, minting).after(&mint);
        for node in &workers {
            let join = plan
                .exec(node, ["kubeadm", "join", "--config=/dev/stdin"])
                .summary("join the cluster with kubeadm")
                .stdin_secret(&token.put_into(cx, &self.join_document(cx, node)?)?)
                .creates(JOINED)
                .timeout(Duration::from_secs(300))
                .after(&mint)
                .after(&controllers);
            mint.clone().only_for(&join);
            controllers.clone().only_for(&join);
            if !node.labels.is_empty() || !node.taints.is_empty() {
                let labels = node.labels.iter().map(|(key, value)| format!("{key}={value}"));
                plan.kube_node(node, labels, node.taints.clone()).after(&join);
            }
        }
        plan.service(&workers, "kubelet.service");
        Ok(())
    }
}

impl Teardown for Workers {
    fn teardown(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        // A control plane that goes as well has no cluster to take the others out of.
        let control_planes = cx.nodes("role=control-plane")?;
        let stays = |node: &&Node| node.facts().known() && !nodes.iter().any(|gone| gone.id == node.id);
        let via = control_planes.iter().find(stays);
        let workers = nodes.iter().filter(|node| node.is(Role::Worker) && !node.is(Role::ControlPlane));
        match via {
            Some(via) => workers.for_each(|node| drop(kubeadm::leave(cx, node, via, None))),
            None => kubeadm::dissolve(cx, workers),
        }
        Ok(())
    }
}

ksp_sdk::register!(Workers, teardown);
