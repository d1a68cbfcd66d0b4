//! CRI-O instead of containerd, and both in one cluster.

use anyhow::{Result, ensure};

use crate::support::Lab;

/// Everything below the folders in which ksp writes, and the folder that is CRI-O's alone.
const FILES: &str = "find /etc /usr/local /opt /var/lib/ksp -xdev ! -type d 2>/dev/null | sort; ls -d /etc/crio 2>/dev/null || true";

/// A bridge as CRI-O's packages leave it: by its name it would be chosen before the cluster's network (T47).
const BRIDGE: &str = r#"mkdir -p /etc/cni/net.d && echo '{"cniVersion":"1.0.0","name":"crio","plugins":[{"type":"bridge",
    "bridge":"cni0","isGateway":true,"ipam":{"type":"host-local","ranges":[[{"subnet":"10.85.0.0/16"}]]}}]}' \
    >/etc/cni/net.d/100-crio-bridge.conflist"#;

/// The containers of DaemonSets, and when each began.
const CONTAINERS: &str = "for c in $(crictl ps -q --name '^kube-(proxy|flannel)$' | sort); do \
    crictl inspect -o go-template --template '{{.status.id}} {{.status.startedAt}}' $c; done";

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn cri_o_and_containerd_are_one_cluster() -> Result<()> {
    let lab = Lab::fresh("cri-o")?;
    let before = lab.on("w1", FILES)?;
    lab.on("w1", BRIDGE)?;
    another_minor_version_is_refused(&lab)?;

    lab.ksp(&["up", "--yes"])?.expect(0)?.says("Cluster cri-o is ready")?;
    let runtimes = "get nodes -o custom-columns=N:.metadata.name,R:.status.nodeInfo.containerRuntimeVersion --no-headers";
    let runtimes = lab.kubectl(runtimes)?;
    for (node, runtime) in [("cp1", "cri-o://1.36."), ("w1", "cri-o://1.36."), ("w2", "containerd://2.")] {
        let found = runtimes.lines().find(|line| line.split_whitespace().next() == Some(node));
        ensure!(found.is_some_and(|line| line.contains(runtime)), "{runtimes}");
    }
    ensure!(lab.on("w2", "ls -d /etc/crio /usr/local/bin/crio 2>/dev/null || true")?.is_empty());
    ensure!(lab.on("w1", "ls -d /etc/containerd /usr/local/bin/containerd 2>/dev/null || true")?.is_empty());
    ksp_lab::proof::show(&lab.scenario)?;
    ensure!(lab.on("w1", "ls /etc/cni/net.d")?.trim() == "10-flannel.conflist");
    ensure!(lab.on("cp1", "ls /etc/cni/net.d")?.trim() == "10-flannel.conflist");
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;

    settings_restart_cri_o_and_no_container(&lab)?;
    a_worker_is_left_as_it_was(&lab, &before)
}

fn another_minor_version_is_refused(lab: &Lab) -> Result<()> {
    let (fits, does_not) = ("version = \"1.36.3\"\ncni-plugins", "version = \"1.35.6\"\ncni-plugins");
    let stage = "use = \"ksp/cri-o\"";
    let within = |manifest: &str, from: &str, to: &str| {
        let (head, tail) = manifest.split_once(stage).unwrap_or((manifest, ""));
        format!("{head}{stage}{}", tail.replacen(from, to, 1))
    };
    lab.edit(|manifest| within(manifest, fits, does_not))?;
    lab.ksp(&["up", "--yes"])?
        .expect(3)?
        .says("CRI-O 1.35.6 does not go with Kubernetes 1.36.3")?
        .says("use \"1.36.3\"")?;
    ensure!(lab.on("w1", "ls -d /var/lib/ksp /usr/local/bin/crio 2>/dev/null || true")?.is_empty());
    lab.edit(|manifest| within(manifest, does_not, fits))
}

fn settings_restart_cri_o_and_no_container(lab: &Lab) -> Result<()> {
    let main = "systemctl show -p MainPID --value crio";
    let (daemon, containers) = (lab.on("w1", main)?, lab.on("w1", CONTAINERS)?);
    ensure!(containers.lines().count() == 2, "{containers}");
    let table = "[stage.config.settings.crio.runtime.runtimes.runc]";
    lab.edit(|manifest| {
        manifest.replacen(
            table,
            &format!("[stage.config.settings.crio.runtime]\nlog_level = \"warn\"\n{table}"),
            1,
        )
    })?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    ensure!(lab.on("w1", main)? != daemon, "CRI-O was not restarted");
    ensure!(lab.on("w1", CONTAINERS)? == containers, "containers did not outlive the restart");
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    Ok(())
}

fn a_worker_is_left_as_it_was(lab: &Lab, before: &str) -> Result<()> {
    lab.ksp(&["reset", "--node", "w1", "--confirm", "cri-o", "--yes"])?.expect(0)?;
    let after = lab.on("w1", FILES)?;
    let left: Vec<&str> = after.lines().filter(|line| !before.lines().any(|known| known == *line)).collect();
    ensure!(left.is_empty(), "reset left {left:?}");
    let running = "ps -eo comm= | grep -E '^(crio|conmon|kubelet|kube-proxy|flanneld|pause|runc)' || true";
    let running = lab.on("w1", running)?;
    ensure!(running.is_empty(), "reset left these running: {running}");
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    ksp_lab::proof::show(&lab.scenario)
}
