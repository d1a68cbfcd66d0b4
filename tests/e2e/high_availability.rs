//! Any control plane may die, the first one too: nobody notices for longer than a few seconds, and nothing that was acknowledged is
//! lost.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use ksp_lab::sequence::Sequence;

use crate::support::{Lab, STACKED};

/// What every node uses, on its own loopback.
const ENDPOINT: &str = "https://127.0.0.1:7443";
/// From a machine's death until its clients work again.
const FAILOVER: Duration = Duration::from_secs(15);

/// Since when w1 has been Ready, or not.
const READY: &str = "get node w1 -o jsonpath={.status.conditions[?(@.type=='Ready')].lastTransitionTime}";

/// Server and file of every kubeconfig that Kubernetes itself uses on a node.
const SERVERS: &str = "grep -H 'server:' /etc/kubernetes/*.conf";

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn any_control_plane_may_die() -> Result<()> {
    let lab = Lab::fresh("ha")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("Cluster ha is ready")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    three_vote(&lab, "cp1")?;
    for node in ["cp3", "w1"] {
        let servers = lab.on(node, SERVERS)?;
        let own = format!("{}:6443", lab.scenario.node(node)?.address);
        for line in servers.lines() {
            // A control plane's own components ask its own API server.
            ensure!(line.contains(ENDPOINT) || line.contains(&own) && node != "w1", "{line}");
        }
    }

    all_have_the_same_keys(&lab)?;
    nobody_has_more_rights_than_needed(&lab)?;
    let ready = lab.kubectl(READY)?;
    let sequence = Sequence::start(&lab.scenario, "w1", ENDPOINT)?;
    // Each in turn: the kubelet's own connection is to one of them.
    for (dead, other) in [("cp1", "cp2"), ("cp2", "cp3"), ("cp3", "cp1")] {
        let connected = connections(&lab, dead)?;
        let killed = Instant::now();
        lab.scenario.node(dead)?.kill()?;
        a_new_pod_runs(&lab, dead)?;
        let noticed = killed.elapsed();
        ksp_lab::tell::say(format_args!(
            "{dead} dead, to which w1 had {connected} connections: a new pod runs on w1 after {noticed:.1?}"
        ));
        ensure!(noticed < FAILOVER, "{noticed:?}");
        sequence.passes(5)?;
        // People switch to another control plane.
        lab.kubectl(&format!("--context=kubernetes-admin@ha-{other} get nodes"))?;
        lab.scenario.node(dead)?.start()?;
        three_vote(&lab, other)?;
        serves(&lab, dead)?;
    }
    let seen = sequence.finish()?;
    ensure!(seen.longest_gap < FAILOVER, "{seen:?}");

    // Nobody gave a command: the nodes that died are Ready, and the worker was all the time.
    lab.kubectl("wait --for=condition=Ready node --all --timeout=60s")?;
    ensure!(lab.kubectl(READY)? == ready, "w1 was not Ready in the meantime");
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    Ok(())
}

/// T23: whoever answers must accept what another has signed.
fn all_have_the_same_keys(lab: &Lab) -> Result<()> {
    let sums = "cd /etc/kubernetes/pki && sha256sum ca.key sa.key sa.pub front-proxy-ca.key etcd/ca.key";
    let [one, two, three] = ["cp1", "cp2", "cp3"].map(|node| lab.on(node, sums));
    let one = one?;
    ensure!(one.lines().count() == 5 && one == two? && one == three?, "keys differ from {one}");
    Ok(())
}

/// T21, T25, T26.
fn nobody_has_more_rights_than_needed(lab: &Lab) -> Result<()> {
    for node in ["cp1", "cp2", "cp3"] {
        let left = "ls /etc/kubernetes/super-admin.conf 2>/dev/null; ls -A /etc/kubernetes/manifests | grep -v '[.]yaml$' || true";
        let left = lab.on(node, left)?;
        ensure!(left.is_empty(), "{node} has {left}");
    }
    let subjects = lab.kubectl("get clusterrolebinding system:node -o jsonpath={.subjects}")?;
    ensure!(
        subjects.is_empty(),
        "the role of nodes is bound to {subjects}: no authorizer would look at which node asks"
    );
    Ok(())
}

/// How many connections w1's balancer has to a control plane.
fn connections(lab: &Lab, to: &str) -> Result<usize> {
    let address = lab.scenario.node(to)?.address;
    let sockets = lab.on("w1", &format!("ss -Htn state established dst {address}:6443"))?;
    Ok(sockets.lines().count())
}

/// A pod that nothing but w1's kubelet can start, made through w1's own loopback.
fn a_new_pod_runs(lab: &Lab, number: &str) -> Result<()> {
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": format!("after-{number}") },
        "spec": {
            "nodeName": "w1", "terminationGracePeriodSeconds": 0,
            "containers": [{ "name": "c", "image": "docker.io/library/busybox:1.36", "command": ["sleep", "600"] }],
        },
    });
    let kubectl = format!("kubectl --kubeconfig=/tmp/sequence.conf --server={ENDPOINT} --request-timeout=2s");
    let line = format!(
        "until echo '{pod}' | {kubectl} apply -f - >/dev/null 2>&1; do sleep 0.2; done
        until [ \"$({kubectl} get pod after-{number} -o 'jsonpath={{.status.phase}}' 2>/dev/null)\" = Running ]; do sleep 0.2; done"
    );
    lab.on("w1", &format!("timeout 60 sh -c {}", quoted(&line))).map(drop)
}

/// Waits until three members vote.
fn three_vote(lab: &Lab, through: &str) -> Result<()> {
    ksp_lab::wait::until("three members vote", Duration::from_secs(120), || {
        let members = lab.on(through, &format!("{STACKED} member list"))?;
        let voting =
            members.lines().filter(|line| line.contains(", started, ") && line.ends_with("false")).count();
        if voting == 3 { Ok(()) } else { bail!("{members}") }
    })
}

/// Waits until a control plane that came back is a whole one again: its API server is ready, with its own member of etcd.
fn serves(lab: &Lab, node: &str) -> Result<()> {
    let server = lab.scenario.node(node)?.address;
    let ask = format!(
        "kubectl --kubeconfig=/etc/kubernetes/admin.conf --server=https://{server}:6443 get --raw=/readyz"
    );
    ksp_lab::wait::until(&format!("{node} serves again"), Duration::from_secs(180), || {
        lab.on(node, &ask).map(drop)
    })
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
