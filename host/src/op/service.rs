//! `service`: a systemd unit that is enabled, or running, or both; what is not asked for is left alone.
//!
//! The node remembers how a unit was before ksp changed it the first time; taking back restores that.

use std::time::Duration;

use async_trait::async_trait;

use crate::op::sh::{self, MEMORY};
use crate::op::{ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict};
use crate::plugin::capability::Need;
use crate::transport::quote::quote;
use crate::transport::{Output, Script};

/// For one attempt, when the plugin does not say: systemd itself gives up after 90 s by default.
pub(super) const TIMEOUT: Duration = Duration::from_secs(120);

/// A systemd unit's state.
#[derive(Debug, Clone)]
pub struct Service {
    /// "containerd", "kubelet.service", "etcd-backup.timer".
    pub unit: String,
    /// Must start at boot.
    pub enabled: bool,
    /// Must run now.
    pub running: bool,
}

/// Refuses what is not the name of a unit.
pub(super) fn check_unit(unit: &str) -> Result<(), OpError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@\\".contains(c);
    if unit.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') && unit.chars().all(plain) {
        return Ok(());
    }
    Err(OpError::new("ksp::op::unit", format!("{unit:?} is not the name of a systemd unit")))
}

/// A unit's state as `systemctl show` prints it.
#[derive(Debug, Default)]
struct State<'a> {
    load: &'a str,
    file: &'a str,
    active: &'a str,
    reload: bool,
}

impl<'a> State<'a> {
    fn parse(text: &'a str) -> Self {
        let mut state = State::default();
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "LoadState" => state.load = value,
                "UnitFileState" => state.file = value,
                "ActiveState" => state.active = value,
                "NeedDaemonReload" => state.reload = value == "yes",
                _ => {}
            }
        }
        state
    }

    /// Units without an [Install] section cannot be enabled and need not be.
    fn is_enabled(&self) -> bool {
        ["enabled", "static", "generated", "indirect", "alias", "transient"].contains(&self.file)
    }

    fn is_running(&self) -> bool {
        ["active", "reloading"].contains(&self.active)
    }
}

