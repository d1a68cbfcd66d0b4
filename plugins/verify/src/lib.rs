//! The gate at the end. Every control plane answers, every node reaches the API by the cluster's endpoint, is Ready and of the right
//! version, and a pod on each node resolves names and reaches a pod on every other node, directly and through a Service, with packets as
//! large as they get (T50). Runs when anything changed, or when the last run did not end well; what it makes it removes.

use ksp_sdk::kubeadm;
use ksp_sdk::prelude::*;

/// Config of `ksp/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Verify {
    /// An image with the commands of busybox.
    pub image: String,
    /// Seconds that each of the checks may take.
    pub deadline_seconds: u32,
}

impl Default for Verify {
    fn default() -> Self {
        Self { image: "docker.io/library/busybox:1.36".into(), deadline_seconds: 300 }
    }
}

/// Where its pods live: a namespace of its own would take seconds to go away.
const NAMESPACE: &str = "kube-system";

/// What the administrator may do, on control planes.
const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// What the kubelet may do, on every node.
const KUBELET: &str = "/etc/kubernetes/kubelet.conf";

/// What a control plane runs beside its API server: name, port on loopback, path that anybody may ask for its health.
const COMPONENTS: [(&str, u16, &str); 2] =
    [("controller manager", 10257, "/healthz"), ("scheduler", 10259, "/livez")];

/// A question to a server about its health, with the credentials of a kubeconfig on the node.
fn ask(kubeconfig: &str, server: &str, flags: &[&str], path: &str) -> Vec<String> {
    let mut argv =
        argv!["kubectl", format!("--kubeconfig={kubeconfig}"), format!("--server=https://{server}")];
    argv.extend(flags.iter().map(|flag| (*flag).to_owned()));
    argv.extend(argv!["--request-timeout=5s", "get", format!("--raw={path}")]);
    argv
}

impl Verify {
    fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline_seconds.into())
    }

    fn control_planes(&self, cx: &Context, nodes: &Nodes) {
        for node in nodes {
            let ready = ask(ADMIN, &node.at_port(kubeadm::API_PORT), &[], "/readyz");
            cx.plan()
                .wait_for(node, ready, self.deadline())
                .summary("the API server of this node is ready")
                .gate();
            // Asked directly: the kubelet calls a static pod ready only ten seconds and more after it is.
            for (name, port, path) in COMPONENTS {
                let healthy = ask(ADMIN, &format!("127.0.0.1:{port}"), &["--insecure-skip-tls-verify"], path);
                cx.plan()
                    .wait_for(node, healthy, self.deadline())
                    .summary(format!("the {name} of this node is healthy"))
                    .gate();
            }
        }
    }

    /// Whatever stands between them: a balancer on the node, a virtual address, or something that ksp does not know.
    fn endpoint(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        let endpoint = cx.spec()?.endpoint;
        cx.plan()
            .wait_for(nodes, ask(KUBELET, &endpoint, &[], "/readyz"), self.deadline())
            .summary(format!("this node reaches the API by the cluster's endpoint {endpoint}"))
            .gate();
        Ok(())
    }

    fn traffic(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        let spec = cx.spec()?;
        let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
        let data = json!({
            "image": self.image,
            "dns_domain": spec.dns_domain,
            "nodes": names,
        });
        let manifest = cx.render_asset("verify.yaml", &data)?;
        let plan = cx.plan();
        plan.kube_apply("verify", &manifest)
            .summary("start a pod on every node that checks DNS and traffic")
            .gate();
        plan.kube_wait("daemonset/ksp-verify", NAMESPACE, "rollout", self.deadline())
            .summary("DNS, pod to pod on every pair of nodes, and a Service work")
            .gate();
        plan.kube_delete("verify").summary("remove the checking pods").gate();
        Ok(())
    }
}

impl Stage for Verify {
    fn plan(&self, cx: &Context) -> Result<()> {
        // A node that cannot be reached is reported by the host; waiting for it here would only take time.
        let members = cx.nodes("*")?.filter(|node| node.is(Role::ControlPlane) || node.is(Role::Worker));
        let nodes: Nodes = members.with_facts().map(|(node, _)| node.clone()).collect();
        if nodes.is_empty() {
            return Ok(());
        }
        let version = cx.spec()?.kubernetes;
        cx.plan().image(&nodes, &self.image).prepare();
        self.control_planes(cx, &nodes.filter(|node| node.is(Role::ControlPlane)));
        self.endpoint(cx, &nodes)?;
        for node in &nodes {
            let object = format!("node/{}", node.name);
            cx.plan().kube_wait(&object, "", "condition=Ready", self.deadline()).gate();
            let version = format!("field=/status/nodeInfo/kubeletVersion=v{version}");
            cx.plan()
                .kube_wait(&object, "", &version, self.deadline())
                .summary(format!("the kubelet of {} has the cluster's version", node.name))
                .gate();
        }
        self.traffic(cx, &nodes)
    }
}

ksp_sdk::register!(Verify);
