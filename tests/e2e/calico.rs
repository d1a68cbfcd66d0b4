//! Calico: pods across nodes, policies, what is refused on a living cluster, and what is left of it.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::support::Lab;
use crate::support::footprint::Footprint;

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn calico_connects_pods_and_keeps_to_policies() -> Result<()> {
    let lab = Lab::fresh("calico")?;
    let before = Footprint::of(&lab, "w1")?;
    bad_pools_are_refused_before_a_node_is_touched(&lab)?;

    lab.ksp(&["up", "--yes"])?.expect(0)?.says("Cluster calico is ready")?;
    ksp_lab::proof::show(&lab.scenario)?;
    ksp_lab::traffic::show(&lab.scenario)?;
    it_is_what_the_manifest_says(&lab)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;

    pools_stay_what_they_are(&lab)?;
    another_setting_is_followed(&lab)?;
    a_worker_is_left_as_it_was(&lab, &before)
}

/// The one pool, with a key that the manifest does not have.
fn pool(key: &str) -> String {
    format!("pools = [{{ {key} }}]\n")
}

/// The manifest with a line more for Calico.
fn with(manifest: &str, line: &str) -> String {
    const HEAD: &str = "use = \"ksp/calico\"\n[stage.config]\n";
    manifest.replacen(HEAD, &format!("{HEAD}{line}"), 1)
}

fn bad_pools_are_refused_before_a_node_is_touched(lab: &Lab) -> Result<()> {
    for (key, said) in [
        ("cidr = \"10.96.0.0/16\"", "overlaps Service addresses"),
        ("encapsulation = \"ipip\"", "needs BGP"),
        ("block-size = 12", "no size of a block"),
    ] {
        lab.edit(|manifest| with(manifest, &pool(key)))?;
        lab.ksp(&["up", "--yes"])?.expect(3)?.says(said)?;
        lab.edit(|manifest| manifest.replacen(&pool(key), "", 1))?;
    }
    ensure!(lab.on("w1", "ls -d /var/lib/ksp 2>/dev/null || true")?.is_empty(), "the node was touched");
    Ok(())
}

fn it_is_what_the_manifest_says(lab: &Lab) -> Result<()> {
    // From pod network to pod network by VXLAN, between the nodes' own addresses (T38).
    let address = lab.scenario.node("w1")?.address;
    let tunnel = lab.on("w1", "ip -details link show vxlan.calico")?;
    ensure!(tunnel.contains(&format!("local {address} ")) && tunnel.contains("mtu 1450"), "{tunnel}");
    let routes = lab.on("w1", "ip route show root 10.244.0.0/16")?;
    ensure!(routes.lines().any(|line| line.contains("dev vxlan.calico")), "{routes}");
    ensure!(lab.on("w1", "ls /etc/cni/net.d/*.conflist")?.trim().ends_with("/10-calico.conflist"));

    // Agents have what they know from Typha, on a node of its own each.
    let peers = lab.on("w1", "ss -Htn state established dport = :5473")?;
    ensure!(!peers.trim().is_empty(), "the agent of w1 is not connected to Typha");
    let typhas = "-n calico-system get pods -l k8s-app=calico-typha -o jsonpath={.items[*].spec.nodeName}";
    ensure!(lab.kubectl(typhas)?.split_whitespace().count() == 2);

    let pools = lab.on("cp1", "calicoctl get ippools -o wide")?;
    ensure!(pools.contains("10.244.0.0/16") && pools.contains("Always"), "{pools}");
    let nodes = lab.on("cp1", "calicoctl get nodes")?;
    ensure!(["cp1", "w1", "w2"].iter().all(|name| nodes.contains(name)), "{nodes}");
    // Pods that were removed a moment ago give their addresses back.
    ksp_lab::wait::until("no address is lost", Duration::from_secs(60), || {
        let check = lab.on("cp1", "calicoctl ipam check")?;
        ensure!(check.contains("found 0 problems"), "{check}");
        Ok(())
    })
}

fn pools_stay_what_they_are(lab: &Lab) -> Result<()> {
    for (key, said) in [
        ("cidr = \"10.244.0.0/17\"", "running pods keep their addresses"),
        ("encapsulation = \"vxlan-cross-subnet\"", "do not reach pods"),
        ("name = \"other\"", "is in use in the cluster"),
    ] {
        lab.edit(|manifest| with(manifest, &pool(key)))?;
        lab.ksp(&["up", "--yes"])?.expect(3)?.says("calico.pool")?.says(said)?;
        lab.edit(|manifest| manifest.replacen(&pool(key), "", 1))?;
    }
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    Ok(())
}

/// The agents follow their settings while they run; a change of the plugin's is a new pod on each node.
fn another_setting_is_followed(lab: &Lab) -> Result<()> {
    lab.edit(|manifest| {
        manifest.replacen("xdpEnabled = false", "xdpEnabled = false, logSeverityScreen = \"Warning\"", 1)
    })?;
    lab.edit(|manifest| with(manifest, "mtu = 1400\n"))?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    let mtu = lab.on(
        "w1",
        "cat /sys/class/net/vxlan.calico/mtu; grep -o '\"mtu\":[0-9]*' /etc/cni/net.d/10-calico.conflist",
    )?;
    ensure!(mtu.split_whitespace().collect::<Vec<_>>() == ["1400", "\"mtu\":1400"], "{mtu}");
    ksp_lab::traffic::show(&lab.scenario)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    Ok(())
}

fn a_worker_is_left_as_it_was(lab: &Lab, before: &Footprint) -> Result<()> {
    lab.ksp(&["reset", "--node", "w1", "--confirm", "calico", "--yes"])?.expect(0)?;
    before.expect_nothing_new(lab)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    ksp_lab::proof::show(&lab.scenario)
}
