//! A script on a channel of its own: what takes long, and bulk data.
//!
//! The script goes over standard input like its data, never in argv: `dd` reads exactly the script's bytes and the rest is the
//! script's standard input. A script that arrives incomplete does not run.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until, timeout};

use super::frame::{Lines, Nonce, keep};
use super::process::{self, Opener, Piece, Wire};
use super::{DEFAULT_TIMEOUT, OUTPUT_LIMIT, Output, Script, TransportError};

/// What is read from a source at once: below this, copying costs more than the encryption.
const CHUNK: usize = 256 << 10;
/// Output that is still on its way when the exit status has come. A background process may hold the pipe open for ever.
const QUIET_AFTER_EXIT: Duration = Duration::from_secs(2);
/// How long stopping a process group may take.
const KILL_TIMEOUT: Duration = Duration::from_secs(15);
/// What a login shell may print before the script starts.
const NOISE_LIMIT: usize = 64 << 10;

/// What a script reads.
pub(crate) enum Feed<'a> {
    /// What the script itself holds.
    Own,
    /// A stream. Without a timeout of its own, the script is stopped when nothing moves for [`DEFAULT_TIMEOUT`].
    Stream(&'a mut (dyn AsyncRead + Send + Unpin)),
}

/// Why neither side has anything more to say.
enum Ended {
    /// The channel was closed.
    Closed,
    /// Nothing came in time.
    TimedOut,
    /// The data to send could not be read. The pipe is kept: its end would look like the end of the data.
    Source(std::io::Error, Box<dyn AsyncWrite + Send + Unpin>),
    /// What came could not be written.
    Sink(std::io::Error),
}

