//! Shows that a pod network carries traffic from node to node and keeps to network policies: a server on w2; a client and a stranger
//! on w1.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::process::run;
use crate::proof::Kubectl;
use crate::scenario::Scenario;
use crate::{tell, wait};

const PODS: &str = include_str!("traffic.yaml");

/// Nobody may reach a pod of the namespace.
const DENY: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: default-deny, namespace: ksp-traffic }
spec: { podSelector: {}, policyTypes: [Ingress] }
";

/// But the client, the server on its port.
const ALLOW: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: allow-client, namespace: ksp-traffic }
spec:
  podSelector: { matchLabels: { app: server } }
  policyTypes: [Ingress]
  ingress:
    - from: [{ podSelector: { matchLabels: { app: client } } }]
      ports: [{ port: 8080 }]
";

/// The client may reach nobody.
const DENY_EGRESS: &str = "
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: deny-egress, namespace: ksp-traffic }
spec: { podSelector: { matchLabels: { app: client } }, policyTypes: [Egress] }
";

const NODE_PORT: u16 = 31880;

/// How long the nodes may need until a policy holds.
const SOON: Duration = Duration::from_secs(40);

/// Shows it, or says what does not work. The namespace is removed afterwards.
pub fn show(scenario: &Scenario) -> Result<()> {
    let traffic = Traffic { kubectl: Kubectl::of(scenario)?, scenario };
    tell::timed("show that pods reach each other, and that policies hold", || {
        let result = traffic.show();
        traffic.kubectl.run("delete namespace ksp-traffic --ignore-not-found --timeout=60s").output()?;
        result
    })
}

struct Traffic<'a> {
    kubectl: Kubectl,
    scenario: &'a Scenario,
}

impl Traffic<'_> {
    fn show(&self) -> Result<()> {
        // The namespace's service account comes a moment after the namespace.
        wait::until("the pods are accepted", Duration::from_secs(30), || self.apply(PODS))?;
        let ready = "-n ksp-traffic wait --for=condition=Ready pod --all --timeout=120s";
        self.kubectl.run(ready).output()?;
        let pod = self.read("pod/server", "{.status.podIP}")?;
        let service = self.read("service/server", "{.spec.clusterIP}")?;
        ensure!(self.read("pod/server", "{.spec.nodeName}")? != self.read("pod/client", "{.spec.nodeName}")?);

        for from in ["client", "stranger"] {
            self.reaches(from, &pod, 8080)?;
            self.reaches(from, &service, 8080)?;
        }
        for node in ["cp1", "w1", "w2"] {
            let address = self.scenario.node(node)?.address.to_string();
            self.reaches("client", &address, NODE_PORT)?;
            let url = format!("http://{address}:{NODE_PORT}/");
            wait::until(&format!("the port of {node} answers from outside"), SOON, || {
                let page =
                    run("curl").args(["--silent", "--show-error", "--max-time", "3", &url]).output()?;
                ensure!(page.trim() == "hello from w2", "{page:?}");
                Ok(())
            })?;
        }
        tell::say(format_args!("from w1 to w2: by the pod's address, by the Service's, by each node's port"));

        self.apply(DENY)?;
        self.does_not_reach("client", &pod)?;
        self.does_not_reach("stranger", &service)?;
        tell::say(format_args!("default-deny: nobody reaches the server"));
        self.apply(ALLOW)?;
        self.reaches("client", &pod, 8080)?;
        self.reaches("client", &service, 8080)?;
        self.does_not_reach("stranger", &pod)?;
        tell::say(format_args!("an allow policy: the client does, a stranger does not"));
        self.apply(DENY_EGRESS)?;
        self.does_not_reach("client", &pod)?;
        self.kubectl.run("-n ksp-traffic delete networkpolicy --all").output()?;
        self.reaches("client", &pod, 8080)?;
        self.reaches("stranger", &service, 8080)
    }

    fn apply(&self, objects: &str) -> Result<()> {
        self.kubectl.run("apply -f -").input(objects).output().map(drop)
    }

    fn read(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl.run(&format!("-n ksp-traffic get {object} -o jsonpath={path}")).output()
    }

    fn ask(&self, from: &str, address: &str, port: u16) -> Result<String> {
        let line = format!("printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {address} {port}");
        self.kubectl.run(&format!("-n ksp-traffic exec {from} -- sh -c")).arg(line).deadline(20).output()
    }

    fn reaches(&self, from: &str, address: &str, port: u16) -> Result<()> {
        wait::until(&format!("{from} reaches {address}:{port}"), SOON, || {
            let answer = self.ask(from, address, port)?;
            ensure!(answer.contains("hello from w2"), "the answer was {answer:?}");
            Ok(())
        })
    }

    /// It soon does not, and then stays so.
    fn does_not_reach(&self, from: &str, address: &str) -> Result<()> {
        let attempt = || match self.ask(from, address, 8080) {
            Ok(answer) if answer.contains("hello") => bail!("it was answered"),
            // Whether the pod can be asked at all is shown by what it reaches before and after.
            _ => Ok(()),
        };
        wait::until(&format!("{from} does not reach {address}"), SOON, attempt)?;
        for _ in 0..2 {
            attempt()?;
        }
        Ok(())
    }
}
