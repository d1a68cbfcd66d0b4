//! Newer releases of what a stage brings, on a cluster that lives: node by node, and no further than the first that does not come back.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use ksp_lab::component::Component;

use crate::support::Lab;
use crate::support::workload::{self, serving};

const NODES: [&str; 3] = ["cp1", "w1", "w2"];

/// containerd runs, and serves no kubelet.
const WITHOUT_CRI: &str = "[stage.config.settings]\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n";

/// A line of containerd's settings, which the key above has to stand before.
const SETTINGS: &str = "[stage.config.settings.plugins.";

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn newer_releases_are_rolled_out_node_by_node() -> Result<()> {
    let lab = Lab::fresh("upgrade")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    workload::start(&lab)?;
    the_runtime_is_upgraded_under_running_containers(&lab)?;
    a_runtime_that_does_not_serve_stops_at_the_first(&lab)?;
    a_network_whose_image_is_nowhere_is_not_begun(&lab)?;
    the_network_is_upgraded_under_running_pods(&lab)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    ksp_lab::proof::show(&lab.scenario)
}

fn the_runtime_is_upgraded_under_running_containers(lab: &Lab) -> Result<()> {
    let (old, new) = (version("containerd")?, version("containerd-next")?);
    let before = containers(lab)?;
    write_version(lab, "ksp/containerd", &old, &new)?;
    lab.ksp(&["plan", "--exit-code", "--stage", "containerd"])?
        .expect(6)?
        .says(&new)?
        .says("containerd is restarted; containers keep running")?;
    serving(lab, "w1", || lab.ksp(&["up", "--yes"])?.expect(0)?.says("is ready").map(drop))?;
    for node in NODES {
        let found = lab.on(node, "ctr version | sed -n 's/^ *Version: *v//p' | sort -u")?;
        ensure!(found.trim() == new, "{node}: {found}");
    }
    let after = containers(lab)?;
    ensure!(before == after, "containers ended:\n{before}\nbecame\n{after}");
    // Kubelets report it with their next status.
    ksp_lab::wait::until("all kubelets report it", Duration::from_secs(60), || {
        let path = "{.items[*].status.nodeInfo.containerRuntimeVersion}";
        let found = lab.kubectl(&format!("get nodes -o jsonpath={path}"))?;
        ensure!(found.split_whitespace().all(|it| it == format!("containerd://{new}")), "{found}");
        Ok(())
    })
}

/// A daemon that runs is not enough: the worker that comes first is the last one.
fn a_runtime_that_does_not_serve_stops_at_the_first(lab: &Lab) -> Result<()> {
    let since = |node: &str| lab.on(node, "systemctl show -P ActiveEnterTimestampMonotonic containerd");
    let before = [since("w1")?, since("w2")?];
    lab.edit(|manifest| manifest.replacen(SETTINGS, &format!("{WITHOUT_CRI}{SETTINGS}"), 1))?;
    serving(lab, "cp1", || {
        lab.ksp(&["up", "--yes"])?.expect(1)?.says("containerd serves the kubelet").map(drop)
    })?;
    let after = [since("w1")?, since("w2")?];
    let restarted = before.iter().zip(&after).filter(|(before, after)| before != after).count();
    ensure!(restarted == 1, "{restarted} of 2 workers were restarted: {before:?} became {after:?}");

    lab.edit(|manifest| manifest.replacen(WITHOUT_CRI, "", 1))?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is ready")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date").map(drop)
}

/// Images are on all nodes before the first agent is replaced.
fn a_network_whose_image_is_nowhere_is_not_begun(lab: &Lab) -> Result<()> {
    let (old, nowhere) = (version("flannel")?, "0.0.1");
    let agents = "get daemonset -n kube-flannel kube-flannel-ds -o jsonpath={.metadata.generation}";
    let before = lab.kubectl(agents)?;
    write_version(lab, "ksp/flannel", &old, nowhere)?;
    lab.ksp(&["up", "--yes"])?.expect(1)?.says("docker.io/flannel/flannel:v0.0.1")?;
    let after = lab.kubectl(agents)?;
    ensure!(before == after, "the agents were changed: {before} became {after}");
    write_version(lab, "ksp/flannel", nowhere, &old)
}

fn the_network_is_upgraded_under_running_pods(lab: &Lab) -> Result<()> {
    let (old, new) = (version("flannel")?, version("flannel-next")?);
    write_version(lab, "ksp/flannel", &old, &new)?;
    serving(lab, "w1", || lab.ksp(&["up", "--yes"])?.expect(0)?.says("is ready").map(drop))?;
    let path = "{.items[*].spec.containers[*].image}";
    let images = lab.kubectl(&format!("get pods -n kube-flannel -o jsonpath={path}"))?;
    let image = format!("docker.io/flannel/flannel:v{new}");
    ensure!(images.split_whitespace().eq([image.as_str(); NODES.len()]), "{images}");
    Ok(())
}

/// The version that the lab builds of a component.
fn version(component: &str) -> Result<String> {
    let found = Component::all()?.into_iter().find(|it| it.name == component);
    found.map(|it| it.version).with_context(|| format!("the lab does not build {component}"))
}

fn write_version(lab: &Lab, stage: &str, old: &str, new: &str) -> Result<()> {
    let line = |version: &str| format!("use = \"{stage}\"\n[stage.config]\nversion = \"{version}\"\n");
    lab.edit(|manifest| manifest.replacen(&line(old), &line(new), 1))
}

/// All containers of the cluster and how often they were started, but for those of `ksp/verify`, which come and go.
fn containers(lab: &Lab) -> Result<String> {
    let columns = "P:.metadata.name,C:.status.containerStatuses[*].containerID,R:.status.containerStatuses[*].restartCount";
    let found = lab
        .kubectl(&format!("get pods -A --no-headers --sort-by=.metadata.name -o custom-columns={columns}"))?;
    Ok(found.lines().filter(|line| !line.starts_with("ksp-verify")).collect::<Vec<_>>().join("\n"))
}
