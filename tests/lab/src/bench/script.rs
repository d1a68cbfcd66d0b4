//! The hand-written script: `kubeadm.sh`, which sends `node.sh` to every node.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

use super::timed;
use crate::component::Component;
use crate::node::Node;
use crate::process::run as program;
use crate::scenario::Scenario;
use crate::{mirror, paths};

const KUBEADM: &str = include_str!("kubeadm.sh");
const NODE: &str = include_str!("node.sh");
const FLANNEL: &str = include_str!("flannel.yaml");

/// `timeout` ends the script and all that it has started; what waits for that waits a little longer.
const LONGEST: Duration = Duration::from_secs(900);

/// Component → the script's variable for its version.
const VERSIONS: &[(&str, &str)] = &[
    ("kubernetes", "kubernetes"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("cni-plugins", "cni_plugins"),
    ("crictl", "crictl"),
    ("flannel", "flannel"),
    ("coredns", "coredns"),
];

/// Runs it on fresh nodes; how long it took and when it did what.
pub fn run(nodes: &Scenario) -> Result<(Duration, String)> {
    let folder = nodes.folder();
    let (script, node_script) = (folder.join("kubeadm.sh"), folder.join("node.sh"));
    fs::write(&script, KUBEADM)?;
    fs::write(&node_script, NODE)?;
    let flannel = folder.join("flannel.yaml");
    fs::write(&flannel, FLANNEL)?;
    let (first, others) = nodes.nodes.split_first().context("the scenario has no nodes")?;
    let (more, workers): (Vec<&Node>, Vec<&Node>) =
        others.iter().partition(|node| node.roles.iter().any(|role| role == "control-plane"));
    let addresses =
        |nodes: &[&Node]| nodes.iter().map(|node| node.address.to_string()).collect::<Vec<_>>().join(" ");

    let limit = (LONGEST.as_secs() - 30).to_string();
    let mut command = program("timeout")
        .args(["--kill-after=10", &limit, "bash"])
        .arg(&script)
        .env("key", folder.join("ssh/id_ed25519"))
        .env("known_hosts", folder.join("ssh/known_hosts"))
        .env("cp", first.address.to_string())
        .env("more", addresses(&more))
        .env("workers", addresses(&workers))
        .env("files", mirror::files())
        .env("registry", mirror::registry())
        .env("flannel_yaml", flannel)
        .env("node_sh", node_script)
        .env("arch", paths::arch());
    for (component, variable) in VERSIONS {
        command = command.env(variable, Component::load(component)?.version);
    }
    timed::once(command, LONGEST).context("the kubeadm script")
}
