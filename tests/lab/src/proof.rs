//! Shows that a cluster works: nodes, DNS, and a pod on w1 that reaches a pod on w2 through a Service.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::component::Component;
use crate::process::{Run, run as program};
use crate::scenario::{Scenario, shown};
use crate::{tell, wait};

/// A server on w2, a Service, a client on w1.
const PODS: &str = include_str!("proof.yaml");

/// Shows it, or says what does not work.
pub fn show(scenario: &Scenario) -> Result<()> {
    let kubectl = Kubectl::of(scenario)?;
    tell::timed("show that the cluster works", || prove(&kubectl))
}

/// The cache's kubectl with the scenario's kubeconfig.
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    /// For a scenario that `ksp up` has finished.
    pub fn of(scenario: &Scenario) -> Result<Self> {
        let kubeconfig = scenario.kubeconfig();
        if !kubeconfig.is_file() {
            bail!("ksp wrote no {}", shown(&kubeconfig));
        }
        Ok(Self { program: Component::load("kubernetes")?.binary("kubectl")?, kubeconfig })
    }

    /// `kubectl` with these words.
    pub fn run(&self, line: &str) -> Run {
        program(&self.program)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(line.split_whitespace())
            .deadline(150)
    }
}

fn prove(kubectl: &Kubectl) -> Result<()> {
    kubectl.run("get nodes -o wide").shown()?;
    kubectl.run("get pods --all-namespaces -o wide").shown()?;
    let result = talk(kubectl);
    kubectl.run("delete namespace ksp-demo --ignore-not-found --wait=false").output()?;
    result
}

fn talk(kubectl: &Kubectl) -> Result<()> {
    // The namespace's service account comes a moment after the namespace.
    wait::until("the demo's pods are accepted", Duration::from_secs(30), || {
        kubectl.run("apply -f -").input(PODS).output()
    })?;
    kubectl.run("-n ksp-demo wait --for=condition=Ready pod --all --timeout=120s").output()?;
    kubectl.run("-n ksp-demo get pods -o wide").shown()?;
    let client = |command: &str| {
        wait::until(&format!("the client's `{command}`"), Duration::from_secs(60), || {
            kubectl.run(&format!("-n ksp-demo exec client -- {command}")).deadline(20).output()
        })
    };
    let name = client("nslookup kubernetes.default.svc.cluster.local")?;
    tell::say(format_args!("CoreDNS answers a pod:\n{}", name.trim()));
    let page = client("wget -q -O - http://web.ksp-demo.svc.cluster.local:8080/")?;
    if page.trim() != "hello from w2" {
        bail!("the Service answered {page:?}");
    }
    tell::say(format_args!("a pod on w1 read through the Service's name: {}", page.trim()));
    Ok(())
}
