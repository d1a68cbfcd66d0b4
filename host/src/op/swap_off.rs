//! `swap-off`: no swap now and after a boot. Swap comes from /etc/fstab, but also from systemd units that a generator makes
//! (zram, GPT partitions), which come back unless they are masked (T40).
//!
//! Lines of fstab are commented out, the file's other bytes stay. What was changed is remembered and taken back.

use async_trait::async_trait;

use crate::op::sh::{self, MEMORY};
use crate::op::{ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict};
use crate::plugin::capability::Need;
use crate::transport::{Output, Script};

/// All swap is off.
#[derive(Debug, Clone)]
pub struct SwapOff;

#[async_trait]
impl NodeOp for SwapOff {
    fn kind(&self) -> &'static str {
        "swap-off"
    }

    fn target(&self) -> String {
        "swap".into()
    }

    fn summary(&self) -> String {
        "turn swap off".into()
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Kernel]
    }

    fn probe(&self, _cx: NodeContext<'_>) -> String {
        format!("{}{UNITS}{LOOK}", sh::HEADER)
    }

    fn judge(&self, _cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        if !probed.ok() {
            return Err(sh::failure("look for swap", probed));
        }
        let diff: Vec<String> = probed.text().lines().map(|line| format!("-{line}")).collect();
        if diff.is_empty() {
            return Ok(Verdict::Satisfied);
        }
        Ok(Verdict::Change(Change { action: ChangeAction::Remove, diff }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        let names = [sh::set("m", &memory()), sh::set("t", &sh::temporary(cx.at, self.kind(), "/etc/fstab"))]
            .concat();
        let text = format!("{}{names}{UNITS}{TURN_OFF}", sh::header());
        // Pages come back from the disk one by one.
        let timeout = cx.at.modifiers.timeout.unwrap_or(std::time::Duration::from_secs(300));
        let output = cx.mutate_aside(Script::new(text).with_timeout(timeout)).await?;
        if output.ok() {
            return Ok(());
        }
        Err(sh::failure(self.summary(), &output)
            .hint("swapoff fails when memory is too short for what was swapped out: stop something first"))
    }

    fn ledger(&self, cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        vec![LedgerEntry {
            kind: self.kind().into(),
            target: self.target(),
            stage: cx.stage.into(),
            digest: None,
            details: Default::default(),
        }]
    }
}

fn memory() -> String {
    format!("{MEMORY}/swap-off.units")
}

/// Brings back the lines of fstab and the units; swap itself comes back with them.
pub fn teardown(_entry: &LedgerEntry) -> String {
    format!("{}{TAKE_BACK}", sh::set("m", &memory()))
}

// Names of swap units that would start again. A unit that fstab makes is gone when its line is.
const UNITS: &str = r#"ksp_units() {
  command -v systemctl >/dev/null 2>&1 || return 0
  systemctl list-units --type swap --all --plain --no-legend --full 2>/dev/null | while read -r unit load active _; do
    case $load in loaded) echo "$unit";; esac
  done
}
"#;

const LOOK: &str = r#"if [ -r /proc/swaps ]; then { read -r _; while read -r name type size _; do echo "swap on $name ($((size / 1024)) MiB)"; done; } < /proc/swaps; fi
if [ -r /etc/fstab ]; then
  grep -E '^[[:space:]]*[^#[:space:]][^[:space:]]*[[:space:]]+[^[:space:]]+[[:space:]]+swap([[:space:]]|$)' /etc/fstab | sed 's/^/fstab: /'
fi
ksp_units | sed 's/^/unit /'
"#;

const TURN_OFF: &str = r#"fstab=$(readlink -f /etc/fstab)
line='^([[:space:]]*[^#[:space:]][^[:space:]]*[[:space:]]+[^[:space:]]+[[:space:]]+swap([[:space:]].*)?)$'
if [ -f "$fstab" ] && grep -q -E "$line" "$fstab"; then
  t=${fstab%/*}/${t##*/}
  trap 'rm -f -- "$t"' EXIT
  e=$( { cp -p -- "$fstab" "$t" && sed -E "s/$line/#ksp swap-off: \1/" < "$fstab" > "$t" && sync -- "$t" && mv -fT -- "$t" "$fstab"; } 2>&1 ) || ksp_failed "${fstab%/*}" "$e"
  command -v systemctl >/dev/null 2>&1 && systemctl daemon-reload
fi
units=$(ksp_units)
if [ -n "$units" ]; then
  (umask 077; mkdir -p -- "${m%/*}" && printf '%s\n' "$units" >> "$m") || exit 1
  for unit in $units; do systemctl mask --now -- "$unit" || exit 1; done
fi
swapoff -a || exit 1
if [ -r /proc/swaps ]; then { read -r _; if read -r name _; then echo "$name is still in use" >&2; exit 1; fi; } < /proc/swaps; fi
exit 0
"#;

const TAKE_BACK: &str = r#"fstab=$(readlink -f /etc/fstab)
if [ -f "$fstab" ] && grep -q '^#ksp swap-off: ' "$fstab"; then
  t=${fstab%/*}/.fstab.ksp-tmp.back
  cp -p -- "$fstab" "$t" && sed 's/^#ksp swap-off: //' < "$fstab" > "$t" && sync -- "$t" && mv -fT -- "$t" "$fstab" || exit 1
fi
if [ -r "$m" ]; then
  while read -r unit; do systemctl unmask -- "$unit" || :; done < "$m"
  rm -f -- "$m"
  systemctl daemon-reload || :
fi
"#;

#[cfg(test)]
#[path = "tests/swap_off.rs"]
mod tests;
