//! `absent`: nothing at a path. Takes directories with everything in them, but refuses what a node cannot do without, and
//! refuses to go through mount points: what is mounted there is somebody's data.

use async_trait::async_trait;

use crate::op::sh;
use crate::op::{
    ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict, path,
};
use crate::plugin::capability::Need;
use crate::transport::{Output, Script};

/// Nothing at a path.
#[derive(Debug, Clone)]
pub struct Absent {
    /// Absolute path on the node, exactly what is to go: no patterns.
    pub path: String,
}

#[async_trait]
impl NodeOp for Absent {
    fn kind(&self) -> &'static str {
        "absent"
    }

    fn target(&self) -> String {
        self.path.clone()
    }

    fn summary(&self) -> String {
        format!("remove {}", self.path)
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::File(self.path.clone())]
    }

    fn probe(&self, _cx: NodeContext<'_>) -> String {
        format!(
            "{}if [ -d \"$p\" ] && [ ! -L \"$p\" ]; then ls -A -- \"$p\" | wc -l; fi\n",
            sh::look(&self.path)
        )
    }

    fn judge(&self, _cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        path::check_removable(&self.path)?;
        if !probed.ok() {
            return Err(sh::failure(format!("look at {}", self.path), probed));
        }
        let answer = probed.text();
        let mut lines = answer.lines();
        let what = match sh::Seen::parse(lines.next().unwrap_or_default())? {
            sh::Seen::Missing => return Ok(Verdict::Satisfied),
            sh::Seen::Link(to) => format!("-symbolic link to {to}"),
            sh::Seen::File(status) => format!("-file of {} bytes", status.size),
            sh::Seen::Directory(_) => {
                format!("-directory with {} entries", lines.next().unwrap_or("?").trim())
            }
            sh::Seen::Other => "-special file".into(),
        };
        Ok(Verdict::Change(Change { action: ChangeAction::Remove, diff: vec![what] }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        path::check_removable(&self.path)?;
        let output =
            cx.mutate(Script::new(format!("{}{}{REMOVE}", sh::header(), sh::set("p", &self.path)))).await?;
        match output.status {
            0 => Ok(()),
            sh::IN_THE_WAY => Err(sh::failure(self.summary(), &output)
                .hint("stop what uses it and unmount it on the node, then run the same command again")),
            _ => Err(sh::failure(self.summary(), &output)),
        }
    }

    // It leaves nothing behind that could be taken back.
    fn ledger(&self, _cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        Vec::new()
    }
}

// /proc/self/mountinfo writes spaces and the like as \040.
const REMOVE: &str = r#"real=$p
if [ -d "$p" ] && [ ! -L "$p" ]; then real=$(cd -P -- "$p" && pwd) || exit 1; fi
while read -r _ _ _ _ m _; do
  case $m in *\\*) m=$(printf %b "$m");; esac
  case $m in "$real"|"$real"/*) echo "something is mounted at $m" >&2; exit 31;; esac
done < /proc/self/mountinfo
e=$(rm -rf -- "$p" 2>&1) || ksp_failed "$p" "$e"
"#;

#[cfg(test)]
mod tests {
    use crate::op::Modifiers;
    use crate::op::testing::Machine;

    use super::*;

    fn absent(path: &str) -> Absent {
        Absent { path: path.into() }
    }

    #[tokio::test]
    async fn files_links_and_trees_go() {
        let machine = Machine::new();
        machine.shell("mkdir -p '/etc/a b/c'; touch '/etc/a b/-x' '/etc/a b/c/*'; touch /etc/kept; ln -s kept /etc/link").await;
        let none = Modifiers::default();
        assert_eq!(machine.converge(&absent("/etc/a b"), &none).await.diff, ["-directory with 2 entries"]);
        assert_eq!(machine.converge(&absent("/etc/link"), &none).await.diff, ["-symbolic link to kept"]);
        assert!(machine.path("/etc/kept").exists());
        assert_eq!(machine.probe(&absent("/etc/*"), &none).await.unwrap(), Verdict::Satisfied);
        assert!(absent("/etc/link").ledger(machine.at(&none)).is_empty());
    }

    #[tokio::test]
    async fn the_system_and_mounted_data_stay() {
        let machine = Machine::new();
        let none = Modifiers::default();
        for path in ["/", "/etc", "/usr/bin", "/etc/../etc", "/var/lib/ksp"] {
            assert!(machine.apply(&absent(path), &none).await.is_err(), "{path}");
            assert!(machine.probe(&absent(path), &none).await.is_err(), "{path}");
        }
        machine.shell("mkdir -p '/var/lib/kubelet/my vol'; mount -t tmpfs none '/var/lib/kubelet/my vol'; touch '/var/lib/kubelet/my vol/data'").await;
        let error = machine.apply(&absent("/var/lib/kubelet"), &none).await.unwrap_err();
        assert_eq!(error.code, "ksp::op::in-the-way");
        assert!(error.message.contains("mounted at /var/lib/kubelet/my vol"), "{error}");
        assert!(machine.path("/var/lib/kubelet/my vol/data").exists());
    }
}
