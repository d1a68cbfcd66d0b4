//! Commands and files on nodes. In `run` only: everywhere else the host answers `denied`.

use std::time::Duration;

use crate::bindings::ksp::plugin::{exec, upload};
use crate::node::Node;
use crate::{Blob, Content, Context, Error, Result, Secret};

pub use upload::FileInfo;

/// How a command ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// Exit status; 128 + n after signal n.
    pub status: i32,
    /// Standard output, at most 1 MiB, as text.
    pub stdout: String,
    /// Standard error, at most 1 MiB, as text.
    pub stderr: String,
}

impl Output {
    /// True for exit status 0.
    pub fn ok(&self) -> bool {
        self.status == 0
    }
}

/// A command to run on a node as root, without a shell. From [`Context::command`].
#[must_use = "nothing happens before `run`"]
pub struct Command<'a> {
    node: u32,
    inner: exec::Command,
    secret: Option<&'a Secret>,
}

impl<'a> Command<'a> {
    /// Sets an environment variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.inner.env.push((name.into(), value.into()));
        self
    }

    /// Gives it standard input.
    pub fn stdin(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.inner.stdin = input.into();
        self
    }

    /// Gives it a secret as standard input.
    pub fn stdin_secret(mut self, input: &'a Secret) -> Self {
        self.secret = Some(input);
        self
    }

    /// Bounds its run time; one minute otherwise.
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.inner.timeout_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1);
        self
    }

    /// Runs it. A non-zero exit is an [`Output`].
    ///
    /// # Errors
    /// Transport, timeout, not granted.
    pub fn run(self) -> Result<Output> {
        let output = match self.secret {
            Some(secret) => exec::run_secret(self.node, &self.inner, secret)?,
            None => exec::run(self.node, &self.inner)?,
        };
        Ok(Output {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs it and gives its standard output.
    ///
    /// # Errors
    /// As [`Self::run`], and a non-zero exit, with its last lines as evidence.
    pub fn text(self) -> Result<String> {
        let name = self.inner.argv.first().cloned().unwrap_or_default();
        let output = self.run()?;
        if output.ok() {
            return Ok(output.stdout);
        }
        let evidence = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
        let lines: Vec<&str> = evidence.lines().collect();
        let tail = lines[lines.len().saturating_sub(10)..].join("\n");
        Err(Error::remote("exec.failed", format!("`{name}` exited with {}", output.status))
            .detail("output", tail))
    }
}

/// For `run`.
impl Context {
    /// A command on a node.
    pub fn command<W: Into<String>>(
        &self,
        node: &Node,
        argv: impl IntoIterator<Item = W>,
    ) -> Command<'static> {
        let argv = argv.into_iter().map(Into::into).collect();
        let inner = exec::Command { argv, env: Vec::new(), stdin: Vec::new(), timeout_ms: 0 };
        Command { node: node.id, inner, secret: None }
    }

    /// Writes a file atomically; true when that changed something.
    ///
    /// # Errors
    /// Transport, not granted.
    pub fn put<'a>(
        &self,
        node: &Node,
        path: &str,
        content: impl Into<Content<'a>>,
        mode: u32,
    ) -> Result<bool> {
        Ok(upload::put(node.id, path, content.into().blob(), mode)?)
    }

    /// Writes a secret file atomically; true when that changed something.
    ///
    /// # Errors
    /// Transport, not granted.
    pub fn put_secret(&self, node: &Node, path: &str, content: &Secret, mode: u32) -> Result<bool> {
        Ok(upload::put_secret(node.id, path, content, mode)?)
    }

    /// Reads a file of at most `max_bytes`.
    ///
    /// # Errors
    /// Not there, too large, transport, not granted.
    pub fn fetch(&self, node: &Node, path: &str, max_bytes: u64) -> Result<Blob> {
        Ok(upload::get(node.id, path, max_bytes)?)
    }

    /// What is at a path; none when nothing is.
    ///
    /// # Errors
    /// Transport, not granted.
    pub fn stat(&self, node: &Node, path: &str) -> Result<Option<FileInfo>> {
        Ok(upload::stat(node.id, path)?)
    }
}
