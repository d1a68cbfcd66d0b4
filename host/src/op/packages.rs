//! `packages`: packages of the distribution, through apt or dnf. Only presence is managed: which version, the distribution says.
//!
//! The node remembers which packages were not there before, and only those are taken back, by tools that refuse when
//! something else needs them.

use std::time::Duration;

use async_trait::async_trait;

use crate::op::sh::{self, MEMORY};
use crate::op::{ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict};
use crate::plugin::capability::Need;
use crate::transport::quote::{command, quote};
use crate::transport::{Output, Script};

/// For one attempt, when the plugin does not say: two minutes for a lock, the rest for a slow mirror.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Exit status: neither apt nor dnf.
const NO_MANAGER: i32 = 50;
/// Exit status: the package manager is locked by somebody else.
const LOCKED: i32 = 51;
/// Exit status: an earlier installation was interrupted.
const INTERRUPTED: i32 = 52;

/// Packages that must be installed.
#[derive(Debug, Clone)]
pub struct Packages {
    /// Names as the distribution has them.
    pub names: Vec<String>,
}

impl Packages {
    fn check(&self) -> Result<(), OpError> {
        let plain = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "+-._:".contains(c))
        };
        match self.names.iter().find(|name| !plain(name)) {
            None => Ok(()),
            Some(name) => {
                Err(OpError::new("ksp::op::package-name", format!("{name:?} is not the name of a package")))
            }
        }
    }
}

#[async_trait]
impl NodeOp for Packages {
    fn kind(&self) -> &'static str {
        "packages"
    }

    fn target(&self) -> String {
        self.names.join(",")
    }

    fn summary(&self) -> String {
        format!("install packages {}", self.names.join(", "))
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Packages]
    }

    fn probe(&self, _cx: NodeContext<'_>) -> String {
        format!("{}set -- {}\n{MISSING}", sh::HEADER, command(&self.names))
    }

    fn judge(&self, _cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        self.check()?;
        match probed.status {
            0 => {}
            NO_MANAGER => return Err(no_manager()),
            _ => return Err(sh::failure("look for packages", probed)),
        }
        let diff: Vec<String> = probed.text().split_whitespace().map(|name| format!("+{name}")).collect();
        if diff.is_empty() {
            return Ok(Verdict::Satisfied);
        }
        Ok(Verdict::Change(Change { action: ChangeAction::Create, diff }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        self.check()?;
        let text = format!(
            "{}set -- {}\nmissing=$(\n{MISSING}) || exit $?\nm={}\n{INSTALL}",
            sh::HEADER,
            command(&self.names),
            quote(&memory(cx.at.stage)),
        );
        let timeout = cx.at.modifiers.timeout.unwrap_or(TIMEOUT);
        let output = cx.mutate_aside(Script::new(text).with_timeout(timeout)).await?;
        let mut error = sh::failure(self.summary(), &output);
        match output.status {
            0 => return Ok(()),
            NO_MANAGER => return Err(no_manager()),
            LOCKED => {
                error.code = "ksp::op::package-lock";
                error.message =
                    format!("{}: another package manager has been at work for two minutes", self.summary());
                error = error
                    .hint("the last lines name its process; wait until it has ended, never remove its lock");
            }
            INTERRUPTED => {
                error.code = "ksp::op::package-interrupted";
                error.message =
                    format!("{}: an earlier installation on this node was interrupted", self.summary());
                error.retryable = false;
                error = error.hint("on the node, run `dpkg --configure -a` and look at what it says");
            }
            _ => {
                error = error.hint(
                    "check that the node reaches its package mirrors, and the names for this distribution",
                )
            }
        }
        Err(error)
    }

    fn ledger(&self, cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        vec![LedgerEntry {
            kind: self.kind().into(),
            target: self.target(),
            stage: cx.stage.into(),
            digest: None,
            details: [("memory".into(), memory(cx.stage))].into(),
        }]
    }
}

fn memory(stage: &str) -> String {
    format!("{MEMORY}/packages/{}", sh::token(&[stage]))
}

fn no_manager() -> OpError {
    OpError::new("ksp::op::no-package-manager", "the node has neither apt nor dnf")
        .hint("supported are Debian, Ubuntu and the Red Hat family; install what is needed by hand and leave the list empty")
}

/// Removes what the stage brought and nothing else needs. What cannot go stays and is named.
pub fn teardown(entry: &LedgerEntry) -> String {
    let Some(memory) = entry.details.get("memory").filter(|memory| memory.starts_with(MEMORY)) else {
        return String::new();
    };
    let names: Vec<String> = entry.target.split(',').map(str::to_owned).collect();
    format!("m={}\nset -- {}\n{TAKE_BACK}", quote(memory), command(&names))
}

/// Prints those of `$@` that are not installed. apt first: an rpm command on Debian says nothing of Debian's packages.
const MISSING: &str = r#"if command -v apt-get >/dev/null 2>&1; then
  for name; do
    case $(dpkg-query -W -f='${db:Status-Status} ' -- "$name" 2>/dev/null) in *'installed '*) ;; *) echo "$name";; esac
  done
