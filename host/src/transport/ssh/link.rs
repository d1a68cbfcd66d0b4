//! One node's connection as a source of processes. Made again when it is found lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use russh::client::Msg;
use russh::{ChannelMsg, ChannelOpenFailure, ChannelReadHalf, ChannelWriteHalf, Disconnect, Sig};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::super::process::{Opener, Piece, Source, Wire};
use super::super::session::Link;
use super::super::{Stream, TransportError};
use super::connect::{Connection, connect};
use super::{Ssh, label};
use crate::node::SshTarget;

/// For a living server to open a channel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) struct SshLink {
    ssh: Arc<Ssh>,
    target: SshTarget,
    connection: Mutex<Option<Arc<Connection>>>,
    closed: AtomicBool,
}

impl SshLink {
    pub fn new(ssh: Arc<Ssh>, target: SshTarget) -> Self {
        Self { ssh, target, connection: Mutex::new(None), closed: AtomicBool::new(false) }
    }

    /// The living connection, made when there is none.
    pub async fn connect(&self) -> Result<Arc<Connection>, TransportError> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(TransportError::Other(format!(
                "the session with {} was closed",
                label(&self.target)
            )));
        }
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.is_alive()) {
            return Ok(connection.clone());
        }
        let connection = Arc::new(connect(&self.ssh, &self.target).await?);
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// Lets go of a connection that does not answer.
    async fn forget(&self, dead: &Arc<Connection>) {
        let mut slot = self.connection.lock().await;
        if slot.as_ref().is_some_and(|connection| Arc::ptr_eq(connection, dead)) {
            *slot = None;
        }
    }

    /// Opens a channel; once more on a new connection when the old one turns out to be gone. Nothing has run by then.
    async fn channel<'a, F>(&'a self, open: impl Fn(Arc<Connection>) -> F) -> Result<Opened, TransportError>
    where
        F: Future<Output = Result<russh::Channel<Msg>, russh::Error>> + Send + 'a,
    {
        let mut last = String::new();
        for _ in 0..2 {
            let connection = self.connect().await?;
            match timeout(OPEN_TIMEOUT, open(connection.clone())).await {
                Ok(Ok(channel)) => return Ok(Opened::Channel(channel, connection)),
                Ok(Err(russh::Error::ChannelOpenFailure(reason))) => return Ok(Opened::Refused(reason)),
                Ok(Err(error)) => last = error.to_string(),
                Err(_) => last = format!("no answer within {OPEN_TIMEOUT:?}"),
            }
            self.forget(&connection).await;
        }
        Err(TransportError::Unreachable { target: label(&self.target), reason: last })
    }

    /// A channel for a process. A server that allows fewer sessions on one connection than we use gets another connection.
    async fn session(&self) -> Result<(russh::Channel<Msg>, Arc<Connection>), TransportError> {
        let open =
            |connection: Arc<Connection>| async move { connection.handle.channel_open_session().await };
        if let Opened::Channel(channel, connection) = self.channel(open).await? {
            return Ok((channel, connection));
        }
        let another = Arc::new(connect(&self.ssh, &self.target).await?);
        let failed = |reason: String| TransportError::Unreachable { target: label(&self.target), reason };
        match timeout(OPEN_TIMEOUT, open(another.clone())).await {
            Ok(Ok(channel)) => Ok((channel, another)),
            Ok(Err(russh::Error::ChannelOpenFailure(reason))) => Err(TransportError::Other(format!(
                "{} allows no session ({reason:?}): look at MaxSessions in its sshd_config",
                label(&self.target)
            ))),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("no answer within {OPEN_TIMEOUT:?}"))),
        }
    }
}

/// What came of asking for a channel.
enum Opened {
    Channel(russh::Channel<Msg>, Arc<Connection>),
    Refused(ChannelOpenFailure),
}

#[async_trait]
impl Opener for SshLink {
    fn target(&self) -> String {
        label(&self.target)
    }

