//! What sessions over SSH and on this machine share: the persistent shell, the channels beside it, deadlines.

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, Semaphore};

use super::aside::{self, Feed};
use super::process::Opener;
use super::shell::{self, Broken, Shell};
use super::{DEFAULT_TIMEOUT, Output, Script, Session, Stream, TransportError};

/// Channels beside the shell. sshd allows 10 sessions a connection (`MaxSessions`); one more stops what took too long.
const ASIDE: usize = 7;

/// What else a way to a node offers.
#[async_trait]
pub(crate) trait Link: Opener {
    /// See [`Session::dial`].
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, TransportError>;
    /// See [`Session::close`].
    async fn close(&self);
}

/// A session as root.
pub(crate) struct RootSession<L> {
    link: L,
    /// Empty while a script runs, and after one that broke it: the next script starts another.
    shell: Mutex<Option<Shell>>,
    aside: Semaphore,
}

impl<L: Link> RootSession<L> {
    /// Becomes root.
    pub async fn start(link: L) -> Result<Self, TransportError> {
        let shell = Shell::start(&link).await?;
        Ok(Self { link, shell: Mutex::new(Some(shell)), aside: Semaphore::new(ASIDE) })
    }

    async fn beside(&self, script: &Script, feed: Feed<'_>) -> Result<Output, TransportError> {
        // The semaphore is never closed.
        let _permit = self.aside.acquire().await.map_err(|error| TransportError::Other(error.to_string()))?;
        aside::run(&self.link, script, feed, None).await
    }
}

#[async_trait]
impl<L: Link> Session for RootSession<L> {
    async fn run(&self, script: Script) -> Result<Output, TransportError> {
        let mut slot = self.shell.lock().await;
        if !shell::fits(&script) {
            return self.beside(&script, Feed::Own).await;
        }
        let idle = slot.take().and_then(|mut shell| shell.is_alive().then_some(shell));
        let mut shell = match idle {
            Some(shell) => shell,
            None => Shell::start(&self.link).await?,
        };
        let limit = script.timeout.unwrap_or(DEFAULT_TIMEOUT);
        match shell.run(&script, limit).await {
            Ok(output) => {
                *slot = Some(shell);
                Ok(output)
            }
            Err(Broken::Lost(reason)) => {
                Err(TransportError::OutcomeUnknown(format!("{}: {reason}", self.link.target())))
            }
            Err(Broken::TimedOut) => Err(match aside::stop(&self.link, shell.group).await {
                Ok(()) => TransportError::Timeout(limit),
                Err(error) => {
                    TransportError::OutcomeUnknown(format!("no answer within {limit:?}, and then: {error}"))
                }
            }),
        }
    }

    async fn run_aside(&self, script: Script) -> Result<Output, TransportError> {
        self.beside(&script, Feed::Own).await
    }

    async fn feed(
        &self,
        script: Script,
        source: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<Output, TransportError> {
        self.beside(&script, Feed::Stream(source)).await
    }

    async fn fetch(
        &self,
        script: Script,
        sink: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Output, TransportError> {
        let _permit = self.aside.acquire().await.map_err(|error| TransportError::Other(error.to_string()))?;
        aside::run(&self.link, &script, Feed::Own, Some(sink)).await
    }

    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, TransportError> {
        self.link.dial(host, port).await
    }

    async fn close(&self) {
        self.link.close().await;
        if let Ok(mut slot) = self.shell.try_lock() {
            *slot = None;
        }
    }
}
