//! Reaching nodes. Commands and files travel through a [`Session`]; what they mean is not known here.
//!
//! One connection a node, one persistent root shell on it. The third outcome of a command, *unknown*, is an error of its own:
//! the connection was lost while the command ran, and only a probe can tell what happened.

pub mod batch;
#[cfg(any(test, feature = "test-support"))]
pub mod fake;
pub mod local;
pub mod quote;

mod aside;
mod frame;
mod known_hosts;
mod process;
mod session;
mod shell;
mod ssh;
#[cfg(test)]
mod testing;
#[cfg(test)]
pub(crate) mod testing_sshd;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::redact::Secret;

/// Something to run on a node as root, through `/bin/sh`.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// POSIX shell text. Runs in a subshell.
    pub text: String,
    /// Standard input; `/dev/null` when none.
    pub stdin: Option<Stdin>,
    /// None means [`DEFAULT_TIMEOUT`].
    pub timeout: Option<Duration>,
    /// Receives output lines while the command runs.
    pub lines: Option<tokio::sync::mpsc::UnboundedSender<String>>,
}

/// What a command reads.
#[derive(Debug, Clone)]
pub enum Stdin {
    /// Ordinary bytes.
    Plain(Bytes),
    /// Bytes that must not be shown.
    Secret(Secret),
}

impl Stdin {
    /// The bytes to send.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Stdin::Plain(bytes) => bytes,
            Stdin::Secret(secret) => secret.expose(),
        }
    }
}

/// How long a command may take when nobody says otherwise.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// What is kept of each output stream; the rest is dropped and `truncated` is set.
pub const OUTPUT_LIMIT: usize = 8 << 20;

impl Script {
    /// A script without input.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// Gives it standard input.
    #[must_use]
    pub fn with_stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = Some(stdin);
        self
    }

    /// Bounds its run time.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }
}

/// How a command ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit status; 128 + n after signal n.
    pub status: i32,
    /// Bytes of standard output, at most [`OUTPUT_LIMIT`].
    pub stdout: Bytes,
    /// Bytes of standard error, at most [`OUTPUT_LIMIT`].
    pub stderr: Bytes,
    /// Something was dropped.
    pub truncated: bool,
}

impl Output {
    /// True for exit status 0.
    pub fn ok(&self) -> bool {
        self.status == 0
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last lines of standard error, or of standard output when that is empty.
    pub fn tail(&self, lines: usize) -> Vec<String> {
        let source =
            if self.stderr.iter().all(u8::is_ascii_whitespace) { &self.stdout } else { &self.stderr };
        let text = String::from_utf8_lossy(source);
        let all: Vec<&str> = text.lines().collect();
        all[all.len().saturating_sub(lines)..].iter().map(|line| (*line).to_owned()).collect()
    }
}

/// Why a node could not be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TransportError {
    /// Nothing answered.
    #[error("{target} cannot be reached: {reason}")]
    Unreachable {
        /// `user@host:port`.
        target: String,
        /// What came back.
        reason: String,
    },
    /// The host key is not the expected one, or is not known.
    #[error("{target} {reason}")]
    HostKey {
        /// `user@host:port`.
        target: String,
        /// What was expected and what was offered, with fingerprints.
        reason: String,
        /// True when another key was known: never accepted silently.
        changed: bool,
    },
    /// The login was refused.
    #[error("{target} refused the login: {reason}")]
    Authentication {
        /// `user@host:port`.
        target: String,
        /// What was tried.
        reason: String,
    },
    /// The login works, root does not.
    #[error("no root on {target}: {reason}")]
    Privilege {
        /// `user@host:port`.
        target: String,
        /// What sudo said.
        reason: String,
    },
    /// The connection was lost while a command ran: nobody knows whether it took effect.
    #[error("the connection was lost while a command ran; its outcome is unknown: {0}")]
    OutcomeUnknown(String),
    /// The command did not end in time and was told to stop.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// Something else between here and there.
    #[error("{0}")]
    Other(String),
}

/// A byte stream to an address as the node sees it.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection to one node, as root.
#[async_trait]
pub trait Session: Send + Sync {
    /// Runs a script. A non-zero exit is an [`Output`], not an error.
    /// Scripts of one session run one after another; use [`Session::run_aside`] for what takes long.
    async fn run(&self, script: Script) -> Result<Output, TransportError>;

    /// Runs a script on a channel of its own, beside the persistent shell.
    async fn run_aside(&self, script: Script) -> Result<Output, TransportError>;

    /// Streams bytes into the standard input of a script on a channel of its own (bulk data).
    async fn feed(
        &self,
        script: Script,
        source: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<Output, TransportError>;

    /// Streams the standard output of a script on a channel of its own into a sink (bulk data); none of it is kept.
    async fn fetch(
        &self,
        script: Script,
        sink: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Output, TransportError>;

    /// Opens a TCP connection from the node to an address.
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, TransportError>;

    /// Ends the session; running commands are not waited for.
    async fn close(&self);
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// Trust and remember host keys of machines that were never seen.
    pub accept_new: bool,
    /// For TCP, key exchange and host key, attempts included.
    pub connect_timeout: Duration,
    /// For the login.
    pub login_timeout: Duration,
    /// The socket of the SSH agent, which signs and is never forwarded.
    pub agent: Option<std::path::PathBuf>,
}

impl Default for ConnectOptions {
    /// Strict host keys, 10 s, 20 s, the agent of `SSH_AUTH_SOCK`.
    fn default() -> Self {
        Self {
            accept_new: false,
            connect_timeout: Duration::from_secs(10),
            login_timeout: Duration::from_secs(20),
            agent: std::env::var_os("SSH_AUTH_SOCK").filter(|path| !path.is_empty()).map(Into::into),
        }
    }
}

/// Connects to nodes the way each of them says.
pub fn connector(options: ConnectOptions) -> std::sync::Arc<dyn Connector> {
    std::sync::Arc::new(Nodes(std::sync::Arc::new(ssh::Ssh::new(options))))
}

struct Nodes(std::sync::Arc<ssh::Ssh>);

#[async_trait]
impl Connector for Nodes {
    async fn connect(&self, node: &crate::node::Node) -> Result<std::sync::Arc<dyn Session>, TransportError> {
        match &node.connection {
            crate::node::Connection::Local => local::connect().await,
            crate::node::Connection::Ssh(target) => self.0.session(target).await,
        }
    }
}

/// Makes sessions.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Connects, checks the host key, logs in, becomes root.
    async fn connect(&self, node: &crate::node::Node) -> Result<std::sync::Arc<dyn Session>, TransportError>;
}
