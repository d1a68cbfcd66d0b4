//! `wait-for`: waits until a command exits 0. Polled on the node, so that waiting costs no round trips; what the command says
//! is shown whenever it changes.

use std::time::Duration;

use async_trait::async_trait;

use crate::op::exec::{check_argv, env, shown};
use crate::op::sh;
use crate::op::{ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict};
use crate::plugin::capability::Need;
use crate::transport::quote::command;
use crate::transport::{Output, Script};

/// A wait.
#[derive(Debug, Clone)]
pub struct WaitFor {
    /// Program and arguments; should change nothing.
    pub argv: Vec<String>,
    /// How long to wait at most.
    pub deadline: Duration,
}

#[async_trait]
impl NodeOp for WaitFor {
    fn kind(&self) -> &'static str {
        "wait-for"
    }

    fn target(&self) -> String {
        shown(&self.argv)
    }

    fn summary(&self) -> String {
        format!("wait for {}", shown(&self.argv))
    }

    fn accepts(&self) -> &'static [&'static str] {
        &["env"]
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Exec]
    }

    fn probe(&self, cx: NodeContext<'_>) -> String {
        let call = command(&self.argv);
        format!(
            "{}{}if timeout 10 {call} >/dev/null 2>&1 </dev/null; then echo done; else echo due; fi\n",
            sh::HEADER,
            env(cx)
        )
    }

    fn judge(&self, _cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        check_argv(&self.argv)?;
        if probed.text().trim_end() == "done" {
            return Ok(Verdict::Satisfied);
        }
        let line = format!("+{} (at most {} s)", shown(&self.argv), self.deadline.as_secs());
        Ok(Verdict::Change(Change { action: ChangeAction::Run, diff: vec![line] }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        check_argv(&self.argv)?;
        let hundredths = sh::set("most", &(self.deadline.as_millis() / 10).to_string());
        let poll = POLL.replace("@COMMAND@", &command(&self.argv));
        let text = format!("{}{}{hundredths}{poll}", sh::HEADER, env(cx.at));
        // The script ends by itself and tells the last reason; this is for a node that does not answer any more.
        let timeout = self.deadline + Duration::from_secs(45);
        let output = cx.mutate_aside(Script::new(text).with_timeout(timeout)).await?;
        if output.ok() {
            return Ok(());
        }
        let what = format!("`{}` did not succeed within {} s", shown(&self.argv), self.deadline.as_secs());
        let mut error = OpError::new("ksp::op::wait-timeout", what);
        error.command = Some(shown(&self.argv));
        error.tail = output.tail(20);
        error.retryable = true;
        Err(error)
    }

    fn ledger(&self, _cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        Vec::new()
    }
}

// The clock is the node's uptime in hundredths of a second: nobody sets it.
const POLL: &str = r#"ksp_now() { read -r up _ < /proc/uptime; echo "${up%.*}${up#*.}"; }
until=$(($(ksp_now) + most))
last=
while :; do
  said=$(timeout 30 @COMMAND@ 2>&1 </dev/null); status=$?
  [ $status -ne 0 ] || exit 0
  line=$(printf '%s\n' "$said" | tail -n 1)
  line=${line:-exit status $status}
  if [ "$line" != "$last" ]; then printf 'waiting: %s\n' "$line"; last=$line; fi
  if [ "$(ksp_now)" -ge "$until" ]; then printf '%s\n' "${said:-exit status $status}" >&2; exit 1; fi
  sleep 0.5
done
"#;

#[cfg(test)]
mod tests {
    use crate::op::Modifiers;
    use crate::op::testing::Machine;

    use super::*;

    fn wait(script: &str, millis: u64) -> WaitFor {
        WaitFor {
            argv: vec!["sh".into(), "-c".into(), script.into()],
            deadline: Duration::from_millis(millis),
        }
    }

    #[tokio::test]
    async fn it_polls_until_the_command_succeeds() {
        let machine = Machine::new();
        let op = wait("echo x >> /etc/n; n=$(wc -l < /etc/n); echo \"$n of 4\"; [ $n -ge 4 ]", 20_000);
        assert_eq!(machine.change(&op, &Modifiers::default()).await.action, ChangeAction::Run);
        let (result, lines) = machine.apply_showing(&op, &Modifiers::default()).await;
        result.unwrap();
        assert_eq!(lines, ["waiting: 2 of 4", "waiting: 3 of 4"]);
        assert_eq!(machine.probe(&op, &Modifiers::default()).await.unwrap(), Verdict::Satisfied);
    }

    #[tokio::test]
    async fn it_ends_with_the_last_reason() {
        let machine = Machine::new();
        let modifiers =
            Modifiers { env: vec![("WHY".into(), "it's \"not\" ready".into())], ..Default::default() };
        let error = machine.apply(&wait("echo \"$WHY\" >&2; exit 3", 300), &modifiers).await.unwrap_err();
        assert_eq!(
            (error.code, error.tail),
            ("ksp::op::wait-timeout", vec!["it's \"not\" ready".to_owned()])
        );
        let error = machine.apply(&wait("exit 3", 10), &modifiers).await.unwrap_err();
        assert_eq!(error.tail, ["exit status 3"]);
    }
}
