//! `link`: a symbolic link. A file or another link at its path is replaced atomically, a directory is not.

use async_trait::async_trait;

use crate::op::sh::{self, Seen};
use crate::op::{
    ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict, path,
};
use crate::plugin::capability::Need;
use crate::transport::quote::quote;
use crate::transport::{Output, Script};

/// A symbolic link.
#[derive(Debug, Clone)]
pub struct Link {
    /// Absolute path of the link.
    pub path: String,
    /// What it holds: absolute, or relative to the link's directory.
    pub link_target: String,
}

impl Link {
    fn check(&self) -> Result<(), OpError> {
        path::check(&self.path)?;
        if self.link_target.is_empty() || self.link_target.chars().any(char::is_control) {
            let message = format!("{} cannot point to {:?}", self.path, self.link_target);
            return Err(OpError::new("ksp::op::path", message));
        }
        Ok(())
    }
}

#[async_trait]
impl NodeOp for Link {
    fn kind(&self) -> &'static str {
        "link"
    }

    fn target(&self) -> String {
        self.path.clone()
    }

    fn summary(&self) -> String {
        format!("link {} to {}", self.path, self.link_target)
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::File(self.path.clone())]
    }

    fn probe(&self, _cx: NodeContext<'_>) -> String {
        sh::look(&self.path)
    }

    fn judge(&self, _cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        self.check()?;
        if !probed.ok() {
            return Err(sh::failure(format!("look at {}", self.path), probed));
        }
        let new = format!("+symbolic link to {}", self.link_target);
        let (action, diff) = match Seen::parse(probed.text().trim_end_matches('\n'))? {
            Seen::Link(to) if to == self.link_target => return Ok(Verdict::Satisfied),
            Seen::Link(to) => (ChangeAction::Modify, vec![format!("-symbolic link to {to}"), new]),
            Seen::File(status) => {
                (ChangeAction::Modify, vec![format!("-file of {} bytes", status.size), new])
            }
            Seen::Missing => (ChangeAction::Create, vec![new]),
            Seen::Directory(_) | Seen::Other => {
                return Err(sh::in_the_way(&self.path, "a link"));
            }
        };
        Ok(Verdict::Change(Change { action, diff }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        self.check()?;
        let names = [
            sh::set("p", &self.path),
            sh::set("d", sh::parent(&self.path)),
            sh::set("t", &sh::temporary(cx.at, self.kind(), &self.path)),
            sh::set("to", &self.link_target),
        ]
        .concat();
        let output = cx.mutate(Script::new(format!("{}{names}{MAKE}", sh::header()))).await?;
        if output.ok() { Ok(()) } else { Err(sh::failure(self.summary(), &output)) }
    }

    fn ledger(&self, cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        vec![LedgerEntry {
            kind: self.kind().into(),
            target: self.path.clone(),
            stage: cx.stage.into(),
            digest: None,
            details: [("to".into(), self.link_target.clone())].into(),
        }]
    }
}

const MAKE: &str = r#"ksp_parent "$d"
if [ -d "$p" ] && [ ! -L "$p" ]; then echo "$p is a directory" >&2; exit 31; fi
trap 'rm -f -- "$t"' EXIT
trap 'exit 129' HUP INT TERM PIPE
e=$( { rm -f -- "$t" && ln -s -- "$to" "$t" && mv -fT -- "$t" "$p"; } 2>&1 ) || ksp_failed "$d" "$e"
sync -- "${d:-/}"
"#;

/// Removes the link when it still holds what ksp wrote.
pub fn teardown(entry: &LedgerEntry) -> String {
    let to = entry.details.get("to").map(String::as_str).unwrap_or_default();
    format!(
        "p={}\nif [ -L \"$p\" ] && [ \"$(readlink -- \"$p\")\" = {} ]; then rm -f -- \"$p\"; fi\n",
        quote(&entry.target),
        quote(to)
    )
}

#[cfg(test)]
mod tests {
    use crate::op::Modifiers;
    use crate::op::testing::Machine;

    use super::*;

    #[tokio::test]
    async fn a_link_replaces_files_and_links_but_not_directories() {
        let machine = Machine::new();
        machine.shell("mkdir /etc/real /etc/other; ln -s other /etc/a; echo x > /etc/b").await;
        let none = Modifiers::default();
        for path in ["/etc/a", "/etc/b", "/etc/new dir/$(c)"] {
            let op = Link { path: path.into(), link_target: "/etc/it's real".into() };
            machine.converge(&op, &none).await;
            assert_eq!(std::fs::read_link(machine.path(path)).unwrap().to_str(), Some("/etc/it's real"));
        }
        assert!(machine.shell("ls -A /etc/other").await.is_empty(), "nothing was put below the old target");
        let op = Link { path: "/etc/real".into(), link_target: "x".into() };
        assert_eq!(machine.probe(&op, &none).await.unwrap_err().code, "ksp::op::in-the-way");
        assert_eq!(machine.apply(&op, &none).await.unwrap_err().code, "ksp::op::in-the-way");
    }

    #[tokio::test]
    async fn only_the_own_link_is_taken_back() {
        let machine = Machine::new();
        let op = Link { path: "/etc/a".into(), link_target: "one".into() };
        machine.converge(&op, &Modifiers::default()).await;
        machine.shell("ln -sfn two /etc/a").await;
        machine.teardown(&op, &Modifiers::default()).await;
        assert!(machine.path("/etc/a").is_symlink());
        machine.converge(&op, &Modifiers::default()).await;
        machine.teardown(&op, &Modifiers::default()).await;
        assert!(!machine.path("/etc/a").is_symlink());
    }
}
