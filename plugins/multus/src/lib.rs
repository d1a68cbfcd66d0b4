//! Further networks for pods by Multus: it asks the cluster's own network for a pod's first interface, and then attaches what the pod's
//! annotation `k8s.v1.cni.cncf.io/networks` names.

mod attachment;
mod cni;
mod ipam;
mod layout;
mod settings;

use std::collections::BTreeSet;

use attachment::Attachment;
use ksp_sdk::leftovers::Leftovers;
use ksp_sdk::prelude::*;

/// Config of `ksp/multus`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Multus {
    /// Version of Multus.
    pub version: String,
    /// Where the image comes from.
    pub image_repository: String,
    /// How Multus runs.
    pub mode: Mode,
    /// File name of the cluster's own network below /etc/cni/net.d; empty takes the first one there.
    pub primary: String,
    /// What Multus logs.
    pub log_level: LogLevel,
    /// MiB that the daemon of a node may use.
    #[schemars(range(min = 64, max = 65_536))]
    pub memory_limit: u32,
    /// Pods may name attachments of their own namespace only, and of these: `default` and `global-namespaces`.
    pub namespace_isolation: bool,
    /// Namespaces whose attachments every pod may name in spite of `namespace-isolation`.
    pub global_namespaces: Vec<String>,
    /// Networks that pods may ask for.
    pub attachment: Vec<Attachment>,
}

/// How Multus runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A daemon on each node does the work; what the runtime calls only asks it.
    #[default]
    Thick,
    /// The runtime calls Multus itself; a pod on each node only keeps its files up to date.
    Thin,
}

/// What Multus logs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum LogLevel {
    /// What ends it.
    Panic,
    /// What fails.
    #[default]
    Error,
    /// Each pod that comes or goes.
    Verbose,
    /// Everything.
    Debug,
}

impl LogLevel {
    /// As Multus calls it.
    fn name(self) -> &'static str {
        match self {
            LogLevel::Panic => "panic",
            LogLevel::Error => "error",
            LogLevel::Verbose => "verbose",
            LogLevel::Debug => "debug",
        }
    }
}

impl Default for Multus {
    fn default() -> Self {
        Self {
            version: "4.2.2".into(),
            image_repository: "ghcr.io/k8snetworkplumbingwg/multus-cni".into(),
            mode: Mode::default(),
            primary: String::new(),
            log_level: LogLevel::default(),
            memory_limit: 128,
            namespace_isolation: false,
            global_namespaces: Vec::new(),
            attachment: Vec::new(),
        }
    }
}

/// What may do anything in the cluster, on control planes.
const ADMIN: &str = "--kubeconfig=/etc/kubernetes/admin.conf";

/// Namespaces that every cluster has.
const THERE: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// For the DaemonSet, and for the file that makes Multus the network on a node.
const PATIENCE: Duration = Duration::from_secs(300);

impl Multus {
    fn image(&self) -> String {
        let suffix = if self.mode == Mode::Thick { "-thick" } else { "" };
        format!("{}:v{}{suffix}", self.image_repository, self.version)
    }

    /// Namespaces of attachments, but for those that every cluster has. Made when they are missing and never removed: others live there.
    fn namespaces(&self, cx: &Context) -> Result<Vec<Op>> {
        let control_planes = cx.nodes("role=control-plane")?;
        let namespaces: BTreeSet<&str> =
            self.attachment.iter().map(|attachment| attachment.namespace.as_str()).collect();
        let missing = namespaces.into_iter().filter(|namespace| !THERE.contains(namespace));
        let make = |namespace: &str| {
            cx.plan()
                .exec(&control_planes, ["kubectl", ADMIN, "create", "namespace", namespace])
                .unless(["kubectl", ADMIN, "get", "namespace", namespace])
                .batch(1)
                .retry(3, Duration::from_secs(2))
                .summary(format!("make the namespace {namespace}"))
        };
        Ok(missing.map(make).collect())
    }

