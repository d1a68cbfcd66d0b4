//! The pod network and its policies by Cilium: the release's own Helm chart, installed by Helm on a control plane, with values that
//! follow from the manifest. Optionally Cilium does what kube-proxy would.
//!
//! [`values`] says what the chart is told, [`check`] refuses what cannot work, [`living`] what a living network cannot become.

mod check;
mod config;
mod living;
mod pool;
mod values;

pub use config::{Cilium, Encryption, Hubble, Ipam, Routing, Tunnel};
use ksp_sdk::leftovers::Leftovers;
use ksp_sdk::prelude::*;
use pool::Pool;

/// Helm, which nobody else uses: a person's own one stays what it is.
const PROGRAMS: &str = "/usr/local/lib/ksp";
/// The chart.
const CHART: &str = "/usr/local/lib/ksp/cilium.tgz";
/// Installs the release, and says whether it is as it should be.
const SCRIPT: &str = "/usr/local/sbin/ksp-cilium";
/// What the chart is told; JSON is YAML.
const VALUES: &str = "/etc/ksp/cilium.json";

/// Of Helm's release and of most that it makes.
const NAMESPACE: &str = "kube-system";

/// For one run of Helm, which waits for no pod.
const LONGEST: Duration = Duration::from_secs(600);

/// Left on each node by the agent's pod.
const LEFT: [&str; 3] = [
    "/etc/cni/net.d/05-cilium.conflist",
    "/etc/sysctl.d/99-zzz-override_cilium.conf",
    "/opt/cni/bin/cilium-cni",
];

/// Ends of pods: as long as a name can be, which no bridge of LXC is.
const POD_INTERFACES: &str = "lxc????????????";

impl Cilium {
    /// The control plane that talks to the cluster: the one that others join by, else any that could be read.
    fn speaker(cx: &Context, control_planes: &Nodes) -> Option<Node> {
        let named = cx.output("api", "first");
        let known: Vec<&Node> = control_planes.with_facts().map(|(node, _)| node).collect();
        let first = known.iter().find(|node| Some(&node.name) == named.as_ref());
        first.or_else(|| known.first()).map(|node| (*node).clone())
    }

    /// Helm, the chart and what it is told, on every control plane: any of them may be the only one left.
    fn place(&self, cx: &Context, control_planes: &Nodes, values: &str) -> Result<()> {
        let plan = cx.plan();
        plan.unpack(control_planes, PROGRAMS, &cx.release("helm", &self.helm)?, 1, &["helm"]).prepare();
        let chart = cx.release("cilium-chart", &self.version)?;
        plan.install(control_planes, CHART, &chart).mode(0o644).prepare();
        plan.file(control_planes, SCRIPT, &cx.asset("cilium.sh")?).mode(0o755);
        // Values may hold what is nobody's business.
        plan.file(control_planes, VALUES, values).mode(0o600);
        Ok(())
    }

    /// The release, when no node goes on with it. A cluster that is gone altogether has none.
    fn remove(&self, cx: &Context, gone: &Nodes) -> Result<Option<Op>> {
        let members = members(&cx.nodes("*")?);
        let stays = members.with_facts().any(|(node, _)| !gone.iter().any(|it| it.id == node.id));
        let speaker = Self::speaker(cx, &members.filter(|node| node.is(Role::ControlPlane)));
        let Some(speaker) = speaker.filter(|_| !stays) else { return Ok(None) };
        let cluster = format!("! test -x {SCRIPT} || ! test -e /etc/kubernetes/admin.conf");
        let op = cx.plan().exec(&speaker, [SCRIPT, "remove"]);
        Ok(Some(op.summary("uninstall Cilium with Helm").unless(["sh", "-c", &cluster]).timeout(LONGEST)))
    }

