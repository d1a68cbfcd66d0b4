//! The Kubernetes control plane by kubeadm, with an etcd stacked on it. Certificate authorities are placed beforehand on every
//! control plane, so that no key travels through the API.
//!
//! [`bring_up`] makes control planes, [`settings`] changes those that live, [`members`] and [`membership`] keep etcd's members in line
//! with the nodes. With [`external_etcd`] another stage runs etcd, and members are no business of this one.

mod authorities;
mod bring_up;
mod config;
mod encryption;
mod etcd;
mod external_etcd;
mod images;
mod members;
mod membership;
mod settings;

use std::collections::BTreeMap;

use bring_up::Joining;
use external_etcd::ExternalEtcd;
use ksp_sdk::kubeadm;
use ksp_sdk::prelude::*;
use members::Own;

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
    /// Encrypt Secrets before they reach etcd. Chosen when the cluster is made.
    pub encrypt_secrets: bool,
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
            encrypt_secrets: false,
            etcd_tools: "3.6.8".into(),
            kubelet: serde_json::Map::new(),
            ignore_preflight_errors: Vec::new(),
        }
    }
}

impl Stage for ControlPlane {
    fn validate(&self, cx: &Context) -> Vec<Finding> {
        let flags = [
            ("api-server", &self.api_server),
            ("controller-manager", &self.controller_manager),
            ("scheduler", &self.scheduler),
            ("etcd", &self.etcd),
        ];
        let mut findings = self.contradictions();
        let dashed = flags.iter().flat_map(|(part, flags)| flags.keys().map(move |flag| (part, flag)));
        findings.extend(dashed.filter(|(_, flag)| flag.starts_with('-')).map(|(part, flag)| {
            Finding::error(format!("/{part}/{flag}"), format!("`{flag}` is written with dashes in front"))
                .hint(format!("write it as `{}`", flag.trim_start_matches('-')))
        }));
        findings.extend(cx.unknown_release("etcd", &self.etcd_tools, "/etcd-tools"));
        findings
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("role=control-plane")?;
        let external = ExternalEtcd::read(cx)?;
        let external = external.as_ref();
        let membership = match external {
            Some(_) => membership::Survey::default(),
            None => membership::survey(&nodes),
        };
        membership::report(cx, &membership.changes);
        same_version(cx, &nodes)?;
        endpoint_outlives_nodes(cx, &nodes)?;
        encryption::stays(cx, self, &nodes);
        let Some(first) = membership.via.as_ref().or_else(|| first_of(&nodes)) else {
            return Err(Error::unsupported("control-plane.no-node", "no node has the role `control-plane`"));
        };
        let others = nodes.filter(|node| node.id != first.id);
        let incomplete = nodes.filter(|node| matches!(membership::own(node), Own::Incomplete { .. }));
        let living = nodes.filter(|node| match membership::own(node) {
            Own::Complete { data } => data || external.is_some(),
            _ => false,
        });
        let refill = nodes.filter(|node| membership.changes.refill.contains(&node.name));
        let layout = etcd::layout(&nodes);

        images::pull(cx, self, &nodes, external.is_none())?;
        authorities::place(cx, &nodes)?;
        encryption::place(cx, self, &nodes)?;
        if let Some(external) = external {
            external.place(cx, &nodes)?;
        } else {
            etcd::tools(cx, self, &nodes)?;
            authorities::place_etcd(cx, &nodes)?;
            etcd::prepare(cx, &incomplete)?;
        }
        let settled = membership::settle(cx, &layout, first, &membership.changes);
        let told = settings::keep(cx, self, external, &nodes, &living, first)?;
        let init = bring_up::initialise(cx, self, external, first)?;
        let members = if others.is_empty() {
            init
        } else {
            let after: Vec<Op> = [Some(init), settled, told].into_iter().flatten().collect();
            let joining =
                Joining { first, others: &others, incomplete: &incomplete, refill: &refill, after: &after };
            bring_up::join(cx, self, &joining)?
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
        if external.is_none() {
            layout.publish(cx)?;
        }
        Ok(())
    }
}

impl ControlPlane {
    /// What stands in the way of each other.
    fn contradictions(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if self.encrypt_secrets && self.api_server.contains_key(encryption::FLAG) {
            let message = format!("`{}` says where another configuration of encryption is", encryption::FLAG);
            findings.push(
                Finding::error(format!("/api-server/{}", encryption::FLAG), message)
                    .hint("remove it, or `encrypt-secrets`"),
            );
        }
        // Until somebody has signed a kubelet's certificate nobody gets through to it, and who signs all of them lets every node
        // pose as any other (T27).
        if self.kubelet.get("serverTLSBootstrap").is_some_and(|wanted| wanted == true) {
            findings.push(
                Finding::warning("/kubelet/serverTLSBootstrap", "no stage of ksp approves the certificates that kubelets ask for then; without them `kubectl logs` and `exec` fail")
                    .hint("remove it, or run an approver that compares names and addresses with the node's own"),
            );
        }
        findings
    }
}

/// The control plane that others join when no member of etcd answers: one that is complete, else the first of the manifest.
fn first_of(nodes: &Nodes) -> Option<&Node> {
    let complete = nodes.iter().find(|node| matches!(membership::own(node), Own::Complete { .. }));
    complete.or_else(|| nodes.first())
}

/// The endpoint is in every certificate and kubeconfig: that of one machine would make all depend on it for good (T15).
fn endpoint_outlives_nodes(cx: &Context, nodes: &Nodes) -> Result<()> {
    let spec = cx.spec()?;
    let Some(node) = nodes.iter().find(|node| node.address == spec.endpoint_host()) else { return Ok(()) };
    if nodes.len() > 1 {
        let message = format!(
            "the endpoint `{}` is the address of one of {} control planes: without it nobody reaches the others",
            spec.endpoint,
            nodes.len()
        );
        let hint = "write `endpoint = \"127.0.0.1:7443\"` and a stage `load-balancer` before this one";
        cx.plan().finding(Some(node), Severity::Error, "control-plane.endpoint", message, Some(hint));
    }
    Ok(())
}

/// An upgrade is more than other images: until ksp does it whole, it refuses to begin one (T24).
fn same_version(cx: &Context, nodes: &Nodes) -> Result<()> {
    let wanted = cx.spec()?.kubernetes;
    for (node, facts) in nodes.with_facts() {
        let Some(probe) = facts.probe("control-plane-image") else { continue };
        let Some((_, running)) = probe.stdout.trim().split_once(":v") else { continue };
        if running != wanted.to_string() {
            let message = format!("the control plane runs Kubernetes {running}, the manifest says {wanted}");
            let hint = format!(
                "ksp cannot change the version of a living cluster yet: write `kubernetes = \"{running}\"`"
            );
            cx.plan().finding(Some(node), Severity::Error, "control-plane.version", message, Some(&hint));
        }
    }
    Ok(())
}

impl Teardown for ControlPlane {
    fn teardown(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        let all = cx.nodes("role=control-plane")?;
        let stays = all.filter(|node| !nodes.iter().any(|gone| gone.id == node.id));
        let via = stays.with_facts().map(|(node, _)| node.clone()).next();
        let planes = nodes.iter().filter(|node| node.is(Role::ControlPlane));
        let Some(via) = via else {
            kubeadm::dissolve(cx, planes);
            return Ok(());
        };
        // One at a time: each takes its etcd member with it.
        let mut before: Option<Op> = None;
        for node in planes {
            before = Some(kubeadm::leave(cx, node, &via, before.as_ref()));
        }
        Ok(())
    }
}

ksp_sdk::register!(ControlPlane, teardown);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contradictions_are_found() {
        let flag = [("encryption-provider-config".to_owned(), "/x".to_owned())];
        let stage =
            ControlPlane { encrypt_secrets: true, api_server: flag.into(), ..ControlPlane::default() };
        let paths: Vec<String> = stage.contradictions().iter().map(|it| it.path().to_owned()).collect();
        assert_eq!(paths, ["/api-server/encryption-provider-config"]);
        assert!(ControlPlane::default().contradictions().is_empty());
    }

    #[test]
    fn who_wants_signed_kubelets_is_told_that_somebody_has_to_sign_t27() {
        let kubelet = json!({ "serverTLSBootstrap": true }).as_object().unwrap().clone();
        let stage = ControlPlane { kubelet, ..ControlPlane::default() };
        assert_eq!(stage.contradictions()[0].path(), "/kubelet/serverTLSBootstrap");
        let kubelet = json!({ "serverTLSBootstrap": false }).as_object().unwrap().clone();
        assert!(ControlPlane { kubelet, ..ControlPlane::default() }.contradictions().is_empty());
    }
}
