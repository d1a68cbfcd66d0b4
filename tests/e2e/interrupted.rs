//! Killed at the worst moments, then run again to the same end.

use std::time::Duration;

use anyhow::Result;

use crate::support::Lab;

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn a_run_that_was_killed_comes_to_the_same_end() -> Result<()> {
    let lab = Lab::fresh("pair")?;
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
    // This time nobody unlocks: the lock expires by itself.
    lab.kill_in("workers", "exec:kubeadm join", Duration::from_millis(700))?;
    lab.ksp(&["up", "--yes", "--lock-timeout=2m"])?.expect(0)?.says("Cluster pair is ready")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    let ready = lab.kubectl("wait --for=condition=Ready node --all --timeout=10s")?;
    anyhow::ensure!(ready.lines().count() == 2, "{ready}");
    let left =
        lab.on("cp1", "find / -xdev -name '*ksp-tmp*' -not -path '/proc/*'; ls -A /var/lib/ksp/pending")?;
    anyhow::ensure!(left.is_empty(), "left over: {left}");
    Ok(())
}
