//! Pod networks, with real traffic.

use anyhow::{Result, ensure};

use crate::support::Lab;
use crate::support::footprint::Footprint;

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn flannel_sends_packets_as_they_are() -> Result<()> {
    let lab = Lab::fresh("flannel")?;
    let before = Footprint::of(&lab, "w1")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("Cluster flannel is ready")?;
    ksp_lab::proof::show(&lab.scenario)?;

    // From pod network to pod network by way of the other node's own address (T38), without a tunnel.
    let next = lab.scenario.node("w2")?.address;
    let routes = lab.on("w1", "ip route show root 10.244.0.0/16")?;
    ensure!(routes.lines().any(|line| line.contains(&format!("via {next} dev eth0"))), "{routes}");
    ensure!(
        lab.on("w1", "ls -d /sys/class/net/flannel.1 2>/dev/null || true")?.is_empty(),
        "there is a tunnel"
    );
    ensure!(lab.on("w1", "nft list tables")?.contains("flannel"), "no rules by nftables");
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;

    another_back_end_is_refused(&lab)?;
    large_packets_that_get_lost_are_found(&lab)?;
    another_setting_is_rolled_out(&lab)?;

    // Images stay in containerd's store, which is a volume here; everything else goes.
    lab.ksp(&["reset", "--confirm", "flannel"])?.expect(0)?;
    before.expect_nothing_new(&lab)
}

fn another_back_end_is_refused(lab: &Lab) -> Result<()> {
    lab.edit(|manifest| manifest.replace("\"host-gw\"", "\"vxlan\""))?;
    lab.ksp(&["up", "--yes"])?.expect(4)?.says("flannel.backend")?.says("do not reach each other")?;
    ensure!(lab.on("w1", "ls -d /sys/class/net/flannel.1 2>/dev/null || true")?.is_empty(), "it was begun");
    lab.edit(|manifest| manifest.replace("\"vxlan\"", "\"host-gw\""))
}

/// T50: a way between nodes that is narrower than the network takes it for.
fn large_packets_that_get_lost_are_found(lab: &Lab) -> Result<()> {
    const NARROW: &str = "nft add table ip narrow; nft 'add chain ip narrow in { type filter hook prerouting priority -300; }'; \
        nft add rule ip narrow in ip saddr 10.244.0.0/16 meta length '>' 1400 drop";
    const VERIFY: &str = "use = \"ksp/verify\"";
    let impatient = format!("{VERIFY}\n[stage.config]\ndeadline-seconds = 25");
    lab.edit(|manifest| manifest.replace(VERIFY, &impatient))?;
    lab.on("w2", NARROW)?;
    lab.kubectl("delete daemonset kube-flannel-ds -n kube-flannel")?;
    lab.ksp(&["up", "--yes"])?.expect(1)?.says("short answers arrive")?.says("MTU")?;
    lab.on("w2", "nft delete table ip narrow")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    lab.edit(|manifest| manifest.replace(&impatient, VERIFY))
}

/// The agents read their settings when they start.
fn another_setting_is_rolled_out(lab: &Lab) -> Result<()> {
    lab.edit(|manifest| manifest.replace("nftables = true", "nftables = false"))?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    ensure!(lab.on("w1", "iptables-save -t nat")?.contains("FLANNEL"), "no rules by iptables");
    ksp_lab::proof::show(&lab.scenario)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    Ok(())
}
