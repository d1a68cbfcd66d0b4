//! `directory`: a directory, with its parents. Mode and owner of one that exists change only when the plugin names them;
//! a new one is root's, 0755. A symbolic link to a directory counts: administrators move data to other disks that way.

use async_trait::async_trait;

use crate::op::sh::{self, Seen};
use crate::op::{
    ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict, file, path,
};
use crate::plugin::capability::Need;
use crate::transport::quote::quote;
use crate::transport::{Output, Script};

/// A directory.
#[derive(Debug, Clone)]
pub struct Directory {
    /// Absolute path on the node.
    pub path: String,
}

#[async_trait]
impl NodeOp for Directory {
    fn kind(&self) -> &'static str {
        "directory"
    }

    fn target(&self) -> String {
        self.path.clone()
    }

    fn summary(&self) -> String {
        format!("make directory {}", self.path)
    }

    fn accepts(&self) -> &'static [&'static str] {
        &["mode", "owner"]
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::File(self.path.clone())]
    }

    fn probe(&self, _cx: NodeContext<'_>) -> String {
        format!(
            "{}if [ -d \"$p\" ]; then stat -L -c 'directory %a %u %U %g %G %s' -- \"$p\"\nelif [ -e \"$p\" ] || [ -L \"$p\" ]; then echo other\nelse echo missing; fi\n",
            sh::set("p", &self.path)
        )
    }

    fn judge(&self, cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        path::check(&self.path)?;
        if !probed.ok() {
            return Err(sh::failure(format!("look at {}", self.path), probed));
        }
        let status = match Seen::parse(probed.text().trim_end())? {
            Seen::Directory(status) => status,
            Seen::Missing => {
                let (user, group) = file::owner(cx);
                let line = format!(
                    "+directory, mode {:04o}, owner {user}:{group}",
                    cx.modifiers.mode.unwrap_or(0o755)
                );
                return Ok(Verdict::Change(Change { action: ChangeAction::Create, diff: vec![line] }));
            }
            _ => return Err(sh::in_the_way(&self.path, "a directory")),
        };
        let mut diff = Vec::new();
        if let Some(mode) = cx.modifiers.mode {
            diff.extend(status.mode_diff(mode));
        }
        if let Some((user, group)) = &cx.modifiers.owner {
            diff.extend(status.owner_diff(user, group));
        }
        if diff.is_empty() {
            return Ok(Verdict::Satisfied);
        }
        Ok(Verdict::Change(Change { action: ChangeAction::Modify, diff }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        path::check(&self.path)?;
        let (user, group) = file::owner(cx.at);
        // Five digits: with fewer, chmod leaves the set-group-id bit of a directory as it is.
        let mode = |mode: u32| quote(&format!("{mode:05o}"));
        let owner = quote(&format!("{user}:{group}"));
        let mut text =
            format!("{}{}{}", sh::header(), sh::set("p", &self.path), sh::set("d", sh::parent(&self.path)));
        text.push_str("ksp_parent \"$d\"\nif [ ! -d \"$p\" ]; then\n");
        text.push_str(
            "  if [ -e \"$p\" ] || [ -L \"$p\" ]; then echo \"$p is not a directory\" >&2; exit 31; fi\n",
        );
        // Born with its mode, so that nobody looks into a private directory before it is private.
        let born = mode(cx.at.modifiers.mode.unwrap_or(0o755));
        text.push_str(&format!("  e=$(mkdir -m {born} -- \"$p\" 2>&1) || ksp_failed \"$d\" \"$e\"\nfi\n"));
        if cx.at.modifiers.owner.is_some() {
            text.push_str(&format!("e=$(chown -- {owner} \"$p\" 2>&1) || ksp_failed \"$d\" \"$e\"\n"));
        }
        if let Some(bits) = cx.at.modifiers.mode {
            text.push_str(&format!("e=$(chmod -- {} \"$p\" 2>&1) || ksp_failed \"$d\" \"$e\"\n", mode(bits)));
        }
        text.push_str("sync -- \"${d:-/}\"\n");
        let output = cx.mutate(Script::new(text)).await?;
        if output.ok() { Ok(()) } else { Err(sh::failure(self.summary(), &output)) }
    }

    fn ledger(&self, cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        vec![LedgerEntry {
            kind: self.kind().into(),
            target: self.path.clone(),
            stage: cx.stage.into(),
            digest: None,
            details: Default::default(),
        }]
    }
}

/// Removes the directory when nothing is left in it: what is in it and is not in the ledger is not ksp's.
pub fn teardown(entry: &LedgerEntry) -> String {
    if path::check_removable(&entry.target).is_err() {
        return String::new();
    }
    format!(
        "p={}\nif [ -d \"$p\" ] && [ ! -L \"$p\" ]; then rmdir -- \"$p\" 2>/dev/null || :; fi\n",
        quote(&entry.target)
    )
}

#[cfg(test)]
mod tests {
    use crate::op::testing::Machine;
    use crate::op::{ChangeAction, Modifiers, Verdict};

    use super::*;

    fn directory(path: &str) -> Directory {
        Directory { path: path.into() }
    }

    #[tokio::test]
    async fn it_is_made_with_parents_and_taken_back_when_empty() {
        let machine = Machine::new();
        let modifiers =
            Modifiers { mode: Some(0o700), owner: Some(("1".into(), "daemon".into())), ..Default::default() };
        let op = directory("/etc/it's new/a b");
        let change = machine.converge(&op, &modifiers).await;
        assert_eq!(change.diff, ["+directory, mode 0700, owner 1:daemon"]);
        assert_eq!(
            machine.shell("stat -c '%a %U' \"/etc/it's new\" \"/etc/it's new/a b\"").await,
            "755 root\n700 daemon\n"
        );
        machine.write("/etc/it's new/a b/kept", "x");
        machine.teardown(&op, &modifiers).await;
        assert!(machine.path("/etc/it's new/a b/kept").exists());
        machine.shell("rm \"/etc/it's new/a b/kept\"").await;
        machine.teardown(&op, &modifiers).await;
        assert!(!machine.path("/etc/it's new/a b").exists());
    }

    #[tokio::test]
    async fn an_existing_one_keeps_what_is_not_named() {
        let machine = Machine::new();
        machine
            .shell("mkdir -m 2750 /etc/real; chown 1:1 /etc/real; ln -s real /etc/link; touch /etc/file")
            .await;
        for path in ["/etc/real", "/etc/link"] {
            assert_eq!(
                machine.probe(&directory(path), &Modifiers::default()).await.unwrap(),
                Verdict::Satisfied
            );
        }
        let modifiers = Modifiers { mode: Some(0o755), ..Default::default() };
        let change = machine.converge(&directory("/etc/link"), &modifiers).await;
        assert_eq!(
            (change.action, change.diff),
            (ChangeAction::Modify, vec!["-mode 2750".into(), "+mode 0755".into()])
        );
        assert_eq!(machine.shell("stat -c %U /etc/real").await, "daemon\n");
        assert!(machine.probe(&directory("/etc/file"), &Modifiers::default()).await.is_err());
        assert!(machine.apply(&directory("/etc/file"), &Modifiers::default()).await.is_err());
    }
}
