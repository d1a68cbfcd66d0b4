//! Asked to end, and killed at the worst moments; then run again to the same end.

use std::time::Duration;

use anyhow::Result;

use crate::support::Lab;

/// What no run may leave behind, however it ended.
const HALF_WRITTEN: &str = "find / -xdev -name '*ksp-tmp*' -not -path '/proc/*'";
/// What still has to follow a change that was made, such as a restart.
const PENDING: &str = "ls -A /var/lib/ksp/pending";

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn a_run_that_was_killed_comes_to_the_same_end() -> Result<()> {
    let lab = Lab::fresh("pair")?;
    // Asked to end, it finishes what runs and leaves no lock behind: the next run begins at once.
    let code = lab.terminate_in("kube-binaries", "install:/usr/local/bin/kubelet")?;
    anyhow::ensure!(code == Some(130), "it ended with {code:?}");
    let left = lab.on("cp1", HALF_WRITTEN)?;
    anyhow::ensure!(left.is_empty(), "left over after an orderly end: {left}");
    let moments = [
        ("containerd", "unpack:/opt/cni/bin", 300),
        ("containerd", "restart:containerd", 0),
        ("control-plane", "exec:kubeadm init", 3000),
    ];
    for (stage, op, moment) in moments {
        let run = lab.kill_in(stage, op, Duration::from_millis(moment))?;
        lab.ksp(&["up", "--yes"])?.expect(5)?.says(&run)?;
        lab.ksp(&["unlock", &run])?.expect(0)?;
    }
    // The first member of etcd with it, as soon as that runs.
    let runs = || lab.on("cp1", "pgrep -x etcd").map(drop);
    let run = lab.kill_when("control-plane", "exec:kubeadm init", runs)?;
    lab.on("cp1", "pkill -9 -x etcd || true")?;
    lab.ksp(&["unlock", &run])?.expect(0)?;
    // This time nobody unlocks: the lock expires by itself.
    lab.kill_in("workers", "exec:kubeadm join", Duration::from_millis(700))?;
    lab.ksp(&["up", "--yes", "--lock-timeout=2m"])?.expect(0)?.says("Cluster pair is ready")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    let ready = lab.kubectl("wait --for=condition=Ready node --all --timeout=10s")?;
    anyhow::ensure!(ready.lines().count() == 2, "{ready}");
    let left = lab.on("cp1", HALF_WRITTEN)? + &lab.on("cp1", PENDING)?;
    anyhow::ensure!(left.is_empty(), "left over: {left}");
    Ok(())
}