    async fn open(&self, command: &str) -> Result<Wire, TransportError> {
        let (channel, connection) = self.session().await?;
        let (read, write) = channel.split();
        // The answer comes with the output: no need to wait for it.
        write.exec(true, command).await.map_err(|error| TransportError::Unreachable {
            target: label(&self.target),
            reason: error.to_string(),
        })?;
        let input = write.make_writer();
        Ok(Wire {
            input: Box::new(input),
            source: Box::new(ChannelSource { read, write: Some(write), _connection: connection }),
        })
    }
}

#[async_trait]
impl Link for SshLink {
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, TransportError> {
        let to = format!("{host}:{port}");
        let host = host.to_owned();
        let opened = self
            .channel(|connection| {
                let host = host.clone();
                async move {
                    connection.handle.channel_open_direct_tcpip(host, u32::from(port), "127.0.0.1", 0).await
                }
            })
            .await;
        match opened? {
            Opened::Channel(channel, connection) => {
                Ok(Box::new(Dialled { stream: channel.into_stream(), _connection: connection }))
            }
            Opened::Refused(ChannelOpenFailure::AdministrativelyProhibited) => {
                Err(TransportError::Other(format!(
                    "{} does not forward connections (to {to}): set `AllowTcpForwarding yes` in its sshd_config",
                    label(&self.target)
                )))
            }
            Opened::Refused(_) => Err(TransportError::Other(format!(
                "{} cannot connect to {to}: nothing answers there",
                label(&self.target)
            ))),
        }
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
        // While somebody connects there is nothing to close yet, and nothing will be used.
        if let Ok(mut slot) = self.connection.try_lock()
            && let Some(connection) = slot.take()
        {
            let _ = timeout(
                Duration::from_secs(1),
                connection.handle.disconnect(Disconnect::ByApplication, "", ""),
            )
            .await;
        }
    }
}

/// Output of a channel. Keeps the connection; closes the channel when dropped.
struct ChannelSource {
    read: ChannelReadHalf,
    write: Option<ChannelWriteHalf<Msg>>,
    _connection: Arc<Connection>,
}

#[async_trait]
impl Source for ChannelSource {
    async fn next(&mut self) -> Option<Piece> {
        loop {
            match self.read.wait().await {
                Some(ChannelMsg::Data { data }) => return Some(Piece::Out(data)),
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) => return Some(Piece::Err(data)),
                Some(ChannelMsg::ExitStatus { exit_status }) => {
                    return Some(Piece::Exit(i32::try_from(exit_status).unwrap_or(255)));
                }
                Some(ChannelMsg::ExitSignal { signal_name, .. }) => {
                    return Some(Piece::Exit(128 + number(&signal_name)));
                }
                Some(ChannelMsg::Failure | ChannelMsg::Close) | None => {
                    self.write = None;
                    return None;
                }
                Some(_) => {}
            }
        }
    }
}

impl Drop for ChannelSource {
    fn drop(&mut self) {
        if let (Some(write), Ok(runtime)) = (self.write.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(async move { write.close().await });
        }
    }
}

fn number(signal: &Sig) -> i32 {
    match signal {
        Sig::HUP => 1,
        Sig::INT => 2,
        Sig::QUIT => 3,
        Sig::ILL => 4,
        Sig::ABRT => 6,
        Sig::FPE => 8,
        Sig::KILL => 9,
        Sig::USR1 => 10,
        Sig::SEGV => 11,
        Sig::PIPE => 13,
        Sig::ALRM => 14,
        Sig::TERM => 15,
        _ => 0,
    }
}

/// A stream that keeps its connection.
struct Dialled {
    stream: russh::ChannelStream<Msg>,
    _connection: Arc<Connection>,
}

impl tokio::io::AsyncRead for Dialled {
    fn poll_read(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl tokio::io::AsyncWrite for Dialled {
    fn poll_write(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        std::pin::Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::pin::Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
