//! Cilium, beside kube-proxy and in its place: traffic and policies, and a Helm release that stays what the manifest says.

use anyhow::{Context, Result, ensure};

use crate::support::Lab;
use crate::support::footprint::Footprint;

/// A line of the stage's configuration that both scenarios have.
const CONFIG: &str = "image-digests = false";

/// How the chart's values begin there.
const VALUES: &str = "values = { ";

/// What Cilium may leave on a node that it was on: nothing.
const LEFT: &str = "ls -d /sys/class/net/cilium_* /sys/class/net/lxc* /etc/cni/net.d/*cilium* /opt/cni/bin/cilium* /run/cilium/* \
    /sys/fs/bpf/cilium/* /sys/fs/bpf/tc/globals/cilium_* 2>/dev/null || true; \
    for tool in iptables-nft-save iptables-legacy-save; do $tool 2>/dev/null | grep CILIUM_ || true; done; \
    ip rule show | grep -E 'lookup (2004|2005)$' || true";

/// The state of every record of the Helm release, oldest first.
const RELEASES: &str = "get secrets -n kube-system -l owner=helm,name=cilium --sort-by=.metadata.creationTimestamp \
    -o jsonpath={.items[*].metadata.labels.status}";

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn cilium_beside_kube_proxy() -> Result<()> {
    let lab = Lab::fresh("cilium")?;
    let before = Footprint::of(&lab, "w1")?;
    what_a_key_decides_no_value_may(&lab)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("Cluster cilium is ready")?;
    ksp_lab::proof::show(&lab.scenario)?;
    ksp_lab::traffic::show(&lab.scenario)?;
    up_to_date(&lab)?;

    drift_is_shown_and_repaired(&lab)?;
    an_abandoned_helm_is_gone_over_again(&lab)?;
    what_is_settled_stays(&lab)?;
    an_agent_that_does_not_start_is_a_failure(&lab)?;
    a_worker_is_left_clean(&lab)?;
    another_network_takes_over(&lab)?;

    lab.ksp(&["reset", "--confirm", "cilium"])?.expect(0)?;
    before.expect_nothing_new(&lab)
}

/// T53.
#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn cilium_in_place_of_kube_proxy() -> Result<()> {
    let lab = Lab::fresh("cilium-proxy")?;
    // The balancer's package is there already: what a package leaves when it goes is the distribution's affair.
    lab.on("w1", "apt-get -qq update && apt-get -qq install -y --no-install-recommends haproxy")?;
    let before = Footprint::of(&lab, "w1")?;
    one_of_them_makes_services_work(&lab)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("Cluster cilium-proxy is ready")?;
    ksp_lab::proof::show(&lab.scenario)?;
    ksp_lab::traffic::show(&lab.scenario)?;

    let proxies = lab.kubectl("get pods -n kube-system -l k8s-app=kube-proxy -o name")?;
    ensure!(proxies.is_empty(), "{proxies}");
    for node in ["cp1", "w1", "w2"] {
        let rules = "for tool in iptables-nft-save iptables-legacy-save; do $tool 2>/dev/null; done | grep -E 'KUBE-(SVC|SERVICES|PROXY)' || true";
        let rules = lab.on(node, rules)?;
        ensure!(rules.is_empty(), "somebody else makes Services work on {node}:\n{rules}");
    }
    // `hubble = "agent"`.
    let status = lab.kubectl("exec -n kube-system daemonset/cilium -c cilium-agent -- cilium-dbg status")?;
    ensure!(
        status.lines().any(|line| line.starts_with("KubeProxyReplacement:") && line.contains("True")),
        "{status}"
    );
    ensure!(status.lines().any(|line| line.starts_with("Hubble:") && line.contains("Ok")), "{status}");
    up_to_date(&lab)?;

    lab.ksp(&["reset", "--confirm", "cilium-proxy"])?.expect(0)?;
    before.expect_nothing_new(&lab)
}

fn up_to_date(lab: &Lab) -> Result<()> {
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date").map(drop)
}

fn what_a_key_decides_no_value_may(lab: &Lab) -> Result<()> {
    let (settings, values) =
        (format!("{CONFIG}\nnode-mask = 31"), format!("{VALUES}kubeProxyReplacement = true, "));
    lab.edit(|manifest| manifest.replacen(CONFIG, &settings, 1).replacen(VALUES, &values, 1))?;
    lab.ksp(&["up", "--yes"])?
        .expect(3)?
        .says("`kubeProxyReplacement` of the chart is decided by `kube-proxy-replacement`")?
        .says("a node's share of 10.244.0.0/16 cannot be a /31")?;
    lab.edit(|manifest| manifest.replacen(&settings, CONFIG, 1).replacen(&values, VALUES, 1))
}

/// Neither nobody nor both.
fn one_of_them_makes_services_work(lab: &Lab) -> Result<()> {
    let (with, without) = ("kube-proxy-replacement = true", "kube-proxy-replacement = false");
    lab.edit(|manifest| manifest.replacen(with, without, 1))?;
    lab.ksp(&["up", "--yes"])?.expect(3)?.says("proxy")?;
    lab.edit(|manifest| manifest.replacen(without, with, 1))?;
    let (alone, both) = (
        "[[stage]]\nuse = \"ksp/verify\"",
        "[[stage]]\nuse = \"ksp/kube-proxy\"\n\n[[stage]]\nuse = \"ksp/verify\"",
    );
    lab.edit(|manifest| manifest.replacen(alone, both, 1))?;
    lab.ksp(&["up", "--yes"])?.expect(3)?.says("by stage `cilium` and by stage `kube-proxy`")?;
    lab.edit(|manifest| manifest.replacen(both, alone, 1))
}

