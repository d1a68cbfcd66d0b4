//! `exec`: a command. `creates` and `unless` say when it is not needed; without them it runs every time, unless the engine
//! has a reason not to. They are asked again just before it runs: an interrupted run may have got that far.

use std::time::Duration;

use async_trait::async_trait;

use crate::op::sh;
use crate::op::{ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict};
use crate::plugin::capability::Need;
use crate::transport::quote::{command, quote};
use crate::transport::{Output, Script};

/// A command that may take longer than this gets a channel of its own.
const SHORT: Duration = Duration::from_secs(60);

/// A command.
#[derive(Debug, Clone)]
pub struct Exec {
    /// Program and arguments; no shell reads them. Never a secret: arguments are visible to everybody on the node.
    pub argv: Vec<String>,
}

/// Refuses what cannot be a command.
pub(super) fn check_argv(argv: &[String]) -> Result<(), OpError> {
    if argv.first().is_none_or(String::is_empty) || argv.iter().any(|word| word.contains('\0')) {
        return Err(OpError::new(
            "ksp::op::argv",
            format!("{argv:?} is not a command: no program, or a NUL byte"),
        ));
    }
    Ok(())
}

fn check(argv: &[String], cx: NodeContext<'_>) -> Result<(), OpError> {
    check_argv(argv)?;
    if let Some(unless) = &cx.modifiers.unless {
        check_argv(unless)?;
    }
    let name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    match cx.modifiers.env.iter().find(|(key, value)| !name(key) || value.contains('\0')) {
        None => Ok(()),
        Some((key, _)) => {
            Err(OpError::new("ksp::op::env", format!("{key:?} is not the name of an environment variable")))
        }
    }
}

/// The environment that the modifiers ask for.
pub(super) fn env(cx: NodeContext<'_>) -> String {
    cx.modifiers.env.iter().map(|(name, value)| format!("{name}={}; export {name}\n", quote(value))).collect()
}

/// A condition that is true when the command is not needed.
fn guard(cx: NodeContext<'_>) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(path) = &cx.modifiers.creates {
        let path = quote(path);
        parts.push(format!("[ -e {path} ] || [ -L {path} ]"));
    }
    if let Some(argv) = &cx.modifiers.unless {
        parts.push(format!("timeout 30 {} >/dev/null 2>&1 </dev/null", command(argv)));
    }
    (!parts.is_empty()).then(|| parts.join(" || "))
}

/// The command as people see it.
pub(super) fn shown(argv: &[String]) -> String {
    let plain = |word: &String| {
        let harmless = |c: char| c.is_alphanumeric() || "-_./:=,@%+".contains(c);
        if !word.is_empty() && word.chars().all(harmless) { word.clone() } else { quote(word) }
    };
    argv.iter().map(plain).collect::<Vec<_>>().join(" ")
}

#[async_trait]
impl NodeOp for Exec {
    fn kind(&self) -> &'static str {
        "exec"
    }

    fn target(&self) -> String {
        shown(&self.argv)
    }

    fn summary(&self) -> String {
        let shown = shown(&self.argv);
        let line = shown.lines().next().unwrap_or_default();
        let short: String = line.chars().take(100).collect();
        if short.len() < shown.len() { format!("run {short} …") } else { format!("run {short}") }
    }

    fn accepts(&self) -> &'static [&'static str] {
        &["creates", "unless", "env", "stdin"]
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Exec]
    }

    fn probe(&self, cx: NodeContext<'_>) -> String {
        match guard(cx) {
            None => String::new(),
            Some(guard) => {
                format!("{}{}if {guard}; then echo done; else echo due; fi\n", sh::HEADER, env(cx))
            }
        }
    }

    fn judge(&self, cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        check(&self.argv, cx)?;
        if guard(cx).is_some() && probed.text().trim_end() == "done" {
            return Ok(Verdict::Satisfied);
        }
        Ok(Verdict::Change(Change {
            action: ChangeAction::Run,
            diff: vec![format!("+{}", shown(&self.argv))],
        }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        check(&self.argv, cx.at)?;
        let guard = guard(cx.at).map(|guard| format!("if {guard}; then exit 0; fi\n")).unwrap_or_default();
        let input = if cx.at.modifiers.stdin.is_some() { "" } else { " </dev/null" };
        let run = format!("exec {}{input}\n", command(&self.argv));
        let mut script = Script::new(format!("{}{}{guard}{run}", sh::HEADER, env(cx.at)));
        script.stdin = cx.at.modifiers.stdin.clone();
        let output = if cx.at.modifiers.timeout.is_some_and(|timeout| timeout > SHORT) {
            cx.mutate_aside(script).await?
        } else {
            script.lines = Some(cx.lines.clone());
            cx.mutate(script).await?
        };
        if output.ok() {
            return Ok(());
        }
        let mut error = OpError::from_output(format!("{} failed", self.argv[0]), &output);
        error.command = Some(shown(&self.argv));
        if output.status == 127 {
            error.code = "ksp::op::no-command";
            error.message = format!("{} is not installed on the node", self.argv[0]);
        }
        Err(error)
    }

    // What a command leaves behind nobody knows: a stage's own teardown takes it back.
    fn ledger(&self, _cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        Vec::new()
    }
}

#[cfg(test)]
#[path = "tests/exec.rs"]
mod tests;
