//! Control planes come and go under a client that writes and reads all the time: nothing that was acknowledged is lost, and there is
//! never a second cluster.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use ksp_lab::sequence::Sequence;

use crate::support::{Lab, STACKED};

/// What every node uses, on its own loopback.
const ENDPOINT: &str = "https://127.0.0.1:7443";

/// Before it, further keys of the control plane's config may stand.
const KUBELET: &str = "[stage.config.kubelet]";

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn control_planes_come_and_go() -> Result<()> {
    let mut lab = Lab::fresh("members")?;
    lab.edit(|manifest| manifest.replacen(KUBELET, &format!("encrypt-secrets = true\n{KUBELET}"), 1))?;
    bring_up_is_interrupted(&lab)?;
    lab.another_workstation()?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;

    let sequence = Sequence::start(&lab.scenario, "w1", ENDPOINT)?;
    settings_are_rolled_out(&lab)?;
    sequence.passes(3)?;
    let rolled = sequence.seen();
    ksp_lab::tell::say(format_args!("while settings changed: {rolled:?}"));

    lost_data_is_filled_again(&lab)?;
    the_first_dies_for_good(&lab)?;
    nobody_goes_below_quorum(&lab)?;
    three_become_one(&lab)?;
    one_becomes_three(&lab)?;
    secrets_are_encrypted_with_one_key(&lab)?;
    sequence.finish()?;
    ensure!(rolled.in_a_row <= 1, "one retry did not cure every failed request: {rolled:?}");
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    Ok(())
}

/// ksp is killed while the second control plane joins, with its member added and not yet started; the machine loses power too.
fn bring_up_is_interrupted(lab: &Lab) -> Result<()> {
    let second = lab.scenario.node("cp2")?;
    let run = lab.kill_when("control-plane", "exec:kubeadm join", || {
        let list = lab.on("cp1", &format!("{STACKED} member list"))?;
        ensure!(list.lines().count() == 2, "{list}");
        Ok(())
    })?;
    second.kill()?;
    second.start()?;
    lab.ksp(&["unlock", &run])?.expect(0)?;
    // From here on somebody writes, until three vote.
    let sequence = Sequence::beside(&lab.scenario, "cp1")?;
    lab.on(
        "cp1",
        "kubectl --kubeconfig=/etc/kubernetes/admin.conf create secret generic early --from-literal=a=b",
    )?;

    // Once more, a moment later: the member runs and is a learner, or has just been promoted. Its process is killed with ksp.
    let run =
        lab.kill_when("control-plane", "exec:kubeadm join", || lab.on("cp2", "pgrep -x etcd").map(drop))?;
    lab.on("cp2", "pkill -9 -x etcd || true")?;
    lab.ksp(&["unlock", &run])?.expect(0)?;

    // T16: tokens of the earlier runs have come to their end, and each run makes its own.
    let tokens = "kubectl --kubeconfig=/etc/kubernetes/admin.conf delete secrets -n kube-system \
        --field-selector type=bootstrap.kubernetes.io/token";
    ensure!(lab.on("cp1", tokens)?.contains("deleted"), "there was no token");
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("Cluster members is ready")?;
    lab.expect_voters(STACKED, "cp1", &["cp1", "cp2", "cp3"])?;
    sequence.finish().map(drop)
}

/// A flag of the API server, one of etcd and a name in the certificate (T20), on one control plane after another (T3).
fn settings_are_rolled_out(lab: &Lab) -> Result<()> {
    let settings = "api-server = { \"max-requests-inflight\" = \"500\" }\n\
        etcd = { \"snapshot-count\" = \"20000\" }\ncert-sans = [\"extra.example\"]\n";
    lab.edit(|manifest| manifest.replacen(KUBELET, &format!("{settings}{KUBELET}"), 1))?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    for node in ["cp1", "cp2", "cp3"] {
        let manifests =
            "cat /etc/kubernetes/manifests/kube-apiserver.yaml /etc/kubernetes/manifests/etcd.yaml";
        let made = lab.on(node, manifests)?;
        for flag in
            ["--max-requests-inflight=500", "--snapshot-count=20000", "--initial-cluster-state=existing"]
        {
            ensure!(made.contains(flag), "{node} has no {flag}");
        }
        let address = lab.scenario.node(node)?.address;
        // The name is served, not only written: a client that knows the server by it is let in.
        lab.on(
            node,
            &format!(
                "kubectl --kubeconfig=/etc/kubernetes/admin.conf --server=https://{address}:6443 \
             --tls-server-name=extra.example get --raw=/readyz"
            ),
        )?;
    }
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    Ok(())
}

