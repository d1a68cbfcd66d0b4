//! Whether a disk can carry a member at all.

use std::time::Duration;

use crate::node::Targets;
use crate::{Context, Op, argv};

const SCRIPT: &str = include_str!("disk.sh");

/// Refuses to make a member on a disk that would cost it every election (T14): more than one in ten writes takes as long as others
/// wait for a leader, `election` milliseconds. What is slower than it should be and still works `ksp etcd status` shows later, from
/// the member's own histogram.
pub fn require_disk(cx: &Context, nodes: impl Targets, folder: &str, election: u64) -> Op {
    cx.plan()
        .exec(nodes, argv!["sh", "-s", "--", folder, election.to_string()])
        .stdin(cx.blob(SCRIPT))
        .summary("check that the disk is fast enough for etcd")
        .timeout(Duration::from_secs(120))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::{Command, Output, Stdio};

    use super::SCRIPT;

    /// With a `dd` that takes a tenth of a second longer for the first writes.
    fn run(slow: u32, limit: &str) -> (Output, usize) {
        let folder = std::env::temp_dir().join(format!("ksp-disk-{}-{slow}-{limit}", std::process::id()));
        std::fs::create_dir_all(folder.join("data")).unwrap();
        let dd = folder.join("dd");
        let text = format!(
            "#!/bin/sh\ncase \"$*\" in *' seek='*) n=${{*#* seek=}}; [ \"${{n%% *}}\" -ge {slow} ] || sleep 0.1;; esac\nexec /bin/dd \"$@\"\n"
        );
        std::fs::write(&dd, text).unwrap();
        std::fs::set_permissions(&dd, std::fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let mut shell = Command::new("/bin/sh")
            .args(["-s", "--", &folder.join("data").display().to_string(), limit])
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(SCRIPT.as_bytes()).unwrap();
        let output = shell.wait_with_output().unwrap();
        let left = std::fs::read_dir(folder.join("data")).unwrap().count();
        std::fs::remove_dir_all(folder).unwrap();
        (output, left)
    }

    #[test]
    fn a_disk_that_would_cost_every_election_is_refused_t14() {
        // One that is slow now and then is none.
        let (output, left) = run(3, "60000");
        assert!(output.status.success() && left == 0, "{}", String::from_utf8_lossy(&output.stderr));
        let (output, left) = run(6, "100");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("of 30 small writes") && left == 0, "{said}");
    }
}