#[async_trait]
impl NodeOp for Service {
    fn kind(&self) -> &'static str {
        "service"
    }

    fn target(&self) -> String {
        self.unit.clone()
    }

    fn summary(&self) -> String {
        let verb = match (self.enabled, self.running) {
            (true, true) => "enable and start",
            (true, false) => "enable",
            (false, true) => "start",
            (false, false) => "leave alone",
        };
        format!("{verb} {}", self.unit)
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Services]
    }

    fn probe(&self, _cx: NodeContext<'_>) -> String {
        format!(
            "systemctl show -p LoadState,UnitFileState,ActiveState,NeedDaemonReload -- {}\n",
            quote(&self.unit)
        )
    }

    fn judge(&self, _cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        check_unit(&self.unit)?;
        if !probed.ok() {
            return Err(no_systemd(probed));
        }
        let text = probed.text();
        let state = State::parse(&text);
        if state.load == "masked" && (self.enabled || self.running) {
            return Err(masked(&self.unit));
        }
        let mut diff = Vec::new();
        // "enabled-runtime" is gone after a boot.
        if self.enabled && !state.is_enabled() {
            diff.extend(words(state.file, "enabled"));
        }
        if self.running && !state.is_running() {
            diff.extend(words(state.active, "running"));
        }
        if state.reload {
            diff.push(" its unit file changed: daemon-reload".into());
        }
        if diff.is_empty() {
            return Ok(Verdict::Satisfied);
        }
        Ok(Verdict::Change(Change { action: ChangeAction::Modify, diff }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        check_unit(&self.unit)?;
        let names = [
            sh::set("unit", &self.unit),
            sh::set("m", &memory(&self.unit)),
            sh::set("enabled", if self.enabled { "yes" } else { "no" }),
            sh::set("running", if self.running { "yes" } else { "no" }),
        ]
        .concat();
        let text = format!("{}{names}{FUNCTIONS}{SETTLE}", sh::HEADER);
        let output =
            cx.mutate(Script::new(text).with_timeout(cx.at.modifiers.timeout.unwrap_or(TIMEOUT))).await?;
        finish(&self.summary(), &self.unit, &output)
    }

    fn ledger(&self, cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        vec![LedgerEntry {
            kind: self.kind().into(),
            target: self.unit.clone(),
            stage: cx.stage.into(),
            digest: None,
            details: Default::default(),
        }]
    }
}

/// Where the node remembers how a unit was before ksp.
pub(super) fn memory(unit: &str) -> String {
    format!("{MEMORY}/services/{}", sh::token(&[unit]))
}

fn words(old: &str, new: &str) -> [String; 2] {
    [format!("-{}", if old.is_empty() { "not there" } else { old }), format!("+{new}")]
}

fn masked(unit: &str) -> OpError {
    OpError::new("ksp::op::unit-masked", format!("unit {unit} is masked: somebody does not want it to run"))
        .hint(format!("when that is no longer so, run `systemctl unmask {unit}` on the node"))
}

fn no_systemd(output: &Output) -> OpError {
    let mut error = OpError::new("ksp::op::no-systemd", "systemd does not answer on this node");
    error.tail = output.tail(3);
    error.hint("ksp needs systemd as the node's init system")
}

/// The error with the unit's last words, which [`FUNCTIONS`] collected.
pub(super) fn finish(what: &str, unit: &str, output: &Output) -> Result<(), OpError> {
    match output.status {
        0 => Ok(()),
        MASKED => Err(masked(unit)),
        _ => {
            let mut error = OpError::from_output(what, output);
            error.code = "ksp::op::unit-failed";
            error.tail = output.tail(32);
            Err(error
                .hint(format!("the lines come from `systemctl status {unit}` and `journalctl -u {unit}`")))
        }
    }
}

const MASKED: i32 = 55;

/// `ksp_show PROPERTY`, `ksp_remember`: notes once how the unit was before ksp, `ksp_reload`: a daemon-reload when it is due,
/// `ksp_words`: ends the script with the unit's last words.
pub(super) const FUNCTIONS: &str = r#"ksp_remember() {
  [ -e "$m" ] || { umask 077; mkdir -p -- "${m%/*}" && printf '%s %s\n' "$(ksp_show UnitFileState)" "$(ksp_show ActiveState)" > "$m"; } || exit 1
}
ksp_show() { systemctl show -p "$1" --value -- "$unit"; }
ksp_reload() { if [ "$(ksp_show NeedDaemonReload)" = yes ]; then systemctl daemon-reload || exit 1; fi; }
ksp_words() {
  { systemctl status --no-pager --full --lines=0 -- "$unit"; journalctl -u "$unit" -n 20 --no-pager -o cat; } >&2
  exit 1
}
"#;

// `reset-failed`: a unit that failed too often before its cause was mended may start again.
const SETTLE: &str = r#"ksp_remember
ksp_reload
[ "$(ksp_show LoadState)" != masked ] || [ "$enabled$running" = nono ] || exit 55
now=$(ksp_show UnitFileState)
case $enabled:$now in
  yes:enabled|yes:static|yes:generated|yes:indirect|yes:alias|yes:transient) ;;
  yes:*) systemctl enable -- "$unit" || ksp_words;;
esac
now=$(ksp_show ActiveState)
case $running:$now in
  yes:active|yes:reloading) ;;
  yes:*) systemctl reset-failed -- "$unit" 2>/dev/null; systemctl start -- "$unit" || ksp_words;;
esac
"#;

/// Puts the unit back as it was; one that ksp found as it should be is left alone.
pub fn teardown(entry: &LedgerEntry) -> String {
    let names = [sh::set("unit", &entry.target), sh::set("m", &memory(&entry.target))].concat();
    format!("{names}{TAKE_BACK}")
}

const TAKE_BACK: &str = r#"if [ -r "$m" ]; then
  file= active=
  read -r file active < "$m" || :
  # A unit that was not there has no state in front: one word.
  if [ -z "$active" ]; then active=$file; file=; fi
  case $file in enabled) systemctl enable -- "$unit" || :;; *) systemctl disable -- "$unit" 2>/dev/null || :;; esac
  case $active in active) systemctl start -- "$unit" || :;; *) systemctl stop -- "$unit" 2>/dev/null || :;; esac
  systemctl reset-failed -- "$unit" 2>/dev/null || :
  rm -f -- "$m"
fi
"#;

#[cfg(test)]
#[path = "tests/service.rs"]
mod tests;