/// T1: a member without its data does not start, and is replaced by a new one.
fn lost_data_is_filled_again(lab: &Lab) -> Result<()> {
    let before = lab.on("cp1", &format!("{STACKED} member list"))?;
    lab.on("cp2", "rm -rf /var/lib/etcd/*; pkill -9 -x etcd")?;
    ksp_lab::wait::until("cp2's etcd refuses to start", Duration::from_secs(60), || {
        let container = "crictl logs --tail 5 $(crictl ps -a --name '^etcd$' -q | head -n 1) 2>&1";
        let log = lab.on("cp2", container)?;
        ensure!(log.contains("member/ca.crt"), "{log}");
        ensure!(lab.on("cp2", "ls -A /var/lib/etcd")?.is_empty(), "it began anew");
        Ok(())
    })?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    lab.expect_voters(STACKED, "cp1", &["cp1", "cp2", "cp3"])?;
    ensure!(lab.on("cp1", &format!("{STACKED} member list"))? != before, "cp2 came back as who it was");
    Ok(())
}

/// T11: who asks the control planes learns of it, and is not restarted for that.
fn the_first_dies_for_good(lab: &Lab) -> Result<()> {
    let running = "systemctl show -p MainPID --value ksp-api-balancer kubelet";
    let before = lab.on("w1", running)?;
    lab.scenario.node("cp1")?.kill()?;
    let address = lab.scenario.node("cp4")?.address.to_string();
    lab.ksp(&["node", "replace", "cp1", "--with", "cp4", "--address", &address, "--yes"])?.expect(0)?;
    lab.expect_voters(STACKED, "cp2", &["cp2", "cp3", "cp4"])?;
    let nodes = lab.kubectl("get nodes -o name")?;
    ensure!(!nodes.contains("cp1") && nodes.contains("cp4"), "{nodes}");
    ensure!(!lab.on("w1", "cat /etc/ksp/api-balancer/haproxy.cfg")?.contains(" cp1 "), "w1 still asks cp1");
    ensure!(lab.on("w1", running)? == before, "the balancer or the kubelet of w1 was restarted");
    let [gone, came] =
        ["cp1", "cp4"].map(|name| lab.scenario.node(name).map(|node| node.address.to_string()));
    let (gone, came) = (format!("\"{}\"", gone?), format!("\"{}\"", came?));
    ksp_lab::wait::until("the Service `kubernetes` leads to cp4", Duration::from_secs(60), || {
        let leads = lab.kubectl("get endpointslices kubernetes -o jsonpath={.endpoints[*].addresses}")?;
        ensure!(leads.contains(&came) && !leads.contains(&gone), "{leads}");
        Ok(())
    })?;

    // It comes back, and is nobody: the others do not know its member any more.
    let first = lab.scenario.node("cp1")?;
    first.start()?;
    std::thread::sleep(Duration::from_secs(15));
    lab.expect_voters(STACKED, "cp2", &["cp2", "cp3", "cp4"])?;
    first.remove()
}

/// T12: one is down, another one that still runs cannot be spared.
fn nobody_goes_below_quorum(lab: &Lab) -> Result<()> {
    let down = lab.scenario.node("cp2")?;
    down.kill()?;
    let address = lab.scenario.node("cp1")?.address.to_string();
    let refused = lab.ksp(&["node", "replace", "cp3", "--with", "cp1", "--address", &address, "--yes"]);
    down.start()?;
    refused?
        .expect(1)?
        .says("ksp::node::quorum")?
        .says("2 of 3 members answer now (2 needed), 1 of 2 afterwards")?;
    lab.expect_voters(STACKED, "cp4", &["cp2", "cp3", "cp4"])
}

