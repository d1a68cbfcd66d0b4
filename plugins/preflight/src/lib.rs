//! Every check of every node at once, before any change: what is found is reported together, and an error refuses the run.

mod cluster;
mod machine;
mod reach;

use ksp_sdk::prelude::*;

/// Config of `ksp/preflight`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Preflight {
    /// MiB of memory that a control plane needs.
    pub control_plane_memory: u64,
    /// MiB of memory that any other node needs.
    pub memory: u64,
    /// GiB free below /var.
    pub disk: u64,
    /// Milliseconds by which a node's clock may differ from this machine's; certificates and etcd need better than half a minute.
    pub clock_skew: u64,
    /// Accept nodes with cgroup v1, which the kubelet is about to give up.
    pub allow_cgroup_v1: bool,
    /// Codes of findings that are reported and do not refuse the run, such as "preflight.memory".
    pub ignore: Vec<String>,
}

impl Default for Preflight {
    fn default() -> Self {
        Self {
            control_plane_memory: 1700,
            memory: 900,
            disk: 10,
            clock_skew: 2000,
            allow_cgroup_v1: false,
            ignore: Vec::new(),
        }
    }
}

/// Something found about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    severity: Severity,
    code: &'static str,
    message: String,
    hint: Option<&'static str>,
}

impl Found {
    fn error(code: &'static str, message: impl Into<String>, hint: &'static str) -> Self {
        Self { severity: Severity::Error, code, message: message.into(), hint: Some(hint) }
    }

    fn warning(code: &'static str, message: impl Into<String>, hint: &'static str) -> Self {
        Self { severity: Severity::Warn, code, message: message.into(), hint: Some(hint) }
    }
}

impl Preflight {
    fn report(&self, cx: &Context, node: Option<&Node>, found: Found) {
        let ignored = self.ignore.iter().any(|code| code == found.code);
        let severity = if ignored { Severity::Warn } else { found.severity };
        cx.plan().finding(node, severity, found.code, found.message, found.hint);
    }
}

/// Probes that hold on a node that is a part of its cluster already: by its kubelet, by its etcd member.
const JOINED: &[&str] = &["joined", "external-etcd-complete"];

impl Stage for Preflight {
    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("*")?;
        for (node, facts) in nodes.with_facts() {
            let joined = JOINED.iter().any(|name| facts.probe(name).is_some_and(|probe| probe.status == 0));
            for found in machine::check(self, node, &machine::Machine::read(&facts), joined) {
                self.report(cx, Some(node), found);
            }
            if !joined {
                reach::check(cx, node, &facts)?;
            }
        }
        for (node, found) in cluster::check(&cluster::read(&nodes)) {
            let node = nodes.iter().find(|known| known.name == node);
            self.report(cx, node, found);
        }
        Ok(())
    }
}

ksp_sdk::register!(Preflight);
