//! The Kubernetes control plane by kubeadm. The first one is initialised; the others join one by one, because etcd takes one
//! learner at a time. Certificate authorities are placed beforehand on every control plane, so that no key travels through the API.

mod authorities;
mod config;
mod etcd;
mod images;

use ksp_sdk::kubeadm::{self, Token};
use ksp_sdk::prelude::*;
use std::collections::BTreeMap;

/// Config of `ksp/control-plane`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct ControlPlane {
    /// Where the images of the control plane come from.
    pub image_repository: String,
    /// Names and addresses in the API server's certificate besides the usual ones.
    pub cert_sans: Vec<String>,
    /// Flags of the API server.
    pub api_server: BTreeMap<String, String>,
    /// Flags of the controller manager.
    pub controller_manager: BTreeMap<String, String>,
    /// Flags of the scheduler.
    pub scheduler: BTreeMap<String, String>,
    /// Flags of etcd.
    pub etcd: BTreeMap<String, String>,
    /// The version of `etcdctl` and `etcdutl` on control planes.
    pub etcd_tools: String,
    /// Keys of the `KubeletConfiguration` of the whole cluster.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub kubelet: serde_json::Map<String, serde_json::Value>,
    /// kubeadm's own preflight checks to let pass, by their names.
    pub ignore_preflight_errors: Vec<String>,
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self {
            image_repository: "registry.k8s.io".into(),
            cert_sans: Vec::new(),
            api_server: BTreeMap::new(),
            controller_manager: BTreeMap::new(),
            scheduler: BTreeMap::new(),
            etcd: BTreeMap::new(),
            etcd_tools: "3.6.8".into(),
            kubelet: serde_json::Map::new(),
            ignore_preflight_errors: Vec::new(),
        }
    }
}

/// Written last: a control plane without it is made again from where it stopped.
pub const COMPLETE: &str = "/etc/kubernetes/.control-plane-complete";

impl ControlPlane {
    fn initialise(&self, cx: &Context, first: &Node, cri_socket: &str) -> Result<Op> {
        let token = Token::ephemeral(cx, "init")?;
        let documents = config::init(self, &cx.spec()?, &cx.nodes("role=control-plane")?, first, cri_socket);
        let plan = cx.plan();
        let init = plan
            .exec(
                first,
                ["kubeadm", "init", "--config=/dev/stdin", "--skip-phases=addon/coredns,addon/kube-proxy"],
            )
            .summary("initialise the control plane with kubeadm")
            .stdin_secret(&token.put_into(cx, &documents)?)
            .creates(COMPLETE)
            .timeout(Duration::from_secs(600))
            .provides("api");
        plan.file(first, COMPLETE, "initialised\n").mode(0o600);
        Ok(init)
    }

    /// Joins the others one after the other; the op after which all are there.
    fn join(&self, cx: &Context, first: &Node, others: &Nodes, init: &Op, cri_socket: &str) -> Result<Op> {
        let spec = cx.spec()?;
        let plan = cx.plan();
        let token = Token::ephemeral(cx, "join")?;
        let mint = token.mint(cx, &spec, first)?.after(init);
        let discovery = kubeadm::discovery_file(
            &first.at_port(kubeadm::API_PORT),
            &authorities::cluster(cx)?.certificate().text()?,
        );
        plan.file(others, kubeadm::DISCOVERY, discovery);
        let mut before = mint.clone();
        for node in others {
            let document = config::join(self, node, cri_socket);
            let join = plan
                .exec(node, ["kubeadm", "join", "--config=/dev/stdin"])
                .summary("join the control plane with kubeadm")
                .stdin_secret(&token.put_into(cx, &document)?)
                .creates(COMPLETE)
                .timeout(Duration::from_secs(600))
                .after(&before)
                .after(init);
            mint.clone().only_for(&join);
            before = plan.file(node, COMPLETE, "joined\n").mode(0o600);
        }
        Ok(before)
    }
}

impl Stage for ControlPlane {
    fn validate(&self, _cx: &Context) -> Vec<Finding> {
        let flags = [
            ("api-server", &self.api_server),
            ("controller-manager", &self.controller_manager),
            ("scheduler", &self.scheduler),
            ("etcd", &self.etcd),
        ];
        let dashed = flags.iter().flat_map(|(part, flags)| flags.keys().map(move |flag| (part, flag)));
        dashed
            .filter(|(_, flag)| flag.starts_with('-'))
            .map(|(part, flag)| {
                Finding::error(format!("/{part}/{flag}"), format!("`{flag}` is written with dashes in front"))
                    .hint(format!("write it as `{}`", flag.trim_start_matches('-')))
            })
            .collect()
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("role=control-plane")?;
        let cri_socket = cx.output("runtime", "cri-socket").ok_or_else(|| {
            Error::unsupported(
                "control-plane.no-cri-socket",
                "the stage that provides `runtime` does not publish `cri-socket`",
            )
        })?;
        let Some(first) = first_of(&nodes) else {
            return Err(Error::unsupported("control-plane.no-node", "no node has the role `control-plane`"));
        };
        let others = nodes.filter(|node| node.id != first.id);

        images::pull(cx, self, &nodes)?;
        etcd::tools(cx, self, &nodes)?;
        authorities::place(cx, &nodes)?;
        etcd::prepare(cx, &incomplete(&nodes))?;
        let init = self.initialise(cx, first, &cri_socket)?;
        let members = match others.is_empty() {
            true => init,
            false => self.join(cx, first, &others, &init, &cri_socket)?,
        };
        cx.plan().service(&nodes, "kubelet.service");
        for node in &nodes {
            if !node.labels.is_empty() || !node.taints.is_empty() {
                let labels = node.labels.iter().map(|(key, value)| format!("{key}={value}"));
                cx.plan().kube_node(node, labels, node.taints.clone()).after(&members);
            }
        }

        let endpoints: Vec<String> = nodes.iter().map(|node| node.at_port(kubeadm::API_PORT)).collect();
        cx.publish("endpoints", serde_json::to_string(&endpoints)?)?;
        cx.publish("authority", authorities::CLUSTER)?;
        cx.publish("authority-certificate", authorities::cluster(cx)?.certificate().text()?)?;
        cx.publish("first", &first.name)?;
        etcd::layout(&nodes).publish(cx)
    }
}

/// The control plane that others join: one that is complete, else the first of the manifest.
fn first_of(nodes: &Nodes) -> Option<&Node> {
    let complete = nodes.with_facts().find(|(_, facts)| is_complete(facts));
    complete.map(|(node, _)| node).or_else(|| nodes.first())
}

/// Those that are known not to be a control plane yet.
fn incomplete(nodes: &Nodes) -> Nodes {
    nodes.with_facts().filter(|(_, facts)| !is_complete(facts)).map(|(node, _)| node.clone()).collect()
}

fn is_complete(facts: &Facts) -> bool {
    facts.probe("complete").is_some_and(|probe| probe.status == 0)
}

impl Teardown for ControlPlane {
    fn teardown(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        let all = cx.nodes("role=control-plane")?;
        let stays = all.filter(|node| !nodes.iter().any(|gone| gone.id == node.id));
        let via = stays.with_facts().map(|(node, _)| node.clone()).next();
        // One at a time: each takes its etcd member with it.
        let mut before: Option<Op> = None;
        for node in nodes.iter().filter(|node| node.is(Role::ControlPlane)) {
            let mut left = kubeadm::leave(cx, node, via.as_ref());
            if let Some(before) = &before {
                left = left.after(before);
            }
            before = Some(left);
        }
        Ok(())
    }
}

ksp_sdk::register!(ControlPlane, teardown);
