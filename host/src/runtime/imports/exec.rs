//! `exec`: commands on nodes, in `run` only.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wasmtime::Result;
use wasmtime::component::Resource;

use super::plan::check;
use crate::node::NodeId;
use crate::op::FENCED_STATUS;
use crate::plugin::capability::Need;
use crate::runtime::bindings::ksp::plugin::exec::{Command, Host, HostProcess, Output};
use crate::runtime::bindings::ksp::plugin::types::{Error, ErrorCode};
use crate::runtime::convert::fault;
use crate::runtime::handles::{Process, SecretHandle};
use crate::runtime::state::{Phase, State};
use crate::transport::{self, Script, Session, Stdin, TransportError, quote};

/// What a guest gets of each stream.
const OUTPUT_BYTES: usize = 1 << 20;

impl State {
    /// A connection, when phase and grants allow `need`.
    pub(super) fn session(&self, node: u32, need: &Need) -> Result<(Arc<dyn Session>, String), Error> {
        let (Phase::Run(_), Some(access)) = (self.phase, &self.access) else {
            let message = "nodes are out of reach while planning: record an op instead";
            return Err(fault(ErrorCode::Denied, "phase.plan", message));
        };
        self.require(need)?;
        let name = &self.node(node)?.name;
        let session = access.session(NodeId(node)).ok_or_else(|| {
            fault(ErrorCode::Transport, "node.unreachable", format!("node {name} cannot be reached"))
        })?;
        Ok((session, access.prelude(NodeId(node))))
    }

    fn script(
        &self,
        node: u32,
        command: &Command,
        stdin: Stdin,
    ) -> Result<(Arc<dyn Session>, Script), Error> {
        let (session, prelude) = self.session(node, &Need::Exec)?;
        let mut wrong = check::argv(&command.argv);
        for (name, value) in &command.env {
            wrong.extend(check::word("environment variable", name, "_"));
            wrong.extend(check::text("value", value));
        }
        if !wrong.is_empty() {
            return Err(fault(ErrorCode::InvalidInput, "exec.command", wrong.join("; ")));
        }
        let env: Vec<String> =
            command.env.iter().map(|(name, value)| format!("{name}={}", quote::quote(value))).collect();
        let env = if env.is_empty() { String::new() } else { format!("env {} ", env.join(" ")) };
        let mut script =
            Script::new(format!("{prelude}\nexec {env}{}", quote::command(&command.argv))).with_stdin(stdin);
        if command.timeout_ms > 0 {
            script = script.with_timeout(Duration::from_millis(command.timeout_ms.into()));
        }
        Ok((session, script))
    }

    async fn run_command(&mut self, node: u32, command: &Command, stdin: Stdin) -> Result<Output, Error> {
        let (session, script) = self.script(node, command, stdin)?;
        // Long commands must not hold up the node's shell, which other steps wait for.
        let long = script.timeout.is_some_and(|timeout| timeout > transport::DEFAULT_TIMEOUT);
        let ended = if long { session.run_aside(script).await } else { session.run(script).await };
        let output = unfenced(ended.map_err(|error| self.wire(&error))?)?;
        let cut = |bytes: &Bytes| bytes[..bytes.len().min(OUTPUT_BYTES)].to_vec();
        Ok(Output {
            status: output.status,
            stdout: cut(&output.stdout),
            stderr: cut(&output.stderr),
            truncated: output.truncated || output.stdout.len().max(output.stderr.len()) > OUTPUT_BYTES,
        })
    }

    /// An error of the transport, secrets hidden.
    pub(super) fn wire(&self, error: &TransportError) -> Error {
        let code = match error {
            TransportError::Timeout(_) => ErrorCode::Timeout,
            _ => ErrorCode::Transport,
        };
        let mut made = fault(code, "exec.transport", self.inputs.redactor.redact(&error.to_string()));
        made.retryable = matches!(error, TransportError::Timeout(_));
        made
    }
}

/// The output, unless another run has taken over the cluster.
pub(super) fn unfenced(output: transport::Output) -> Result<transport::Output, Error> {
    if output.status != FENCED_STATUS {
        return Ok(output);
    }
    Err(fault(
        ErrorCode::Conflict,
        "lease.lost",
        "another run has taken over this cluster; nothing was changed",
    ))
}

impl Host for State {
    async fn run(&mut self, node: u32, mut command: Command) -> Result<Result<Output, Error>> {
        let stdin = Stdin::Plain(std::mem::take(&mut command.stdin).into());
        Ok(self.run_command(node, &command, stdin).await)
    }

    async fn run_secret(
        &mut self,
        node: u32,
        command: Command,
        stdin: Resource<SecretHandle>,
    ) -> Result<Result<Output, Error>> {
        let stdin = Stdin::Secret(self.table.get(&stdin)?.secret.clone());
        Ok(self.run_command(node, &command, stdin).await)
    }

    async fn spawn(&mut self, node: u32, mut command: Command) -> Result<Result<Resource<Process>, Error>> {
        let stdin = Stdin::Plain(std::mem::take(&mut command.stdin).into());
        let (session, mut script) = match self.script(node, &command, stdin) {
            Ok(ready) => ready,
            Err(error) => return Ok(Err(error)),
        };
        let (sender, lines) = tokio::sync::mpsc::unbounded_channel();
        script.lines = Some(sender);
        let end = tokio::spawn(async move { session.run_aside(script).await });
        Ok(Ok(self.table.push(Process { lines, end })?))
    }
}

impl HostProcess for State {
    async fn next(&mut self, process: Resource<Process>) -> Result<Result<Option<Vec<u8>>, Error>> {
        let process = self.table.get_mut(&process)?;
        let line = process.lines.recv().await;
        Ok(Ok(line.map(|line| {
            let mut bytes = line.into_bytes();
            bytes.push(b'\n');
            bytes
        })))
    }

    async fn wait(&mut self, process: Resource<Process>) -> Result<Result<i32, Error>> {
        let ended = {
            let process = self.table.get_mut(&process)?;
            process.lines.close();
            (&mut process.end).await
        };
        Ok(match ended {
            Ok(Ok(output)) => unfenced(output).map(|output| output.status),
            Ok(Err(error)) => Err(self.wire(&error)),
            Err(error) => Err(fault(ErrorCode::Internal, "exec.lost", error.to_string())),
        })
    }

    fn drop(&mut self, process: Resource<Process>) -> Result<()> {
        self.table.delete(process)?;
        Ok(())
    }
}
