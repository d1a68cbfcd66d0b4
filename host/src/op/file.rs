//! `file`: a file with this content, mode and owner, replaced atomically.
//!
//! A missing parent directory is made (root, 0755) and stays when the file is taken back; a plugin that wants it gone
//! declares a `directory`. A symbolic link at the path is replaced by the file, never written through.

use async_trait::async_trait;
use base64::Engine as _;

use crate::op::sh::{self, Place, Seen};
use crate::op::{ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict};
use crate::op::{Content, diff, path};
use crate::plugin::capability::Need;
use crate::transport::quote::quote;
use crate::transport::{Output, Script, Stdin};

/// Larger content travels on a channel of its own.
const INLINE_LIMIT: usize = 256 << 10;

/// A file's content, mode and owner.
#[derive(Debug, Clone)]
pub struct File {
    /// Absolute path on the node.
    pub path: String,
    /// What it holds; a secret is never sent back or shown.
    pub content: Content,
}

impl File {
    fn is_secret(&self) -> bool {
        matches!(self.content, Content::Secret(_))
    }

    /// Unless the plugin says otherwise: 0644, 0600 for secrets.
    fn mode(&self, cx: NodeContext<'_>) -> u32 {
        cx.modifiers.mode.unwrap_or(if self.is_secret() { 0o600 } else { 0o644 })
    }

    fn content_diff(&self, old: Option<&[u8]>, old_size: u64, old_sha256: &str) -> Vec<String> {
        if self.is_secret() {
            return vec![format!("-{}", diff::SENSITIVE), format!("+{}", diff::SENSITIVE)];
        }
        let new = self.content.bytes();
        match (old.and_then(diff::as_text), diff::as_text(new)) {
            (Some(old), Some(new)) => diff::unified(old, new),
            (None, Some(new)) => {
                let mut lines = vec![diff::binary('-', old_size, old_sha256)];
                lines.extend(diff::added(new));
                lines
            }
            (_, None) => vec![
                diff::binary('-', old_size, old_sha256),
                diff::binary('+', new.len() as u64, &sh::sha256(new)),
            ],
        }
    }

    fn new_lines(&self) -> Vec<String> {
        let new = self.content.bytes();
        match diff::as_text(new) {
            _ if self.is_secret() => vec![format!("+{}", diff::SENSITIVE)],
            Some(text) => diff::added(text),
            None => vec![diff::binary('+', new.len() as u64, &sh::sha256(new))],
        }
    }
}

/// User and group of files and directories when nobody says otherwise.
pub(super) fn owner(cx: NodeContext<'_>) -> (&str, &str) {
    cx.modifiers.owner.as_ref().map_or(("root", "root"), |(user, group)| (user, group))
}

#[async_trait]
impl NodeOp for File {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn target(&self) -> String {
        self.path.clone()
    }

    fn summary(&self) -> String {
        format!("write {}", self.path)
    }

    fn accepts(&self) -> &'static [&'static str] {
        &["mode", "owner"]
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::File(self.path.clone())]
    }

    // The present content comes back only when it differs, is small, and everybody on the node may read it: a file that only
    // root can read may hold somebody's password.
    fn probe(&self, _cx: NodeContext<'_>) -> String {
        let send = if self.is_secret() { "" } else { SEND_PRESENT };
        let want = sh::sha256(self.content.bytes());
        format!("{}{}{HASH_PRESENT}{send}fi\n", sh::look(&self.path), sh::set("want", &want))
    }

    fn judge(&self, cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        path::check(&self.path)?;
        if !probed.ok() {
            return Err(sh::failure(format!("look at {}", self.path), probed));
        }
        let answer = probed.text();
        let mut lines = answer.lines();
        let new = self.new_lines();
        let (action, diff) = match Seen::parse(lines.next().unwrap_or_default())? {
            Seen::Missing => (ChangeAction::Create, new),
            Seen::Link(to) => (ChangeAction::Modify, [vec![format!("-symbolic link to {to}")], new].concat()),
            Seen::File(status) => {
                let sha256 = lines.next().unwrap_or_default();
                let mut diff = Vec::new();
                if sha256 != sh::sha256(self.content.bytes()) {
                    let old = lines.next().map(decode).transpose()?;
                    diff = self.content_diff(old.as_deref(), status.size, sha256);
                }
                let (user, group) = owner(cx);
                diff.extend(status.mode_diff(self.mode(cx)));
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
        let bytes = self.content.bytes();
        let sha256 = sh::sha256(bytes);
        let temp = sh::temporary(cx.at, self.kind(), &self.path);
        let place = Place {
            path: &self.path,
            temp: &temp,
            mode: self.mode(cx.at),
            owner: owner(cx.at),
            sha256: &sha256,
        };
        let script = Script::new(place.script(sh::RECEIVE));
        let output = if bytes.len() > INLINE_LIMIT {
            cx.mutate_feed(script, &mut &*bytes).await?
        } else {
            let stdin = match &self.content {
                Content::Plain(bytes) => Stdin::Plain(bytes.clone()),
                Content::Secret(secret) => Stdin::Secret(secret.clone()),
            };
            cx.mutate(script.with_stdin(stdin)).await?
        };
        match output.status {
            0 => Ok(()),
            sh::CHECKSUM => {
                let mut error = OpError::new(
                    "ksp::op::damaged",
                    format!("{} arrived damaged; the old file is untouched", self.path),
                );
                error.tail = output.tail(3);
                error.retryable = true;
                Err(error.hint("run the same command again; if it stays, check the node's disk and memory"))
            }
            _ => Err(sh::failure(self.summary(), &output)),
        }
    }

    fn ledger(&self, cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        vec![LedgerEntry {
            kind: self.kind().into(),
            target: self.path.clone(),
            stage: cx.stage.into(),
            digest: Some(format!("sha256:{}", sh::sha256(self.content.bytes()))),
            details: Default::default(),
        }]
    }
}

/// Removes the file; a directory that took its place stays.
pub fn teardown(entry: &LedgerEntry) -> String {
    format!("p={}\nif [ -L \"$p\" ] || [ ! -d \"$p\" ]; then rm -f -- \"$p\"; fi\n", quote(&entry.target))
}

const HASH_PRESENT: &str = r#"if [ -f "$p" ] && [ ! -L "$p" ]; then
  h=$(sha256sum < "$p"); h=${h%% *}; echo "$h"
"#;

const SEND_PRESENT: &str = r#"  if [ "$h" != "$want" ]; then
    set -- $(stat -c '%a %s' -- "$p")
    if [ $((0$1 & 4)) -ne 0 ] && [ "$2" -le 65536 ]; then base64 -w 0 < "$p"; echo; fi
  fi
"#;

fn decode(line: &str) -> Result<Vec<u8>, OpError> {
    base64::engine::general_purpose::STANDARD.decode(line).map_err(|_| sh::nonsense(line))
}

#[cfg(test)]
#[path = "tests/file.rs"]
mod tests;