fn drift_is_shown_and_repaired(lab: &Lab) -> Result<()> {
    let drifts = [
        "delete deployment -n kube-system cilium-operator",
        "patch configmap -n kube-system cilium-config --type=json -p=[{\"op\":\"remove\",\"path\":\"/data/enable-policy\"}]",
    ];
    for drift in drifts {
        lab.kubectl(drift)?;
        lab.ksp(&["plan", "--exit-code", "--stage", "cilium"])?.expect(6)?.says("install Cilium")?;
        lab.ksp(&["up", "--yes"])?.expect(0)?;
        up_to_date(lab)?;
    }
    lab.kubectl("wait deployment -n kube-system cilium-operator --for=condition=Available --timeout=60s")?;
    let policy = "get configmap -n kube-system cilium-config -o jsonpath={.data.enable-policy}";
    ensure!(lab.kubectl(policy)? == "default");
    ksp_lab::proof::show(&lab.scenario)
}

/// Helm dies in the middle of an upgrade, and will not go on by itself.
fn an_abandoned_helm_is_gone_over_again(lab: &Lab) -> Result<()> {
    let kill = "/usr/local/sbin/ksp-cilium apply 1.20.2 sha256:none >/dev/null 2>&1 & \
        for i in $(seq 400); do \
          kubectl --kubeconfig=/etc/kubernetes/admin.conf get secrets -n kube-system -l owner=helm,status=pending-upgrade -o name | \
            grep -q . && break; \
        done; pkill -9 -x helm; wait; true";
    lab.on("cp1", kill)?;
    let before = lab.kubectl(RELEASES)?;
    ensure!(before.ends_with("pending-upgrade"), "Helm was not cut off: {before}");
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    let after = lab.kubectl(RELEASES)?;
    ensure!(after.ends_with("deployed") && !after.contains("pending"), "{after}");
    up_to_date(lab)
}

fn what_is_settled_stays(lab: &Lab) -> Result<()> {
    let other = format!("{CONFIG}\nnode-mask = 25");
    lab.edit(|manifest| manifest.replacen(CONFIG, &other, 1))?;
    lab.ksp(&["up", "--yes"])?.expect(4)?.says("cilium.settled")?.says("keep `24`")?;
    lab.edit(|manifest| manifest.replacen(&other, CONFIG, 1))
}

/// T56: not ready in time is no success, whatever Helm says, and the reason is told.
fn an_agent_that_does_not_start_is_a_failure(lab: &Lab) -> Result<()> {
    let (settings, values) =
        (format!("{CONFIG}\ndeadline-seconds = 60"), format!("{VALUES}extraArgs = [\"--no-such-flag\"], "));
    lab.edit(|manifest| manifest.replacen(CONFIG, &settings, 1).replacen(VALUES, &values, 1))?;
    lab.ksp(&["up", "--yes"])?.expect(1)?.says("DaemonSet kube-system/cilium")?.says("no-such-flag")?;
    lab.edit(|manifest| manifest.replacen(&settings, CONFIG, 1).replacen(&values, VALUES, 1))?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    ksp_lab::proof::show(&lab.scenario)?;
    up_to_date(lab)
}

fn a_worker_is_left_clean(lab: &Lab) -> Result<()> {
    ensure!(!lab.on("w2", LEFT)?.is_empty(), "there would be nothing to remove");
    lab.ksp(&["reset", "--node", "w2", "--confirm", "cilium", "--yes"])?.expect(0)?;
    let left = lab.on("w2", LEFT)?;
    ensure!(left.is_empty(), "reset left {left}");
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    ksp_lab::proof::show(&lab.scenario)?;
    ksp_lab::traffic::show(&lab.scenario)
}

/// Helm uninstalls what Helm installed, while the cluster lives on.
fn another_network_takes_over(lab: &Lab) -> Result<()> {
    let manifest = std::fs::read_to_string(lab.scenario.manifest_path())?;
    let start = manifest.find("[[stage]]\nuse = \"ksp/cilium\"").context("the stage is not there")?;
    let end = manifest[start + 1..].find("[[stage]]").context("it is the last one")? + start + 1;
    let cilium = &manifest[start..end];
    lab.edit(|manifest| manifest.replacen(cilium, "[[stage]]\nuse = \"ksp/flannel\"\n\n", 1))?;
    lab.ksp(&["up", "--yes", "--allow-network-rebuild"])?.expect(0)?;
    for node in ["cp1", "w1", "w2"] {
        let left = lab.on(node, LEFT)?;
        ensure!(left.is_empty(), "left of Cilium on {node}: {left}");
    }
    ensure!(lab.kubectl(RELEASES)?.is_empty(), "Helm has a release");
    let kinds = lab.kubectl("get customresourcedefinitions -o name")?;
    ensure!(!kinds.contains("cilium.io"), "{kinds}");
    let objects =
        "get daemonsets,deployments,configmaps,secrets,serviceaccounts,roles,clusterroles -A -o name";
    let objects = lab.kubectl(objects)?;
    ensure!(!objects.contains("cilium"), "{objects}");
    ksp_lab::proof::show(&lab.scenario)?;
    up_to_date(lab)
}
