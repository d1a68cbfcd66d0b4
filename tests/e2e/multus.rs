//! Further networks for pods: a second interface that carries traffic from node to node, by both of Multus's ways, and nothing is left of it.

use std::time::Duration;

use anyhow::{Result, ensure};
use ksp_lab::proof::Kubectl;

use crate::support::Lab;
use crate::support::footprint::Footprint;

/// What only Multus leaves.
const TRACES: &str = "find /etc/cni/net.d /opt/cni/bin /run/multus /run/k8s.cni.cncf.io /var/lib/cni/multus 2>/dev/null \
    | grep -E 'multus|passthru|k8s.cni' || true";

/// Bytes that came in by a pod's second interface.
const RECEIVED: &str = "cat /sys/class/net/net1/statistics/rx_bytes";

/// A server that listens on an address of the second network only, a client on the other worker, and a pod that asks for nothing.
const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: right
  annotations: { k8s.v1.cni.cncf.io/networks: '[{"name": "lan", "ips": ["192.168.77.2/24"]}]' }
spec:
  nodeSelector: { kubernetes.io/hostname: w2 }
  terminationGracePeriodSeconds: 0
  containers:
    - name: right
      image: docker.io/library/busybox:1.36
      command: [sh, -c, "mkdir /www && echo over the lan > /www/index.html && exec httpd -f -p 192.168.77.2:8080 -h /www"]
---
apiVersion: v1
kind: Pod
metadata:
  name: left
  annotations: { k8s.v1.cni.cncf.io/networks: '[{"name": "lan", "ips": ["192.168.77.1/24"]}]' }
spec:
  nodeSelector: { kubernetes.io/hostname: w1 }
  terminationGracePeriodSeconds: 0
  containers:
    - name: left
      image: docker.io/library/busybox:1.36
      command: [sleep, "3600"]
---
apiVersion: v1
kind: Pod
metadata:
  name: plain
spec:
  nodeSelector: { kubernetes.io/hostname: w1 }
  terminationGracePeriodSeconds: 0
  containers:
    - name: plain
      image: docker.io/library/busybox:1.36
      command: [sleep, "3600"]
"#;

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn pods_have_a_second_network() -> Result<()> {
    let lab = Lab::fresh("multus")?;
    let before = Footprint::of(&lab, "w1")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("Cluster multus is ready")?;
    ksp_lab::proof::show(&lab.scenario)?;
    ensure!(lab.on("w1", "cat /etc/cni/net.d/00-multus.conf")?.contains("\"multus-shim\""));
    let attachments = lab.kubectl("get network-attachment-definitions -A --no-headers")?;
    ensure!(attachments.lines().count() == 2 && attachments.contains("team-a"), "{attachments}");
    the_second_network_carries_traffic(&lab)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;

    lab.edit(|manifest| manifest.replacen("version = \"4.2.2\"", "version = \"4.2.2\"\nmode = \"thin\"", 1))?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    ensure!(
        !lab.on("w1", "cat /etc/cni/net.d/00-multus.conf*")?.contains("shim"),
        "the daemon is still asked"
    );
    ensure!(lab.on("w1", "ls -d /opt/cni/bin/multus-shim /run/multus 2>/dev/null || true")?.is_empty());
    // Those that the daemon has attached: their interfaces are theirs, and go as they should.
    over_the_lan(&lab)?;
    remove_pods(&lab)?;
    the_second_network_carries_traffic(&lab)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;

    remove_pods(&lab)?;
    a_worker_is_left_as_it_was(&lab, &before)?;
    without_multus_the_first_network_goes_on(&lab)
}

fn the_second_network_carries_traffic(lab: &Lab) -> Result<()> {
    let kubectl = Kubectl::of(&lab.scenario)?;
    kubectl.run("apply -f -").input(PODS).output()?;
    kubectl.run("wait --for=condition=Ready pod/left pod/right pod/plain --timeout=120s").output()?;
    over_the_lan(lab)?;

    // Who asked for nothing has nothing more.
    let interfaces = lab.kubectl("exec plain -- ls /sys/class/net")?;
    ensure!(interfaces.split_whitespace().eq(["eth0", "lo"]), "{interfaces}");
    let status = lab.kubectl("get pod left -o jsonpath={.metadata.annotations}")?;
    ensure!(status.contains("network-status") && status.contains("192.168.77.1"), "{status}");
    Ok(())
}

/// From a pod on w1 to a pod on w2 by addresses that no node and no other network has.
fn over_the_lan(lab: &Lab) -> Result<()> {
    let route = lab.kubectl("exec left -- ip route get 192.168.77.2")?;
    ensure!(route.contains("dev net1"), "{route}");
    let received =
        || Ok::<u64, anyhow::Error>(lab.kubectl(&format!("exec left -- {RECEIVED}"))?.trim().parse()?);
    let before = received()?;
    let page = ksp_lab::wait::until("the page over the second network", Duration::from_secs(20), || {
        lab.kubectl("exec left -- wget -q -O - http://192.168.77.2:8080/")
    })?;
    ensure!(page.trim() == "over the lan", "{page}");
    let after = received()?;
    ensure!(after > before + page.len() as u64, "{before} bytes before, {after} after: it went elsewhere");
    Ok(())
}

fn remove_pods(lab: &Lab) -> Result<()> {
    lab.kubectl("delete pod left right plain --wait=true --timeout=60s").map(drop)
}

fn a_worker_is_left_as_it_was(lab: &Lab, before: &Footprint) -> Result<()> {
    lab.ksp(&["reset", "--node", "w1", "--confirm", "multus", "--yes"])?.expect(0)?;
    before.expect_nothing_new(lab)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    the_second_network_carries_traffic(lab)?;
    remove_pods(lab)
}

/// The stage leaves the manifest, and takes all that it brought with it.
fn without_multus_the_first_network_goes_on(lab: &Lab) -> Result<()> {
    // What stands behind a heading is one stage, with the heading of the next one at its end.
    let others = |section: &&str| !section.starts_with("use = \"ksp/multus\"");
    lab.edit(|manifest| manifest.split_inclusive("[[stage]]\n").filter(others).collect())?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    for node in ["cp1", "w1", "w2"] {
        let traces = lab.on(node, TRACES)?;
        ensure!(traces.is_empty(), "{node}: {traces}");
    }
    ensure!(lab.kubectl("get crd")?.lines().all(|line| !line.contains("k8s.cni.cncf.io")));
    ksp_lab::proof::show(&lab.scenario)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    Ok(())
}
