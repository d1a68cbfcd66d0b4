//! Another network on a living cluster (T52), and stages that leave the manifest.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ksp_lab::scenario::Scenario;

use crate::support::Lab;
use crate::support::footprint::Footprint;

/// The stage of the network as the scenario with that network writes it.
fn stage(scenario: &str, plugin: &str) -> Result<String> {
    let manifest = ksp_lab::manifest::render(&Scenario::load(scenario)?)?;
    let start = manifest.find(&format!("[[stage]]\nuse = \"{plugin}\"")).context("the stage is not there")?;
    let rest = &manifest[start..];
    let end = rest[1..].find("\n[[stage]]").map_or(rest.len(), |at| at + 2);
    Ok(rest[..end].to_owned())
}

/// A Deployment whose pods know nothing of what happens.
const WEB: &str =
    "create deployment web -n default --image=docker.io/library/busybox:1.36 --replicas=2 -- sleep 3600";

fn web_addresses(lab: &Lab) -> Result<Vec<String>> {
    let path = "{.items[*].status.podIP}";
    let found = lab.kubectl(&format!("get pods -n default -l app=web -o jsonpath={path}"))?;
    Ok(found.split_whitespace().map(str::to_owned).collect())
}

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn another_network_needs_a_maintenance_window() -> Result<()> {
    let lab = Lab::fresh("rebuild")?;
    let before = Footprint::of(&lab, "w1")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    lab.kubectl(WEB)?;
    lab.kubectl("rollout status deployment/web -n default --timeout=60s")?;
    let old = web_addresses(&lab)?;

    let (flannel, calico) = (stage("rebuild", "ksp/flannel")?, stage("calico", "ksp/calico")?);
    lab.edit(|manifest| manifest.replace(&flannel, &calico))?;
    let refused = lab.ksp(&["up", "--yes"])?.expect(3)?;
    refused.says("ksp::stage::network-rebuild")?.says("--allow-network-rebuild")?;
    ensure!(!lab.on("w1", "ls /sys/class/net")?.contains("cali"), "it was begun");

    // Killed in the middle, it goes on.
    lab.kill_with(&["--allow-network-rebuild"], "calico", "kube-apply")?;
    lab.ksp(&["up", "--yes", "--allow-network-rebuild", "--lock-timeout", "2m"])?.expect(0)?;
    for node in ["cp1", "w1", "w2"] {
        let left = lab.on(
            node,
            "ls -d /sys/class/net/cni0 /sys/class/net/flannel.1 /etc/cni/net.d/10-flannel.conflist /run/flannel/subnet.env \
             2>/dev/null; iptables-save | grep FLANNEL; true",
        )?;
        ensure!(left.is_empty(), "left of the old network on {node}: {left}");
    }
    ensure!(
        lab.kubectl("get namespace kube-flannel --ignore-not-found")?.is_empty(),
        "its namespace is left"
    );
    lab.kubectl("rollout status deployment/web -n default --timeout=120s")?;
    // A pod that ends has its address until it has ended.
    ksp_lab::wait::until("pods of the new network only", Duration::from_secs(60), || {
        let new = web_addresses(&lab)?;
        ensure!(new.len() == 2 && new.iter().all(|address| !old.contains(address)), "{old:?} became {new:?}");
        Ok(())
    })?;
    ksp_lab::proof::show(&lab.scenario)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;

    lab.ksp(&["reset", "--confirm", "rebuild"])?.expect(0)?;
    before.expect_nothing_new(&lab)
}
