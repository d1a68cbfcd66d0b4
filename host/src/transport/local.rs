//! This machine as a node: the same root shell, without SSH.

use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::process::{Opener, Piece, Source, Wire};
use super::session::{Link, RootSession};
use super::{Session, Stream, TransportError};

const CHUNK: usize = 64 << 10;
const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Starts a root shell on this machine.
///
/// # Errors
/// [`TransportError::Privilege`] when this user is not root and `sudo -n` does not help.
pub async fn connect() -> Result<std::sync::Arc<dyn Session>, TransportError> {
    Ok(std::sync::Arc::new(RootSession::start(Local).await?))
}

/// Processes of this machine.
struct Local;

#[async_trait]
impl Opener for Local {
    fn target(&self) -> String {
        "this machine".into()
    }

    async fn open(&self, command: &str) -> Result<Wire, TransportError> {
        let mut child = Command::new("/bin/sh")
            .args(["-c", command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in the terminal is for the host alone; a deadline stops the whole group.
            .process_group(0)
            .spawn()
            .map_err(|error| TransportError::Other(format!("/bin/sh does not start: {error}")))?;
        let (Some(input), Some(out), Some(err)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(TransportError::Other("/bin/sh started without its pipes".into()));
        };
        let (sender, receiver) = mpsc::channel(16);
        let mut tasks = JoinSet::new();
        tasks.spawn(copy(out, sender.clone(), Piece::Out));
        tasks.spawn(copy(err, sender.clone(), Piece::Err));
        tasks.spawn(async move {
            if let Ok(status) = child.wait().await {
                let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
                let _ = sender.send(Piece::Exit(code)).await;
            }
        });
        Ok(Wire { input: Box::new(input), source: Box::new(Pipes { receiver, _tasks: tasks }) })
    }
}

#[async_trait]
impl Link for Local {
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, TransportError> {
        let failed = |reason: String| {
            TransportError::Other(format!("this machine cannot connect to {host}:{port}: {reason}"))
        };
        match tokio::time::timeout(DIAL_TIMEOUT, TcpStream::connect((host, port))).await {
            Err(_) => Err(failed(format!("no answer within {DIAL_TIMEOUT:?}"))),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                Ok(Box::new(stream))
            }
        }
    }

    async fn close(&self) {}
}

/// The tasks end with this.
struct Pipes {
    receiver: mpsc::Receiver<Piece>,
    _tasks: JoinSet<()>,
}

#[async_trait]
impl Source for Pipes {
    async fn next(&mut self) -> Option<Piece> {
        self.receiver.recv().await
    }
}

async fn copy(mut from: impl AsyncRead + Unpin, to: mpsc::Sender<Piece>, piece: fn(Bytes) -> Piece) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(length @ 1..) = from.read(&mut chunk).await {
        if to.send(piece(Bytes::copy_from_slice(&chunk[..length]))).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn this_machine_behaves_as_a_node() {
        crate::transport::testing::behaves(connect().await.unwrap()).await;
    }
}