    /// What must be rolled out, as far as the values have it.
    fn workloads(&self, values: &serde_json::Value) -> Vec<&'static str> {
        let envoy = values.pointer("/envoy/enabled") != Some(&json!(false));
        let mut workloads = vec!["daemonset/cilium", "deployment/cilium-operator"];
        if self.l7 && envoy {
            workloads.push("daemonset/cilium-envoy");
        }
        if self.hubble >= Hubble::Relay {
            workloads.push("deployment/hubble-relay");
        }
        if self.hubble == Hubble::Ui {
            workloads.push("deployment/hubble-ui");
        }
        workloads
    }
}

impl Stage for Cilium {
    fn validate(&self, cx: &Context) -> Vec<Finding> {
        let read = cx.spec().and_then(|spec| Ok((spec, cx.nodes("*")?)));
        match read {
            Ok((spec, nodes)) => {
                let mut findings = check::findings(self, &spec, members(&nodes).len());
                findings.extend(cx.unknown_release("cilium-chart", &self.version, "/version"));
                findings.extend(cx.unknown_release("helm", &self.helm, "/helm"));
                findings
            }
            Err(error) => vec![Finding::error("", error.message())],
        }
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let spec = cx.spec()?;
        let nodes = members(&cx.nodes("*")?);
        let control_planes = nodes.filter(|node| node.is(Role::ControlPlane));
        let pool =
            Pool::of(self, &spec).map_err(|finding| Error::invalid("cilium.pool", finding.message()))?;
        living::kernel(cx, &nodes);
        living::stays_what_it_is(cx, self, &pool, &control_planes);

        let merged = values::merged(self, &spec, &pool, nodes.len());
        let values = format!("{merged:#}\n");
        let plan = cx.plan();
        let images: Vec<Op> = values::images(self, &merged)
            .into_iter()
            .map(|image| plan.image(&nodes, image).prepare())
            .collect();
        self.place(cx, &control_planes, &values)?;
        let digest = cx.blob(&values).digest();
        let Some(speaker) = Self::speaker(cx, &control_planes) else { return Ok(()) };
        let words = |verb: &str| argv![SCRIPT, verb, self.version.as_str(), digest.as_str()];
        let applied = plan
            .exec(&speaker, words("apply"))
            .after_all(&images)
            .summary(format!("install Cilium {} with Helm", self.version))
            .unless(words("check"))
            .timeout(LONGEST)
            .retry(2, Duration::from_secs(5));
        let deadline = Duration::from_secs(self.deadline_seconds.into());
        for workload in self.workloads(&merged) {
            // Asked again by every run until it is so (T56).
            plan.kube_wait(workload, NAMESPACE, "rollout", deadline).on_change(&applied);
        }
        Ok(())
    }
}

/// Nodes that run pods.
fn members(nodes: &Nodes) -> Nodes {
    nodes.filter(|node| node.is(Role::ControlPlane) || node.is(Role::Worker))
}

impl Teardown for Cilium {
    fn teardown(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        let plan = cx.plan();
        let removed = self.remove(cx, nodes)?;
        for path in LEFT {
            let absent = plan.absent(nodes, path);
            removed.iter().for_each(|removed| drop(absent.clone().after(removed)));
        }
        plan.exec(nodes, ["sh", "-s"])
            .summary("take Cilium's routes and mounts out of the kernel")
            .stdin(&cx.asset("teardown.sh")?)
            .timeout(Duration::from_secs(60));
        Leftovers {
            interfaces: &["cilium_*", "lxc_health", POD_INTERFACES],
            chains: &["CILIUM_", "OLD_CILIUM_", "CNI-"],
            sets: &["cilium_"],
            // Programs are held by their pins; on kernels before 6.6 they are filters of an interface instead.
            pins: &["/sys/fs/bpf/cilium", "/sys/fs/bpf/tc/globals/cilium_*"],
            programs: &["cil_"],
            ..Leftovers::default()
        }
        .remove(&plan, nodes);
        Ok(())
    }
}

ksp_sdk::register!(Cilium, teardown);
