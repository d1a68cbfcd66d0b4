//! `take-back`: removes what an entry of the node's ledger stands for, because its stage has left the manifest.

use std::time::Duration;

use async_trait::async_trait;

use crate::op::{
    ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict, teardown_script,
};
use crate::plugin::capability::Need;
use crate::transport::{Output, Script};

/// Stopping a service that has much to stop.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Takes back one entry, and forgets it.
#[derive(Debug, Clone)]
pub struct TakeBack {
    /// As the ledger has it.
    pub entry: LedgerEntry,
}

#[async_trait]
impl NodeOp for TakeBack {
    fn kind(&self) -> &'static str {
        "take-back"
    }

    fn target(&self) -> String {
        format!("{}:{}", self.entry.kind, self.entry.target)
    }

    fn summary(&self) -> String {
        format!("remove {} {}", self.entry.kind, self.entry.target)
    }

    /// What ksp made it may take back.
    fn needs(&self) -> Vec<Need> {
        Vec::new()
    }

    fn probe(&self, _cx: NodeContext<'_>) -> String {
        String::new()
    }

    /// The ledger lists it: that is the difference.
    fn judge(&self, _cx: NodeContext<'_>, _probed: &Output) -> Result<Verdict, OpError> {
        Ok(Verdict::Change(Change { action: ChangeAction::Remove, diff: Vec::new() }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        let Some(text) = teardown_script(&self.entry) else { return Ok(()) };
        let output = cx.mutate_aside(Script::new(text).with_timeout(TIMEOUT)).await?;
        if output.ok() { Ok(()) } else { Err(OpError::from_output("it could not be removed", &output)) }
    }

    fn ledger(&self, _cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        Vec::new()
    }

    fn forgets(&self) -> Option<&LedgerEntry> {
        Some(&self.entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::Modifiers;
    use crate::op::testing::Machine;

    fn entry(kind: &str, target: &str) -> LedgerEntry {
        LedgerEntry {
            kind: kind.into(),
            target: target.into(),
            stage: "gone".into(),
            digest: None,
            details: Default::default(),
        }
    }

    #[tokio::test]
    async fn what_the_ledger_lists_goes_and_may_be_gone_already() {
        let machine = Machine::new();
        machine.shell("mkdir -p /etc/gone && echo x > /etc/gone/a.conf").await;
        let op = TakeBack { entry: entry("file", "/etc/gone/a.conf") };
        assert_eq!(op.summary(), "remove file /etc/gone/a.conf");
        for _ in 0..2 {
            machine.apply(&op, &Modifiers::default()).await.unwrap();
            assert_eq!(machine.shell("ls /etc/gone").await, "");
        }
        // A kind of a newer ksp: there is nothing that this one could do.
        let unknown = TakeBack { entry: entry("hologram", "x") };
        machine.apply(&unknown, &Modifiers::default()).await.unwrap();
    }
}