    /// An interface that an attachment names and a node does not have: pods that ask for it would wait there for ever.
    fn masters_exist(&self, cx: &Context, nodes: &Nodes) {
        for attachment in &self.attachment {
            for master in attachment.masters() {
                let lacks = |facts: &Facts| {
                    facts.probe("interfaces").is_some_and(|probe| {
                        probe.status == 0 && !probe.stdout.lines().any(|it| it == master)
                    })
                };
                let without: Vec<&str> = nodes
                    .with_facts()
                    .filter(|(_, facts)| lacks(facts))
                    .map(|(node, _)| node.name.as_str())
                    .collect();
                if without.is_empty() {
                    continue;
                }
                let message = format!(
                    "attachment `{}` is on the interface `{master}`, which these nodes do not have: {}",
                    attachment.name,
                    without.join(", ")
                );
                let hint = "name another interface, or keep pods that ask for it away from these nodes";
                cx.plan().finding(None, Severity::Warn, "multus.master", message, Some(hint));
            }
        }
    }
}

impl Stage for Multus {
    fn validate(&self, _cx: &Context) -> Vec<Finding> {
        let mut findings = attachment::check_all(&self.attachment);
        if self.version.starts_with('v') {
            findings.push(
                Finding::error("/version", format!("`{}` is no version", self.version))
                    .hint(format!("write `version = \"{}\"`", self.version.trim_start_matches('v'))),
            );
        }
        if self.primary.contains('/') || self.primary.starts_with("00-multus") {
            let message = format!("`{}` is no file of another network below /etc/cni/net.d", self.primary);
            findings.push(
                Finding::error("/primary", message)
                    .hint("such as \"10-flannel.conflist\"; without it Multus takes the first one"),
            );
        }
        for (at, namespace) in self.global_namespaces.iter().enumerate() {
            findings.extend(attachment::label(&format!("/global-namespaces/{at}"), "namespace", namespace));
        }
        if !self.global_namespaces.is_empty() && !self.namespace_isolation {
            findings.push(
                Finding::error(
                    "/global-namespaces",
                    "every namespace is global without `namespace-isolation`",
                )
                .hint("write `namespace-isolation = true`, or leave this out"),
            );
        }
        findings
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("*")?.filter(|node| node.is(Role::ControlPlane) || node.is(Role::Worker));
        let plan = cx.plan();
        self.masters_exist(cx, &nodes);
        let mut data = settings::of(self, &cx.spec()?);
        data["digest"] = cx.blob(data.to_string()).digest().into();
        data["attachments"] = self.attachment.iter().map(Attachment::object).collect();
        let manifest = cx.render_asset("multus.yaml", &data)?;

        let image = plan.image(&nodes, self.image()).prepare();
        let namespaces = self.namespaces(cx)?;
        let applied = plan.kube_apply("multus", &manifest).after(&image).after_all(&namespaces);
        let rolled_out = plan
            .kube_wait("daemonset/kube-multus-ds", "kube-system", "rollout", PATIENCE)
            .on_change(&applied);
        // A pod that runs has not written it yet, and without it nobody asks Multus.
        plan.wait_for(&nodes, layout::is_the_network(self.mode), PATIENCE)
            .after(&rolled_out)
            .gate()
            .summary("Multus is the network of this node");
        for path in layout::of_the_other(self.mode) {
            plan.absent(&nodes, path).after(&rolled_out);
        }
        Ok(())
    }
}

impl Teardown for Multus {
    fn teardown(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        // What the pods of the DaemonSet have put on the nodes, first what makes the runtime call Multus.
        for path in layout::EVERYTHING {
            cx.plan().absent(nodes, path);
        }
        for pool in self.attachment.iter().filter_map(Attachment::pool) {
            cx.plan().absent(nodes, pool);
        }
        // Bridges of attachments stay: whether a plugin made one, or the operator for the node itself, nobody can tell.
        Leftovers::default()
            .remove(&cx.plan(), nodes)
            .summary("remove CNI's own folders when they are empty");
        Ok(())
    }
}

ksp_sdk::register!(Multus, teardown);
