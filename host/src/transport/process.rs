//! A process somewhere, as seen through three pipes. What runs it (an SSH channel, this machine) is behind [`Opener`].

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::AsyncWrite;

use super::TransportError;

/// Something that came from a process.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Of standard output.
    Out(Bytes),
    /// Of standard error.
    Err(Bytes),
    /// It ended; output may still come. 128 + n after signal n.
    Exit(i32),
}

/// Where pieces come from. `None`: closed. Cancelling `next` loses nothing.
#[async_trait]
pub(crate) trait Source: Send {
    async fn next(&mut self) -> Option<Piece>;
}

/// The pipes of one process. Dropping it abandons the process.
pub(crate) struct Wire {
    /// Its standard input; `shutdown` is the end of the file.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its output.
    pub source: Box<dyn Source>,
}

/// Starts processes through the login shell.
#[async_trait]
pub(crate) trait Opener: Send + Sync {
    /// `user@host:port`, for error texts.
    fn target(&self) -> String;
    /// Starts a command line.
    async fn open(&self, command: &str) -> Result<Wire, TransportError>;
}

/// Becomes root when it is not, and replaces itself by a shell that reads commands from standard input.
///
/// The login shell may be csh or fish: no `!`, backslash, newline or single quote within the quotes.
pub(crate) const ROOT_SHELL: &str =
    "exec /bin/sh -c 'test \"$(id -u)\" = 0 && exec /bin/sh; exec sudo -n /bin/sh'";

/// What every script finds, whatever the login's profile did.
pub(crate) const ENVIRONMENT: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin;LC_ALL=C;HOME=/root;\
export PATH LC_ALL HOME;unset LANG LANGUAGE ENV BASH_ENV CDPATH SSH_AUTH_SOCK;umask 022;cd /";

/// How long a process may take to say its first word.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(20);

/// Why no root shell came up, from what was said instead.
pub(crate) fn no_root_shell(target: String, said: &[u8], status: Option<i32>) -> TransportError {
    let said = String::from_utf8_lossy(said);
    let tail: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let tail = tail[tail.len().saturating_sub(3)..].join("; ");
    let ended = status.map_or_else(|| "no exit status".to_owned(), |status| format!("exit status {status}"));
    if tail.contains("sudo") {
        let advice = if tail.contains("not found") {
            "install sudo there or log in as root"
        } else {
            "give this user `NOPASSWD: ALL` in sudoers, or log in as root"
        };
        return TransportError::Privilege { target, reason: format!("{tail}; {advice}") };
    }
    let said = if tail.is_empty() { "said nothing".to_owned() } else { format!("said: {tail}") };
    TransportError::Privilege {
        target,
        reason: format!("the login shell ended instead of starting /bin/sh ({ended}); it {said}"),
    }
}
