//! Container runtimes, for stages that provide `runtime`.

mod proxy;

use std::time::Duration;

pub use proxy::Proxy;

use crate::{Nodes, Op, Plan, argv};

/// A container runtime as the kubelet knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Runtime {
    /// For people.
    pub name: &'static str,
    /// The scheme of `containerRuntimeVersion` in a Node's status.
    pub reports: &'static str,
    /// Where it listens, as kubeadm writes it.
    pub socket: &'static str,
    /// Its unit.
    pub unit: &'static str,
}

/// containerd.
pub const CONTAINERD: Runtime = Runtime {
    name: "containerd",
    reports: "containerd",
    socket: "unix:///run/containerd/containerd.sock",
    unit: "containerd.service",
};

/// CRI-O.
pub const CRI_O: Runtime = Runtime {
    name: "CRI-O",
    reports: "cri-o",
    socket: "unix:///var/run/crio/crio.sock",
    unit: "crio.service",
};

/// Runtimes that a node can be taken away from.
pub(crate) const KNOWN: [Runtime; 2] = [CONTAINERD, CRI_O];

/// Until it answers after a restart.
const PATIENCE: Duration = Duration::from_secs(60);

impl Runtime {
    /// Restarts the daemon where one of `watched` has changed, and then waits, before the next node, until it serves a kubelet: a daemon
    /// may well run without its CRI half, and then the node is lost half a minute later. Returns the restart.
    ///
    /// `crictl` has to be on the node before.
    pub fn restart(&self, plan: &Plan, nodes: &Nodes, watched: &[&Op]) -> Op {
        let restart = plan.restart(nodes, self.unit);
        let restart = watched.iter().fold(restart, |restart, watched| restart.on_change(watched));
        plan.wait_for(nodes, self.serves(), PATIENCE)
            .on_change(&restart)
            .summary(format!("{} serves the kubelet", self.name));
        restart
    }

    /// Exits 0 when the runtime says by CRI that it can start containers. Whether there is a pod network yet is not asked.
    fn serves(&self) -> Vec<String> {
        let status = r#"{{range .status.conditions}}{{if eq .type "RuntimeReady"}}{{.status}}{{end}}{{end}}"#;
        let ask = format!(
            "crictl --runtime-endpoint {} --timeout 5s info -o go-template --template '{status}' | grep -x true",
            self.socket
        );
        argv!["sh", "-c", ask]
    }
}