fn three_become_one(lab: &Lab) -> Result<()> {
    // Two would be worse than one (T12): refused before anything is touched.
    lab.ksp(&["node", "remove", "cp2", "--yes"])?.expect(3)?;
    ksp_lab::wait::until("cp2 is back", Duration::from_secs(180), || {
        lab.on("cp2", &format!("{STACKED} endpoint health")).map(drop)
    })?;
    lab.ksp(&["node", "remove", "cp2", "cp3", "--yes"])?.expect(0)?;
    lab.expect_voters(STACKED, "cp4", &["cp4"])?;
    let left =
        lab.on("cp2", "ls /etc/kubernetes/manifests /var/lib/etcd /var/lib/ksp 2>/dev/null || true")?;
    if left.trim().contains("etcd.yaml") || left.contains("member") {
        bail!("cp2 still has {left}");
    }
    lab.kubectl("get nodes -o name")?
        .lines()
        .find(|line| line.contains("cp4"))
        .context("cp4 is gone")
        .map(drop)
}

/// The machines that left come back as new control planes, in one run and one after the other (T2).
fn one_becomes_three(lab: &Lab) -> Result<()> {
    let node = |name: &str| -> Result<String> {
        let address = lab.scenario.node(name)?.address;
        Ok(format!("\n[[node]]\nname = \"{name}\"\naddress = \"{address}\"\nroles = [\"control-plane\"]\n"))
    };
    let nodes = node("cp2")? + &node("cp3")?;
    lab.edit(|manifest| format!("{manifest}{nodes}"))?;
    let joining = most_at_once(lab, || lab.ksp(&["up", "--yes"])?.expect(0).map(drop))?;
    ensure!(joining == 1, "{joining} members without a voice at a time");
    lab.expect_voters(STACKED, "cp2", &["cp2", "cp3", "cp4"])?;
    let asks = lab.on("w1", "cat /etc/ksp/api-balancer/haproxy.cfg")?;
    ensure!(["cp2", "cp3", "cp4"].iter().all(|name| asks.contains(&format!(" {name} "))), "{asks}");
    Ok(())
}

/// T22: every control plane that there is now reads what one that is long gone has written, and etcd holds nothing readable.
fn secrets_are_encrypted_with_one_key(lab: &Lab) -> Result<()> {
    let raw = "get /registry/secrets/default/early --print-value-only | head -c 24";
    let raw = lab.on("cp4", &format!("{STACKED} {raw}"))?;
    ensure!(raw.starts_with("k8s:enc:secretbox:v1:"), "etcd holds {raw}");
    let sum =
        "stat -c %a /etc/kubernetes/pki/encryption.yaml; sha256sum </etc/kubernetes/pki/encryption.yaml";
    let first = lab.on("cp4", sum)?;
    ensure!(first.starts_with("600\n"), "{first}");
    for node in ["cp2", "cp3", "cp4"] {
        ensure!(lab.on(node, sum)? == first, "{node} has another key");
        let address = lab.scenario.node(node)?.address;
        let read = format!(
            "kubectl --kubeconfig=/etc/kubernetes/admin.conf --server=https://{address}:6443 get secret early -o jsonpath={{.data.a}}"
        );
        ensure!(lab.on(node, &read)? == "Yg==", "{node} cannot read it");
    }
    Ok(())
}

/// The most members without a voice that were seen at a time while something is done.
fn most_at_once(lab: &Lab, work: impl FnOnce() -> Result<()>) -> Result<usize> {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !over.load(Ordering::Relaxed) {
                let list = lab.on("cp4", &format!("{STACKED} member list")).unwrap_or_default();
                most = most.max(list.lines().filter(|line| line.ends_with(", true")).count());
                std::thread::sleep(Duration::from_millis(100));
            }
            most
        });
        let done = work();
        over.store(true, Ordering::Relaxed);
        let most = watch.join().map_err(|_| anyhow::anyhow!("the watch ended"))?;
        done.map(|()| most)
    })
}
