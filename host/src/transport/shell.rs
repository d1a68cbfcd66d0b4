//! One persistent root shell: a script costs one round trip and one fork.
//!
//! Each script goes over the shell's standard input as one quoted word for `eval`, so that nothing in it (an open quote, a
//! half here-document) can reach the lines that frame it, and nothing of it shows in a process list.

use std::time::Duration;

use base64::Engine as _;
use futures_util::FutureExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::frame::{Collector, Nonce};
use super::process::{self, Opener, Piece, Wire};
use super::quote::quote;
use super::{Output, Script, Stdin, TransportError};

/// Longer scripts and inputs go over a channel of their own: bash reads commands from a pipe byte by byte.
pub(crate) const INLINE_TEXT: usize = 256 << 10;
/// See [`INLINE_TEXT`].
pub(crate) const INLINE_STDIN: usize = 48 << 10;

/// A shell that is ready for its next script.
pub(crate) struct Shell {
    wire: Wire,
    nonce: Nonce,
    number: u64,
    /// Its process group: what a deadline kills.
    pub group: u32,
}

/// Why a script did not end. The shell is of no more use.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The shell went away; what it said last.
    Lost(String),
    /// The deadline passed.
    TimedOut,
}

impl Shell {
    /// Starts one and waits until it answers as root.
    pub async fn start(opener: &dyn Opener) -> Result<Self, TransportError> {
        let wire = opener.open(process::ROOT_SHELL).await?;
        let nonce = Nonce::new();
        let mut shell = Self { wire, nonce, number: 0, group: 0 };
        // Field 5 of /proc/<pid>/stat is the process group; the second, "(sh)", has no space.
        let hello = format!(
            "{};read -r a b c d g r </proc/$$/stat;{} >&2;{}\n",
            process::ENVIRONMENT,
            shell.nonce.print(0, "''"),
            shell.nonce.print(0, "\"$g\""),
        );
        let mut said = Vec::new();
        let mut status = None;
        match timeout(process::START_TIMEOUT, shell.exchange(hello.as_bytes(), None, &mut said, &mut status))
            .await
        {
            Err(_) => Err(TransportError::Other(format!(
                "{} gave no shell within {:?}: what its login runs may wait for input",
                opener.target(),
                process::START_TIMEOUT
            ))),
            Ok(None) => Err(process::no_root_shell(opener.target(), &said, status)),
            Ok(Some((group, _))) => {
                shell.group = group.trim().parse().unwrap_or(0);
                Ok(shell)
            }
        }
    }

    /// False when it is known to be gone. Output of processes that scripts left behind is thrown away.
    pub fn is_alive(&mut self) -> bool {
        loop {
            match self.wire.source.next().now_or_never() {
                None => return true,
                Some(None | Some(Piece::Exit(_))) => return false,
                Some(Some(_)) => {}
            }
        }
    }

    /// Runs a script that [`fits`].
    pub async fn run(&mut self, script: &Script, limit: Duration) -> Result<Output, Broken> {
        self.number += 1;
        let line = self.line(script);
        let (mut said, mut status) = (Vec::new(), None);
        match timeout(limit, self.exchange(line.as_bytes(), script.lines.clone(), &mut said, &mut status))
            .await
        {
            Err(_) => Err(Broken::TimedOut),
            Ok(None) => Err(Broken::Lost(last_line(&said, status))),
            Ok(Some((status, output))) => match status.parse() {
                Ok(status) => Ok(Output { status, ..output }),
                Err(_) => Err(Broken::Lost(format!("the shell answered {status:?} for an exit status"))),
            },
        }
    }

    /// Sends a line and collects both streams up to their marks: the mark's text and the output, or nothing when the shell went.
    async fn exchange(
        &mut self,
        line: &[u8],
        lines: Option<tokio::sync::mpsc::UnboundedSender<String>>,
        said: &mut Vec<u8>,
        status: &mut Option<i32>,
    ) -> Option<(String, Output)> {
        let mark = self.nonce.mark(self.number);
        let (mut out, mut err) = (Collector::new(mark.clone(), lines.clone()), Collector::new(mark, lines));
        // A failed write shows as the end of the source.
        let _ = self.wire.input.write_all(line).await;
        let _ = self.wire.input.flush().await;
        loop {
            match self.wire.source.next().await {
                Some(Piece::Out(bytes)) => out.push(&bytes),
                Some(Piece::Err(bytes)) => err.push(&bytes),
                Some(Piece::Exit(code)) => *status = Some(code),
                None => {
                    said.extend_from_slice(out.so_far());
                    said.push(b'\n');
                    said.extend_from_slice(err.so_far());
                    return None;
                }
            }
            if let (Some(text), Some(_)) = (out.text(), err.text()) {
                let text = text.to_owned();
                let ((stdout, cut_out), (stderr, cut_err)) = (out.finish(), err.finish());
                return Some((text, Output { status: 0, stdout, stderr, truncated: cut_out || cut_err }));
            }
        }
    }

    fn line(&self, script: &Script) -> Zeroizing<String> {
        let body = quote(&script.text);
        // `printf` is built in: the input shows in no argv. Base64 because it may hold NUL.
        let feed = match &script.stdin {
            None => format!("(eval {body})</dev/null"),
            Some(stdin) => {
                let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(stdin.bytes()));
                format!("printf %s '{}'|base64 -d|(eval {body})", encoded.as_str())
            }
        };
        let feed = Zeroizing::new(feed);
        Zeroizing::new(format!(
            "{};s=$?;{} >&2;{}\n",
            feed.as_str(),
            self.nonce.print(self.number, "''"),
            self.nonce.print(self.number, "$s"),
        ))
    }
}

/// True when a script is small enough for the shared shell.
pub(crate) fn fits(script: &Script) -> bool {
    script.text.len() <= INLINE_TEXT
        && script.stdin.as_ref().map_or(0, |stdin: &Stdin| stdin.bytes().len()) <= INLINE_STDIN
}

fn last_line(said: &[u8], status: Option<i32>) -> String {
    let text = String::from_utf8_lossy(said);
    let last =
        text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no output so far").to_owned();
    match status {
        Some(status) => format!("the shell ended with status {status} ({last})"),
        None => format!("the channel closed without an exit status ({last})"),
    }
}
