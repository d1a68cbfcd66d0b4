//! `restart`: restarts a systemd unit and waits until it runs. Meant to follow a change: alone it runs every time.

use std::time::Duration;

use async_trait::async_trait;

use crate::op::service::{FUNCTIONS, TIMEOUT, check_unit, finish, memory};
use crate::op::sh;
use crate::op::{ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict};
use crate::plugin::capability::Need;
use crate::transport::{Output, Script};

/// A restart of a unit.
#[derive(Debug, Clone)]
pub struct Restart {
    /// "containerd".
    pub unit: String,
}

#[async_trait]
impl NodeOp for Restart {
    fn kind(&self) -> &'static str {
        "restart"
    }

    fn target(&self) -> String {
        self.unit.clone()
    }

    fn summary(&self) -> String {
        format!("restart {}", self.unit)
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Services]
    }

    fn probe(&self, _cx: NodeContext<'_>) -> String {
        String::new()
    }

    fn judge(&self, _cx: NodeContext<'_>, _probed: &Output) -> Result<Verdict, OpError> {
        check_unit(&self.unit)?;
        Ok(Verdict::Change(Change { action: ChangeAction::Run, diff: Vec::new() }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        check_unit(&self.unit)?;
        let timeout = cx.at.modifiers.timeout.unwrap_or(TIMEOUT);
        // The script ends by itself a little earlier, so that the unit's last words come back.
        let seconds = timeout.saturating_sub(Duration::from_secs(5)).as_secs().max(1);
        let names = [
            sh::set("unit", &self.unit),
            sh::set("m", &memory(&self.unit)),
            sh::set("seconds", &seconds.to_string()),
        ]
        .concat();
        let text = format!("{}{names}{FUNCTIONS}{RESTART}", sh::HEADER);
        let output = cx.mutate(Script::new(text).with_timeout(timeout)).await?;
        finish(&self.summary(), &self.unit, &output)
    }

    fn ledger(&self, _cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        Vec::new()
    }
}

// A restart may be what starts a unit for the first time: then `service` must not take it for one that ran before.
// `systemctl restart` returns when the unit runs or failed, but a unit of Type=simple "runs" as soon as it was forked:
// one that ends at once is seen by looking again.
const RESTART: &str = r#"ksp_remember
ksp_reload
timeout "$seconds" systemctl restart -- "$unit" || ksp_words
tries=0
until=$(($(date +%s) + seconds))
while :; do
  case $(ksp_show ActiveState) in
    active) tries=$((tries + 1)); [ $tries -lt 2 ] || exit 0;;
    failed) ksp_words;;
    inactive) [ "$(ksp_show Type)" != oneshot ] || exit 0; ksp_words;;
    *) tries=0;;
  esac
  [ "$(date +%s)" -lt "$until" ] || { echo "$unit is still not running after $seconds s" >&2; ksp_words; }
  sleep 0.2
done
"#;