/// Runs a script. See [`super::Session::run_aside`], [`super::Session::feed`] and, with a sink, [`super::Session::fetch`].
pub(crate) async fn run(
    opener: &dyn Opener,
    script: &Script,
    feed: Feed<'_>,
    mut sink: Option<&mut (dyn AsyncWrite + Send + Unpin)>,
) -> Result<Output, TransportError> {
    let nonce = Nonce::new();
    let text = format!("{}\n{}\n#{}", process::ENVIRONMENT, script.text, nonce.as_str());
    let Wire { mut input, mut source } = opener.open(&command(&nonce, text.len())).await?;
    let mut state = State::new(&nonce, script);
    let bulk = matches!(feed, Feed::Stream(_)) || sink.is_some();
    let stall = bulk && script.timeout.is_none();
    let limit = script.timeout.unwrap_or(DEFAULT_TIMEOUT);

    let moved = std::sync::atomic::AtomicU64::new(0);
    let write = async {
        let moved = &moved;
        // A script that stops reading is not an error: its exit status says what it means.
        let mut sent = input.write_all(text.as_bytes()).await;
        match feed {
            Feed::Own => {
                if let Some(stdin) = script.stdin.as_ref().filter(|stdin| !stdin.bytes().is_empty()) {
                    let _ = input.write_all(stdin.bytes()).await;
                }
            }
            Feed::Stream(stream) => {
                let mut chunk = vec![0; CHUNK];
                while sent.is_ok() {
                    let length = match fill(stream, &mut chunk).await {
                        Ok(length) => length,
                        Err(error) => return Err((error, input)),
                    };
                    if length == 0 {
                        break;
                    }
                    sent = input.write_all(&chunk[..length]).await;
                    moved.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
        }
        // A pipe of this machine ends when it is dropped, a channel when it is shut down.
        let _ = input.shutdown().await;
        drop(input);
        Ok(())
    };
    let read = async {
        let mut patience = Instant::now() + limit;
        let mut seen = 0;
        loop {
            let end = state.exited.map_or(patience, |at| at + QUIET_AFTER_EXIT);
            tokio::select! {
                piece = source.next() => match piece {
                    Some(piece) => state.take(piece),
                    None => return Ended::Closed,
                },
                () = sleep_until(end) => {
                    if state.exited.is_some() {
                        return Ended::Closed;
                    }
                    let now = moved.load(std::sync::atomic::Ordering::Relaxed);
                    if !stall || now == seen {
                        return Ended::TimedOut;
                    }
                    seen = now;
                }
            }
            if let Some(sink) = &mut sink
                && let Err(error) = state.out.pour(sink).await
            {
                return Ended::Sink(error);
            }
            if stall {
                patience = Instant::now() + limit;
            }
        }
    };

    // The reader decides when it is over; a failed source ends it early, before the script could take the end of a broken
    // stream for the end of the data.
    let ended = {
        tokio::pin!(write, read);
        let mut written = false;
        loop {
            tokio::select! {
                result = &mut write, if !written => match result {
                    Ok(()) => written = true,
                    Err((error, input)) => break Ended::Source(error, input),
                },
                ended = &mut read => break ended,
            }
        }
    };
    match ended {
        Ended::Closed => state.finish(opener.target()),
        Ended::TimedOut => Err(match stop(opener, state.group).await {
            Ok(()) => TransportError::Timeout(limit),
            Err(error) => {
                TransportError::OutcomeUnknown(format!("no answer within {limit:?}, and then: {error}"))
            }
        }),
        Ended::Source(error, input) => {
            let _ = stop(opener, state.group).await;
            drop(input);
            Err(TransportError::Other(format!("the data to send could not be read: {error}")))
        }
        Ended::Sink(error) => {
            let _ = stop(opener, state.group).await;
            Err(TransportError::Other(format!("the data that came could not be written: {error}")))
        }
    }
}

/// Stops a process group: first politely, two seconds later for good.
pub(crate) async fn stop(opener: &dyn Opener, group: u32) -> Result<(), TransportError> {
    if group <= 1 {
        return Err(TransportError::Other("the process group to stop is not known".into()));
    }
    let script = format!(
        "kill -s TERM -- -{group} 2>/dev/null;n=0;while kill -s 0 -- -{group} 2>/dev/null&&[ $n -lt 20 ];do sleep 0.1;\
         n=$((n+1));done;kill -s KILL -- -{group} 2>/dev/null;:"
    );
    let script = Script::new(script).with_timeout(KILL_TIMEOUT);
    // Boxed: a script that stops another is an aside itself. Its own deadline does not come here again.
    let run = Box::pin(timeout(KILL_TIMEOUT, once(opener, &script)));
    match run.await {
        Ok(result) => result,
        Err(_) => Err(TransportError::Timeout(KILL_TIMEOUT)),
    }
}

async fn once(opener: &dyn Opener, script: &Script) -> Result<(), TransportError> {
    let nonce = Nonce::new();
    let text = format!("{}\n{}\n#{}", process::ENVIRONMENT, script.text, nonce.as_str());
    let Wire { mut input, mut source } = opener.open(&command(&nonce, text.len())).await?;
    let _ = input.write_all(text.as_bytes()).await;
    let _ = input.shutdown().await;
    drop(input);
    let mut state = State::new(&nonce, script);
    while let Some(piece) = source.next().await {
        state.take(piece);
    }
    state.finish(opener.target()).map(drop)
}

/// The command line that starts a script of `length` bytes. It runs in the login shell, whichever that is: see
/// [`process::ROOT_SHELL`] for what must not be in it.
fn command(nonce: &Nonce, length: usize) -> String {
    let nonce = nonce.as_str();
    format!(
        "exec /bin/sh -c 'r=;test \"$(id -u)\" = 0 || r=\"sudo -n\";exec $r /bin/sh -c \"$0\"' \
         'echo {nonce} >&2;read -r a b c d g r </proc/$$/stat;echo {nonce} $g;\
         s=$(dd bs={length} count=1 iflag=fullblock 2>/dev/null);case $s in *#{nonce}) eval \"$s\";;*) exit 96;;esac'"
    )
}

async fn fill(stream: &mut (dyn AsyncRead + Send + Unpin), chunk: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < chunk.len() {
        match stream.read(&mut chunk[length..]).await? {
            0 => break,
            more => length += more,
        }
    }
    Ok(length)
}

/// What has come so far.
struct State {
    out: Stream,
    err: Stream,
    group: u32,
    status: Option<i32>,
    exited: Option<Instant>,
}

/// One stream: noise up to the line with the nonce, then output.
struct Stream {
    nonce: String,
    noise: Vec<u8>,
    started: bool,
    kept: Vec<u8>,
    truncated: bool,
    lines: Option<Lines>,
}

impl State {
    fn new(nonce: &Nonce, script: &Script) -> Self {
        let stream = || Stream {
            nonce: nonce.as_str().to_owned(),
            noise: Vec::new(),
            started: false,
            kept: Vec::new(),
            truncated: false,
            lines: script.lines.clone().map(Lines::new),
        };
        Self { out: stream(), err: stream(), group: 0, status: None, exited: None }
    }

    fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Out(bytes) => {
                if let Some(text) = self.out.take(&bytes) {
                    self.group = text.trim().parse().unwrap_or(0);
                }
            }
            Piece::Err(bytes) => {
                self.err.take(&bytes);
            }
            Piece::Exit(status) => self.status = Some(status),
        }
        if self.status.is_some() {
            self.exited = Some(Instant::now());
        }
    }

    fn finish(mut self, target: String) -> Result<Output, TransportError> {
        if !self.out.started {
            let mut said = std::mem::take(&mut self.out.noise);
            said.push(b'\n');
            said.extend_from_slice(&self.err.noise);
            return Err(match self.status {
                Some(status) => process::no_root_shell(target, &said, Some(status)),
                None => TransportError::Other(format!(
                    "the connection to {target} was lost before the command started"
                )),
            });
        }
        let Some(status) = self.status else {
            return Err(TransportError::OutcomeUnknown("the channel closed without an exit status".into()));
        };
        for stream in [&mut self.out, &mut self.err] {
            if let Some(lines) = &mut stream.lines {
                lines.end();
            }
        }
        Ok(Output {
            status,
            stdout: self.out.kept.into(),
            stderr: self.err.kept.into(),
            truncated: self.out.truncated || self.err.truncated,
        })
    }
}

impl Stream {
    /// The rest of the line with the nonce, when these bytes complete it.
    fn take(&mut self, bytes: &[u8]) -> Option<String> {
        if self.started {
            self.release(bytes);
            return None;
        }
        self.noise.extend_from_slice(bytes);
        let found = self.noise.windows(self.nonce.len()).position(|window| window == self.nonce.as_bytes());
        let Some(at) = found else {
            let excess = self.noise.len().saturating_sub(NOISE_LIMIT);
            self.noise.drain(..excess);
            return None;
        };
        let after = at + self.nonce.len();
        let end = after + self.noise[after..].iter().position(|byte| *byte == b'\n')?;
        let noise = std::mem::take(&mut self.noise);
        self.started = true;
        self.release(&noise[end + 1..]);
        Some(String::from_utf8_lossy(&noise[after..end]).into_owned())
    }

    /// Hands on what was kept.
    async fn pour(&mut self, sink: &mut (dyn AsyncWrite + Send + Unpin)) -> std::io::Result<()> {
        if self.kept.is_empty() {
            return Ok(());
        }
        sink.write_all(&std::mem::take(&mut self.kept)).await
    }

    fn release(&mut self, bytes: &[u8]) {
        keep(&mut self.kept, bytes, OUTPUT_LIMIT, &mut self.truncated);
        if let Some(lines) = &mut self.lines {
            lines.push(bytes);
        }
    }
}
