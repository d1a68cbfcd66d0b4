//! `install`: a release file as one executable or data file; 0755 and root's unless the plugin says otherwise.
//!
//! Hashing every binary of a node at every run would cost seconds, so the node remembers what it installed together with
//! the file's inode, size and times: only when one of these moved, the file is hashed again.

use async_trait::async_trait;

use crate::op::sh::{self, MEMORY, Place, Seen};
use crate::op::{ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict};
use crate::op::{diff, fetch, file, path};
use crate::plugin::capability::Need;
use crate::plugin::download::Release;
use crate::transport::Output;
use crate::transport::quote::quote;

/// A release file at a path.
#[derive(Debug, Clone)]
pub struct Install {
    /// Absolute path on the node.
    pub path: String,
    /// What to put there.
    pub release: Release,
}

impl Install {
    fn mode(cx: NodeContext<'_>) -> u32 {
        cx.modifiers.mode.unwrap_or(0o755)
    }
}

#[async_trait]
impl NodeOp for Install {
    fn kind(&self) -> &'static str {
        "install"
    }

    fn target(&self) -> String {
        self.path.clone()
    }

    fn summary(&self) -> String {
        format!("install {} {} as {}", self.release.name, self.release.version, self.path)
    }

    fn accepts(&self) -> &'static [&'static str] {
        &["mode", "owner"]
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::File(self.path.clone()), Need::Artifacts]
    }

    fn probe(&self, _cx: NodeContext<'_>) -> String {
        format!("{}{}{HASH}", sh::look(&self.path), sh::set("m", &memory(&self.path)))
    }

    fn judge(&self, cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        path::check(&self.path)?;
        let source = fetch::source(cx, &self.release)?;
        if !probed.ok() {
            return Err(sh::failure(format!("look at {}", self.path), probed));
        }
        let answer = probed.text();
        let mut lines = answer.lines();
        let seen = Seen::parse(lines.next().unwrap_or_default())?;
        let new = format!("+{} {}, sha256:{}", self.release.name, self.release.version, source.sha256);
        let (action, diff) = match seen {
            Seen::Missing => (ChangeAction::Create, vec![new]),
            Seen::Link(to) => (ChangeAction::Modify, vec![format!("-symbolic link to {to}"), new]),
            Seen::File(status) => {
                let sha256 = lines.next().unwrap_or_default();
                let mut diff = Vec::new();
                if sha256 != source.sha256 {
                    diff.extend([diff::binary('-', status.size, sha256), new]);
                }
                let (user, group) = file::owner(cx);
                diff.extend(status.mode_diff(Self::mode(cx)));
                diff.extend(status.owner_diff(user, group));
                if diff.is_empty() {
                    return Ok(Verdict::Satisfied);
                }
                (ChangeAction::Modify, diff)
            }
            Seen::Directory(_) | Seen::Other => {
                return Err(sh::in_the_way(&self.path, "a file"));
            }
        };
        Ok(Verdict::Change(Change { action, diff }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        path::check(&self.path)?;
        let source = fetch::source(cx.at, &self.release)?;
        let temp = sh::temporary(cx.at, self.kind(), &self.path);
        let (mode, owner) = (Self::mode(cx.at), file::owner(cx.at));
        let place = Place { path: &self.path, temp: &temp, mode, owner, sha256: &source.sha256 };
        let remember = format!("{}{REMEMBER}", sh::set("m", &memory(&self.path)));
        fetch::bring(cx, &self.release, source, |fill| format!("{}{remember}", place.script(fill))).await?;
        Ok(())
    }

    fn ledger(&self, cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        vec![LedgerEntry {
            kind: self.kind().into(),
            target: self.path.clone(),
            stage: cx.stage.into(),
            digest: self
                .release
                .sources
                .get(cx.facts.arch())
                .map(|source| format!("sha256:{}", source.sha256)),
            details: [("release".into(), format!("{} {}", self.release.name, self.release.version))].into(),
        }]
    }
}

/// Removes the file and what the node remembers of it.
pub fn teardown(entry: &LedgerEntry) -> String {
    format!("rm -f -- {}\n{}", quote(&memory(&entry.target)), file::teardown(entry))
}

fn memory(path: &str) -> String {
    format!("{MEMORY}/installed/{}", sh::token(&[path]))
}

/// "sha256 inode size mtime ctime": no write to the file leaves its ctime alone.
const HASH: &str = r#"if [ -f "$p" ] && [ ! -L "$p" ]; then
  known=
  [ ! -r "$m" ] || read -r known < "$m"
  if [ -n "$known" ] && [ "${known#* }" = "$(TZ=UTC0 stat -c '%i %s %y %z' -- "$p")" ]; then echo "${known%% *}"
  else h=$(sha256sum < "$p"); echo "${h%% *}"; fi
fi
"#;

// Only a help: without it the file is hashed.
const REMEMBER: &str = r#"mkdir -p -- "${m%/*}" && printf '%s %s\n' "$want" "$(TZ=UTC0 stat -c '%i %s %y %z' -- "$p")" > "$m" || :
"#;

#[cfg(test)]
#[path = "tests/install.rs"]
mod tests;
