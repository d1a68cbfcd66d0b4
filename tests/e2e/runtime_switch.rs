//! A living cluster gets another container runtime by an edit of its manifest, while a workload serves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ksp_lab::proof::Kubectl;

use crate::support::Lab;

/// Two replicas of which one may be away, behind a port of every node; and a pod whose budget lets nobody evict it.
const WORKLOAD: &str = include_str!("runtime_switch.yaml");

/// The port on every node.
const PORT: u16 = 30080;

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
    workload(&lab)?;

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

fn workload(lab: &Lab) -> Result<()> {
    let kubectl = Kubectl::of(&lab.scenario)?;
    // The namespace's service account comes a moment after the namespace.
    ksp_lab::wait::until("the workload is accepted", Duration::from_secs(30), || {
        kubectl.run("apply -f -").input(WORKLOAD).output()
    })?;
    for name in ["web", "held"] {
        kubectl.run(&format!("rollout status deployment/{name} --timeout=120s")).output()?;
    }
    Ok(())
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

/// Runs something while a client asks the workload at a node. A request that fails is made once more, and that one must not fail.
fn serving(lab: &Lab, at: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    let client = Client::start(SocketAddr::new(lab.scenario.node(at)?.address, PORT));
    let result = run();
    let seen = client.finish()?;
    result?;
    ksp_lab::tell::say(format_args!(
        "{} requests at {at}, {} made once more, {} failed",
        seen.asked,
        seen.again,
        seen.failed.len()
    ));
    ensure!(seen.asked > 50, "only {} requests", seen.asked);
    ensure!(seen.failed.is_empty(), "of {} requests these failed twice: {:?}", seen.asked, seen.failed);
    Ok(())
}

struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

#[derive(Default)]
struct Seen {
    asked: u32,
    again: u32,
    failed: Vec<String>,
}

impl Client {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !ended.load(Ordering::SeqCst) {
                seen.asked += 1;
                if ask(address).is_err() {
                    seen.again += 1;
                    if let Err(error) = ask(address) {
                        seen.failed.push(format!("{error:#}"));
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            seen
        });
        Self { stop, thread }
    }

    fn finish(self) -> Result<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow::anyhow!("the client ended early"))
    }
}

fn ask(address: SocketAddr) -> Result<()> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains("here I am"), "{answer:?}");
    Ok(())
}
