//! `kernel-modules`: modules loaded now and at every boot. What is built into the kernel counts as loaded (T31).
//!
//! On a machine without `/lib/modules/<release>` (a container, a kernel without modules) nothing can be loaded and often
//! nothing can be told either: a module that shows nowhere is presumed to be built in, and said to be so, because refusing
//! would refuse every machine of that kind. Such names stay out of the file for the next boot, where they would only fail.

use async_trait::async_trait;

use crate::op::sh;
use crate::op::{
    ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict, file,
};
use crate::plugin::capability::Need;
use crate::transport::quote::{command, quote};
use crate::transport::{Output, Script};

/// Exit status: a module is not there or cannot be loaded.
const REFUSED: i32 = 54;

/// Kernel modules. One op a stage: they share a file.
#[derive(Debug, Clone)]
pub struct KernelModules {
    /// Names as modprobe takes them.
    pub names: Vec<String>,
}

impl KernelModules {
    fn check(&self) -> Result<(), OpError> {
        let plain = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        match self.names.iter().find(|name| !plain(name)) {
            None => Ok(()),
            Some(name) => {
                Err(OpError::new("ksp::op::module", format!("{name:?} is not the name of a kernel module")))
            }
        }
    }

    fn path(cx: NodeContext<'_>) -> String {
        format!("/etc/modules-load.d/ksp-{}.conf", cx.stage)
    }

    /// What the file holds on a machine that can load modules, and on one that cannot.
    fn content(&self, loadable: bool) -> String {
        let sign = if loadable { "" } else { "# built in: " };
        let lines: String = self.names.iter().map(|name| format!("{sign}{name}\n")).collect();
        format!("# Written by ksp; changes are overwritten.\n{lines}")
    }
}

#[async_trait]
impl NodeOp for KernelModules {
    fn kind(&self) -> &'static str {
        "kernel-modules"
    }

    fn target(&self) -> String {
        "/etc/modules-load.d".into()
    }

    fn summary(&self) -> String {
        format!("load kernel modules {}", self.names.join(", "))
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Kernel]
    }

    fn probe(&self, cx: NodeContext<'_>) -> String {
        format!("{}{STATE}set -- {}\np={}\n{LOOK}", sh::HEADER, command(&self.names), quote(&Self::path(cx)))
    }

    fn judge(&self, cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        self.check()?;
        if !probed.ok() {
            return Err(sh::failure("look at kernel modules", probed));
        }
        let answer = probed.text();
        let (states, file) = answer.split_once("== ").ok_or_else(|| sh::nonsense(&answer))?;
        let mut states = states.lines();
        let loadable = states.next() == Some("loadable");
        let states: Vec<&str> = states.collect();
        if states.len() != self.names.len() {
            return Err(sh::nonsense(&answer));
        }
        let mut diff = Vec::new();
        let mut presumed = Vec::new();
        for (name, state) in self.names.iter().zip(states) {
            match state {
                "present" => {}
                "absent" => diff.push(format!("+{name}")),
                "unknown" => {
                    presumed.push(format!(" {name} (cannot be told on this machine; presumed built in)"))
                }
                // An earlier op may bring it, but hardly ever does: better to know before anything is changed.
                _ => return Err(not_there(name)),
            }
        }
        let file = file.strip_prefix("file\n");
        if file != Some(&self.content(loadable)) {
            diff.extend(presumed);
            diff.push(format!(" {}", Self::path(cx)));
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
        let temp = sh::temporary(cx.at, self.kind(), &path);
        let load = format!("{}{STATE}set -- {}\n{LOAD}", sh::HEADER, command(&self.names));
        let write = |loadable: bool| sh::place_text(&path, &temp, &self.content(loadable));
        let text = format!("{load}if [ $loadable = yes ]; then\n{}else\n{}fi\n", write(true), write(false));
        let output = cx.mutate(Script::new(text)).await?;
        if output.status == REFUSED {
            let mut error = OpError::new("ksp::op::module", output.tail(1).pop().unwrap_or_default());
            error.tail = output.tail(5);
            return Err(error.hint(
                "distributions keep rarer modules in a package of their own, such as linux-modules-extra",
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
            digest: None,
            details: Default::default(),
        }]
    }
}

/// Removes the file; modules stay loaded until the next boot.
pub fn teardown(entry: &LedgerEntry) -> String {
    file::teardown(entry)
}

fn not_there(name: &str) -> OpError {
    OpError::new("ksp::op::module", format!("kernel module {name} does not exist on this kernel"))
        .hint("distributions keep rarer modules in a package of their own, such as linux-modules-extra")
}

// `ksp_module NAME`: present, absent (can be loaded), missing, or unknown. $loadable: this kernel has its modules at hand.
// Some features show elsewhere than in /sys/module when they are built in.
const STATE: &str = r#"tree=/lib/modules/$(uname -r)
if [ -d "$tree" ] && command -v modprobe >/dev/null 2>&1; then loadable=yes; else loadable=no; fi
ksp_module() {
  plain=$(printf %s "$1" | tr - _)
  sign=
  case $plain in
    br_netfilter) sign=/proc/sys/net/bridge;;
    nf_conntrack) sign=/proc/sys/net/netfilter/nf_conntrack_max;;
    ip_vs) sign=/proc/net/ip_vs;;
    ip_tables|iptable_*) sign=/proc/net/ip_tables_names;;
    tun) sign=/dev/net/tun;;
  esac
  if grep -q "^$plain " /proc/modules 2>/dev/null || [ -d "/sys/module/$plain" ]; then echo present
  elif [ -n "$sign" ] && [ -e "$sign" ]; then echo present
  elif grep -q "[[:space:]]$plain\$" /proc/filesystems; then echo present
  elif [ -r "$tree/modules.builtin" ] && sed 's,.*/,,; s/\.ko.*$//' "$tree/modules.builtin" | tr - _ | grep -q -x -e "$plain"; then echo present
  elif [ $loadable = no ]; then echo unknown
  elif modprobe -n -q -- "$1" 2>/dev/null; then echo absent
  else echo missing; fi
}
"#;

const LOOK: &str = r#"if [ $loadable = yes ]; then echo loadable; else echo fixed; fi
for name; do ksp_module "$name"; done
if [ -f "$p" ]; then echo '== file'; cat -- "$p"; else echo '== none'; fi
"#;

const LOAD: &str = r#"for name; do
  case $(ksp_module "$name") in
    present) ;;
    unknown) echo "kernel module $name cannot be told on this machine without /lib/modules; presumed built in";;
    *)
      e=$(modprobe -- "$name" 2>&1)
      case $(ksp_module "$name") in present) ;; *) echo "kernel module $name cannot be loaded: $e" | tail -n 1 >&2; exit 54;; esac;;
  esac
done
"#;

#[cfg(test)]
#[path = "tests/kernel_modules.rs"]
mod tests;
