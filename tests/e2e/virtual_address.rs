//! A virtual address of the API that one of the control planes holds: it leaves a machine that dies, and one whose API server is away.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use ksp_lab::sequence::Sequence;

use crate::support::{Lab, STACKED};

/// What every node uses.
const ENDPOINT: &str = "https://10.89.7.50:6443";
/// From the loss of the holder until its clients work again.
const FAILOVER: Duration = Duration::from_secs(15);

const PLANES: [&str; 3] = ["cp1", "cp2", "cp3"];

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn a_virtual_address_moves_to_a_control_plane_that_works() -> Result<()> {
    let lab = Lab::fresh("ha-vip")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("Cluster ha-vip is ready")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    let first = holder(&lab, &PLANES)?;
    let others: Vec<&str> = PLANES.into_iter().filter(|name| *name != first).collect();
    let writer = others.iter().max().context("there are no others")?;
    let sequence = Sequence::start(&lab.scenario, writer, ENDPOINT)?;

    lab.scenario.node(first)?.kill()?;
    let second = moves(&lab, first, &others)?;
    sequence.passes(5)?;
    lab.scenario.node(first)?.start()?;
    ksp_lab::wait::until("all members take part again", Duration::from_secs(180), || {
        lab.on(second, &format!("{STACKED} endpoint health --cluster"))
    })?;
    serves(&lab, first)?;
    ensure!(holder(&lab, &PLANES)? == second, "who came back took the address from who serves");

    // The machine lives, and its API server does not.
    let (manifest, aside) = ("/etc/kubernetes/manifests/kube-apiserver.yaml", "/root/kube-apiserver.yaml");
    lab.on(second, &format!("mv {manifest} {aside}"))?;
    let others: Vec<&str> = PLANES.into_iter().filter(|name| *name != second).collect();
    moves(&lab, second, &others)?;
    sequence.passes(5)?;
    lab.on(second, &format!("mv {aside} {manifest}"))?;
    serves(&lab, second)?;
    let seen = sequence.finish()?;
    ensure!(seen.longest_gap < FAILOVER, "{seen:?}");
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    Ok(())
}

/// Who of these has the address; exactly one.
fn holder<'a>(lab: &Lab, of: &[&'a str]) -> Result<&'a str> {
    let has =
        |name: &str| lab.on(name, "ip -o addr show to 10.89.7.50").is_ok_and(|it| !it.trim().is_empty());
    let holders: Vec<&str> = of.iter().copied().filter(|name| has(name)).collect();
    ensure!(holders.len() == 1, "{holders:?} have the address");
    Ok(holders[0])
}

/// Waits until one of these has it and serves there.
fn moves<'a>(lab: &Lab, from: &str, to: &[&'a str]) -> Result<&'a str> {
    let began = Instant::now();
    let new = ksp_lab::wait::until(&format!("the address leaves {from}"), FAILOVER, || holder(lab, to))?;
    ksp_lab::tell::say(format_args!("{new} has the address {:.1?} after {from} lost it", began.elapsed()));
    Ok(new)
}

/// Waits until a control plane's own API server is ready.
fn serves(lab: &Lab, node: &str) -> Result<()> {
    let server = lab.scenario.node(node)?.address;
    let ask = format!(
        "kubectl --kubeconfig=/etc/kubernetes/admin.conf --server=https://{server}:6443 get --raw=/readyz"
    );
    ksp_lab::wait::until(&format!("{node} serves"), Duration::from_secs(180), || lab.on(node, &ask).map(drop))
}
