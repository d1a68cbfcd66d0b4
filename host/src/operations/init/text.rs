//! The text of a new manifest.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Answers, ChainEntry};

/// Networks for pods and Services, the usual ones first: the first pair that no machine is in is taken.
const NETWORKS_V4: &[(&str, &str)] = &[
    ("10.244.0.0/16", "10.96.0.0/16"),
    ("172.20.0.0/16", "172.21.0.0/16"),
    ("10.32.0.0/16", "10.33.0.0/16"),
];
const NETWORKS_V6: &[(&str, &str)] =
    &[("fd00:10:244::/48", "fd00:10:96::/112"), ("fd00:20:244::/48", "fd00:20:96::/112")];

/// Renders it. Whether it is valid is for `manifest::check_text` to say.
pub fn render(
    answers: &Answers,
    endpoint: &str,
    control_planes: &[IpAddr],
    workers: &[IpAddr],
    kubernetes: &str,
    chain: &[ChainEntry<'_>],
) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = write(&mut text, answers, endpoint, control_planes, workers, kubernetes, chain);
    text
}

fn write(
    out: &mut String,
    answers: &Answers,
    endpoint: &str,
    control_planes: &[IpAddr],
    workers: &[IpAddr],
    kubernetes: &str,
    chain: &[ChainEntry<'_>],
) -> std::fmt::Result {
    let (pods, services) = networks(control_planes.iter().chain(workers));
    writeln!(
        out,
        "# Cluster manifest of ksp. What it says is what `ksp up` makes of the machines below; `ksp plan` shows it first."
    )?;
    writeln!(
        out,
        "# Help in editors: `ksp util schema > manifest.schema.json`, then `#:schema ./manifest.schema.json` as the first line."
    )?;
    writeln!(out, "\n[cluster]")?;
    writeln!(out, "name = {}", quoted(&answers.name))?;
    writeln!(
        out,
        "# A release of Kubernetes, all three numbers. ksp cannot change it on a living cluster yet."
    )?;
    writeln!(out, "kubernetes = {}", quoted(kubernetes))?;
    write_endpoint(out, endpoint)?;
    writeln!(
        out,
        "# Networks of pods and Services: private, apart from each other and from every network the machines are in."
    )?;
    writeln!(out, "# Neither can be changed later.")?;
    writeln!(out, "pod-cidr = {}", quoted(pods))?;
    writeln!(out, "service-cidr = {}", quoted(services))?;
    writeln!(out, "# dns-domain = \"cluster.local\"")?;

    writeln!(
        out,
        "\n# How machines are reached. A node can differ: `ssh = {{ host = \"…\", port = 2222 }}` in its `[[node]]`."
    )?;
    writeln!(out, "[ssh]")?;
    writeln!(out, "# Anybody but root needs `sudo` without a password.")?;
    writeln!(out, "user = {}", quoted(answers.user.as_deref().unwrap_or("root")))?;
    writeln!(out, "# A private key; without it the agent and the usual files in ~/.ssh are tried.")?;
    match &answers.identity {
        Some(identity) => writeln!(out, "identity = {}", quoted(identity))?,
        None => writeln!(out, "# identity = \"~/.ssh/id_ed25519\"")?,
    }
    writeln!(out, "# port = 22")?;
    writeln!(out, "# via = [\"user@bastion.example:22\"]")?;
    writeln!(out, "# known-hosts = \"~/.ssh/known_hosts\"")?;

    write_nodes(out, control_planes, workers)?;
    write_chain(out, chain)?;

    writeln!(out, "\n# Files and images from elsewhere, for machines without a way to the internet.")?;
    writeln!(out, "# [mirrors]")?;
    writeln!(
        out,
        "# files = \"https://mirror.example/files\"          # https://a/b is fetched from <files>/a/b"
    )?;
    writeln!(out, "# images = {{ \"registry.k8s.io\" = \"https://mirror.example:5000\" }}")?;
    writeln!(
        out,
        "# checksums = \"checksums.txt\"                     # as printed by sha256sum, when the mirror has other builds"
    )?;
    writeln!(
        out,
        "# push = true                                    # ksp fetches and pushes to the machines"
    )?;

    writeln!(out, "\n# Secrets for stages that ask for them, by name; never written here.")?;
    writeln!(out, "# [secrets]")?;
    writeln!(out, "# registry-password = {{ file = \"registry-password\" }}  # mode 0600")?;
    writeln!(out, "# backup-key = {{ env = \"BACKUP_KEY\" }}")
}

fn write_endpoint(out: &mut String, endpoint: &str) -> std::fmt::Result {
    writeln!(
        out,
        "# Where nodes reach the API. It is in every certificate and kubeconfig and cannot be changed later: a loopback"
    )?;
    writeln!(
        out,
        "# address, where a stage of each node finds a control plane that is alive, or a name or virtual address that can"
    )?;
    writeln!(out, "# move to another machine.")?;
    writeln!(out, "endpoint = {}", quoted(endpoint))
}

fn write_nodes(out: &mut String, control_planes: &[IpAddr], workers: &[IpAddr]) -> std::fmt::Result {
    writeln!(
        out,
        "\n# The machines. `roles` are control-plane, worker, and etcd for an etcd outside the control planes."
    )?;
    writeln!(out, "# More keys of a node:")?;
    writeln!(out, "#   labels = {{ disk = \"ssd\" }}")?;
    writeln!(out, "#   taints = [\"dedicated=db:NoSchedule\"]")?;
    writeln!(out, "#   connection = \"local\"                         # this machine itself, without SSH")?;
    writeln!(out, "#   ssh = {{ host = \"…\", host-key = \"SHA256:…\" }}  # what differs from [ssh]")?;
    // Without workers the control planes must take workloads.
    let roles = if workers.is_empty() { r#"["control-plane", "worker"]"# } else { r#"["control-plane"]"# };
    let control_planes =
        control_planes.iter().zip(1..).map(|(address, number)| (format!("cp{number}"), address, roles));
    let workers =
        workers.iter().zip(1..).map(|(address, number)| (format!("w{number}"), address, r#"["worker"]"#));
    for (position, (name, address, roles)) in control_planes.chain(workers).enumerate() {
        let gap = if position == 0 { "" } else { "\n" };
        writeln!(out, "{gap}[[node]]\nname = {}\naddress = \"{address}\"\nroles = {roles}", quoted(&name))?;
    }
    Ok(())
}

fn write_chain(out: &mut String, chain: &[ChainEntry<'_>]) -> std::fmt::Result {
    writeln!(
        out,
        "\n# The chain of stages: each is a plugin, and `version` and `[stage.config]` can be given for each. What depends on what"
    )?;
    writeln!(out, "# is known to the plugins; the order here decides the rest.\n")?;
    for (position, ChainEntry { plugin, summary, .. }) in chain.iter().enumerate() {
        let gap = if position == 0 { "" } else { "\n" };
        let summary: String = summary.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let comment =
            if summary.trim().is_empty() { String::new() } else { format!("# {}\n", summary.trim()) };
        writeln!(out, "{gap}{comment}[[stage]]\nuse = {}", quoted(plugin))?;
    }
    Ok(())
}

/// The first pair of networks that no machine is in.
fn networks<'a>(machines: impl Iterator<Item = &'a IpAddr> + Clone) -> (&'static str, &'static str) {
    let v6 = machines.clone().next().is_some_and(IpAddr::is_ipv6);
    let candidates = if v6 { NETWORKS_V6 } else { NETWORKS_V4 };
    let free = |text: &str| {
        text.parse::<IpNet>().is_ok_and(|network| !machines.clone().any(|address| network.contains(address)))
    };
    let chosen =
        candidates.iter().find(|(pods, services)| free(pods) && free(services)).or(candidates.first());
    chosen.copied().unwrap_or(("", ""))
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml_edit::Value::from(text).to_string()
}