elif command -v dnf >/dev/null 2>&1; then
  for name; do rpm -q --whatprovides -- "$name" >/dev/null 2>&1 || echo "$name"; done
else exit 50; fi
"#;

// What is about to be installed is remembered before: an interrupted installation is taken back too.
const INSTALL: &str = r#"[ -n "$missing" ] || exit 0
set -- $missing
(umask 077; mkdir -p -- "${m%/*}" && for name; do grep -q -x -F -e "$name" "$m" 2>/dev/null || echo "$name"; done >> "$m") || exit 1
if ! command -v apt-get >/dev/null 2>&1; then exec dnf install -y -q --setopt=install_weak_deps=False -- "$@"; fi
DEBIAN_FRONTEND=noninteractive; export DEBIAN_FRONTEND
ksp_apt() {
  until=$(($(date +%s) + 120))
  while :; do
    said=$(apt-get -y -q -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" 2>&1 </dev/null)
    status=$?
    [ $status -ne 0 ] || return 0
    case $said in
      *'dpkg --configure -a'*) printf '%s\n' "$said" >&2; exit 52;;
      *'Could not get lock'*|*'Unable to lock'*|*'Unable to acquire the dpkg'*)
        # The lock of the lists has no timeout of its own.
        if [ "$(date +%s)" -ge "$until" ]; then printf '%s\n' "$said" >&2; exit 51; fi
        echo 'waiting for another package manager'; sleep 2; continue;;
    esac
    return $status
  done
}
updated=no
for name; do
  if ! apt-cache show --no-all-versions -- "$name" >/dev/null 2>&1; then
    echo 'updating the package lists'
    ksp_apt update || { printf '%s\n' "$said" | tail -n 20 >&2; exit 1; }
    updated=yes; break
  fi
done
echo "installing $*"
ksp_apt install --no-install-recommends -- "$@" && exit 0
# Lists that are too old name files that the mirror no longer has.
if [ $updated = no ]; then
  echo 'updating the package lists'
  ksp_apt update && ksp_apt install --no-install-recommends -- "$@" && exit 0
fi
printf '%s\n' "$said" | tail -n 20 >&2
exit 1
"#;

const TAKE_BACK: &str = r#"if [ -r "$m" ]; then
  for name; do
    grep -q -x -F -e "$name" "$m" || continue
    if command -v apt-get >/dev/null 2>&1; then said=$(dpkg -r -- "$name" 2>&1); else said=$(rpm -e -- "$name" 2>&1); fi || echo "$name stays: $said"
    left=$(grep -v -x -F -e "$name" "$m")
    if [ -n "$left" ]; then printf '%s\n' "$left" > "$m"; else rm -f -- "$m"; break; fi
  done
fi
"#;

#[cfg(test)]
#[path = "tests/packages.rs"]
mod tests;
