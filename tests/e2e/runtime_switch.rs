//! A living cluster gets another container runtime by an edit of its manifest, while a workload serves (T46).

use anyhow::{Context, Result, bail, ensure};

use crate::support::Lab;
use crate::support::workload::{self, serving};

/// A pod whose budget lets nobody evict it.
const HELD: &str = include_str!("runtime_switch.yaml");

/// CRI-O as the lab's nodes need it.
const CRI_O: &str = r#"version = "1.36.3"
runtime = "runc"
open-files = 20000
drain-timeout = 45
[stage.config.settings.crio.runtime.runtimes.runc]
runtime_path = "/usr/local/lib/ksp-lab/runc"
"#;

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn a_living_cluster_gets_another_runtime() -> Result<()> {
    let lab = Lab::fresh("switch")?;
    let containerd = std::fs::read_to_string(lab.scenario.manifest_path())?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    workload::start(&lab)?;
    workload::apply(&lab, HELD, &["held"])?;

    let mixed = with_cri_o(&containerd, "!name=cp1", Some("name=cp1"))?;
    lab.edit(|_| mixed)?;
    a_budget_that_holds_a_pod_is_named(&lab)?;
    workers_change_one_by_one_and_nobody_notices(&lab)?;

    let everywhere = with_cri_o(&containerd, "", None)?;
    lab.edit(|_| everywhere)?;
    // The only control plane: its API is away meanwhile, and what runs goes on.
    serving(&lab, "w1", || lab.ksp(&["up", "--yes"])?.expect(0)?.says("is ready").map(drop))?;
    expect_runtimes(&lab, [("cp1", "cri-o"), ("w1", "cri-o"), ("w2", "cri-o")])?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;

    lab.edit(|_| containerd)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is ready")?;
    expect_runtimes(&lab, [("cp1", "containerd"), ("w1", "containerd"), ("w2", "containerd")])?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    ksp_lab::proof::show(&lab.scenario)
}

/// The manifest with CRI-O on some nodes, and containerd on others or nowhere.
fn with_cri_o(manifest: &str, nodes: &str, containerd: Option<&str>) -> Result<String> {
    let line = |nodes: &str| if nodes.is_empty() { String::new() } else { format!("nodes = \"{nodes}\"\n") };
    let start = "[[stage]]\nuse = \"ksp/containerd\"\n";
    let (head, rest) = manifest.split_once(start).context("there is no containerd")?;
    let (config, tail) = rest.split_once("[[stage]]").context("there is no stage behind it")?;
    let kept = containerd.map(|nodes| format!("{start}{}{config}", line(nodes))).unwrap_or_default();
    let added = format!("[[stage]]\nuse = \"ksp/cri-o\"\n{}[stage.config]\n{CRI_O}\n", line(nodes));
    Ok(format!("{head}{kept}{added}[[stage]]{tail}"))
}

fn a_budget_that_holds_a_pod_is_named(lab: &Lab) -> Result<()> {
    lab.ksp(&["plan", "--stage", "cri-o"])?
        .says("switch the kubelet from containerd to CRI-O")?
        .says("every container on the node ends and starts anew with CRI-O")?;
    lab.ksp(&["up", "--yes"])?
        .expect(1)?
        .says("default/held-")?
        .says("The disruption budget held needs 1 healthy pods and has 1 currently")?;
    let closed = lab.kubectl("get nodes -o jsonpath={.items[*].spec.unschedulable}")?;
    ensure!(closed.trim().is_empty(), "a node that was not drained is still closed: {closed}");
    let node = lab.kubectl("get pods -l app=held -o jsonpath={.items[0].spec.nodeName}")?;
    let runs = lab.on(node.trim(), "systemctl is-active kubelet containerd")?;
    ensure!(runs.lines().all(|line| line == "active"), "{node}: {runs}");
    lab.kubectl("delete pdb held").map(drop)
}

fn workers_change_one_by_one_and_nobody_notices(lab: &Lab) -> Result<()> {
    serving(lab, "cp1", || {
        // Killed when the kubelet of a worker is stopped and its containers end.
        let stopped = || {
            let stopped = |node: &str| lab.on(node, "! systemctl is-active -q kubelet").is_ok();
            if stopped("w1") || stopped("w2") { Ok(()) } else { bail!("both kubelets run") }
        };
        let run = lab.kill_when("cri-o", "-- switch", stopped)?;
        lab.ksp(&["unlock", &run])?.expect(0)?;
        lab.ksp(&["up", "--yes"])?.expect(0)?.says("is ready").map(drop)
    })?;
    expect_runtimes(lab, [("cp1", "containerd"), ("w1", "cri-o"), ("w2", "cri-o")])?;
    for node in ["w1", "w2"] {
        let left = lab.on(
            node,
            "systemctl is-active containerd; systemctl is-enabled containerd; ls /var/lib/kubelet/ksp-* 2>/dev/null; pgrep containerd-shim; true",
        )?;
        ensure!(left.split_whitespace().eq(["inactive", "disabled"]), "{node}: {left}");
    }
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date").map(drop)
}

fn expect_runtimes(lab: &Lab, expected: [(&str, &str); 3]) -> Result<()> {
    let words = "get nodes -o custom-columns=N:.metadata.name,R:.status.nodeInfo.containerRuntimeVersion,U:.spec.unschedulable --no-headers";
    let found = lab.kubectl(words)?;
    for (node, runtime) in expected {
        let line = found.lines().find(|line| line.split_whitespace().next() == Some(node));
        let good = line.is_some_and(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            words[1].starts_with(&format!("{runtime}://")) && words[2] == "<none>"
        });
        ensure!(good, "{node} should run {runtime} and take pods:\n{found}");
    }
    lab.kubectl("wait --for=condition=Ready node --all --timeout=10s").map(drop)
}
