//! `sysctl`: kernel settings, in force now and after a boot, in a file of the stage's own: `/etc/sysctl.d/99-sysctl.conf` may
//! be a link to a file of the administrator's (T28).
//!
//! Values are written to `/proc/sys` directly, one by one, so that an error names the key; `sysctl` need not be installed.
//! Taking back removes the file; what is in force stays until the next boot, because others may rely on it.

use async_trait::async_trait;

use crate::op::sh;
use crate::op::{
    ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict, diff, file,
};
use crate::plugin::capability::Need;
use crate::transport::quote::{command, quote};
use crate::transport::{Output, Script};

/// Exit status: a key does not exist or does not take the value.
const REFUSED: i32 = 53;

/// Kernel settings. One op a stage: they share a file.
#[derive(Debug, Clone)]
pub struct Sysctl {
    /// Keys as `sysctl` writes them ("net.ipv4.ip_forward") and values.
    pub settings: Vec<(String, String)>,
}

impl Sysctl {
    fn check(&self) -> Result<(), OpError> {
        for (key, value) in &self.settings {
            let parts = proc_path(key);
            let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || "._-/@:".contains(c));
            let odd = parts.split('/').any(|part| part.is_empty() || part == "." || part == "..");
            if !plain || odd || value.is_empty() || value.chars().any(char::is_control) {
                let message = format!("{key:?} = {value:?} is not a kernel setting");
                return Err(OpError::new("ksp::op::sysctl", message));
            }
        }
        Ok(())
    }

    fn path(cx: NodeContext<'_>) -> String {
        format!("/etc/sysctl.d/90-ksp-{}.conf", cx.stage)
    }

    fn content(&self) -> String {
        let lines: String = self.settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        format!("# Written by ksp; changes are overwritten.\n{lines}")
    }

    /// Path below /proc/sys, value, key of each setting.
    fn words(&self) -> String {
        let words: Vec<String> = self
            .settings
            .iter()
            .flat_map(|(key, value)| [format!("/proc/sys/{}", proc_path(key)), value.clone(), key.clone()])
            .collect();
        command(&words)
    }
}

/// As `sysctl` reads keys: the first separator is the one that separates, the other one is part of a name
/// ("net/ipv4/conf/eth0.1/forwarding" and "net.ipv4.conf.eth0/1.forwarding" are the same).
fn proc_path(key: &str) -> String {
    match key.find(['.', '/']).map(|at| key.as_bytes()[at]) {
        Some(b'.') => key
            .chars()
            .map(|c| match c {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => key.to_owned(),
    }
}

/// Values with several numbers are separated by tabs in /proc and by spaces in files.
fn plain(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[async_trait]
impl NodeOp for Sysctl {
    fn kind(&self) -> &'static str {
        "sysctl"
    }

    fn target(&self) -> String {
        "/etc/sysctl.d".into()
    }

    fn summary(&self) -> String {
        let settings: Vec<String> =
            self.settings.iter().map(|(key, value)| format!("{key}={value}")).collect();
        format!("set {}", settings.join(", "))
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Kernel]
    }

    fn probe(&self, cx: NodeContext<'_>) -> String {
        format!("set -- {}\np={}\n{LOOK}", self.words(), quote(&Self::path(cx)))
    }

    fn judge(&self, cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        self.check()?;
        if !probed.ok() {
            return Err(sh::failure("read kernel settings", probed));
        }
        let answer = probed.text();
        let (values, file) = answer.split_once("== ").ok_or_else(|| sh::nonsense(&answer))?;
        let values: Vec<&str> = values.lines().collect();
        if values.len() != self.settings.len() {
            return Err(sh::nonsense(&answer));
        }
        let mut diff = Vec::new();
        for ((key, value), seen) in self.settings.iter().zip(values) {
            match seen.strip_prefix("v ") {
                Some(seen) if plain(seen) == plain(value) => {}
                Some(seen) => diff.extend([format!("-{key} = {}", plain(seen)), format!("+{key} = {value}")]),
                // A module that is loaded before this op takes effect may bring it.
                None => diff.push(format!("+{key} = {value}")),
            }
        }
        let file = file.strip_prefix("file\n");
        if file != Some(&self.content()) {
            let lines = diff::unified(file.unwrap_or_default(), &self.content());
            diff.push(format!(" {}:", Self::path(cx)));
            diff.extend(lines);
        }
        if diff.is_empty() {
            return Ok(Verdict::Satisfied);
        }
        let action = if file.is_some() { ChangeAction::Modify } else { ChangeAction::Create };
        Ok(Verdict::Change(Change { action, diff }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        self.check()?;
        let path = Self::path(cx.at);
        let write = sh::place_text(&path, &sh::temporary(cx.at, self.kind(), &path), &self.content());
        // First what can be refused, then the file: a setting that does not exist must not be kept for the next boot.
        let text = format!("{}set -- {}\n{SET}{write}{OVERRULED}", sh::HEADER, self.words());
        let output = cx.mutate(Script::new(text)).await?;
        if output.status == REFUSED {
            let message = output.tail(1).pop().unwrap_or_default();
            return Err(OpError::new("ksp::op::sysctl", message).hint(
                "a kernel module may have to be loaded first, or this kernel does not know the setting",
            ));
        }
        if !output.ok() {
            return Err(sh::failure(self.summary(), &output));
        }
        output.text().lines().for_each(|line| cx.say(line));
        Ok(())
    }

    fn ledger(&self, cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        vec![LedgerEntry {
            kind: self.kind().into(),
            target: Self::path(cx),
            stage: cx.stage.into(),
            digest: Some(format!("sha256:{}", sh::sha256(self.content().as_bytes()))),
            details: Default::default(),
        }]
    }
}

/// Removes the file.
pub fn teardown(entry: &LedgerEntry) -> String {
    file::teardown(entry)
}

const LOOK: &str = r#"while [ $# -ge 3 ]; do
  if [ -r "$1" ]; then printf 'v '; tr '\n\t' '  ' < "$1"; echo; else echo missing; fi
  shift 3
done
if [ -f "$p" ]; then echo '== file'; cat -- "$p"; else echo '== none'; fi
"#;

const SET: &str = r#"while [ $# -ge 3 ]; do
  if [ ! -e "$1" ]; then echo "kernel setting $3 does not exist on this kernel ($(uname -r))" >&2; exit 53; fi
  now=$(tr -s '\n\t ' ' ' < "$1"); now=${now% }
  if [ "$now" != "$2" ]; then
    e=$(printf '%s\n' "$2" | tee -- "$1" 2>&1 >/dev/null) || { echo "kernel setting $3 does not take $2: ${e##*: }" >&2; exit 53; }
  fi
  shift 3
done
"#;

// Files that sort later win at the next boot; people should know.
const OVERRULED: &str = r#"later=
for f in /etc/sysctl.d/*.conf; do
  if [ -n "$later" ] && [ -r "$f" ]; then
    while IFS= read -r line; do
      key=${line%%=*}; key=${key%% *}
      case $line in '#'*|';'*|'') ;; *=*)
        if grep -q -F -e "$key = " "$p" && ! grep -q -F -x -e "$key = $(printf '%s\n' "${line#*=}" | sed 's/^ *//; s/ *$//')" "$p"; then
          echo "warning: $f sets $key otherwise and wins at the next boot"
        fi;;
      esac
    done < "$f"
  fi
  [ "$f" != "$p" ] || later=yes
done
"#;

#[cfg(test)]
#[path = "tests/sysctl.rs"]
mod tests;
