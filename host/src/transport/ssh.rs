//! Nodes over SSH. One connection a node; bastions by direct-tcpip; it reconnects by itself when the next call needs it.

mod auth;
mod connect;
mod link;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

use self::link::SshLink;
use super::session::RootSession;
use super::{ConnectOptions, Session, TransportError};
use crate::node::SshTarget;

/// sshd drops handshakes at random beyond ten that have not logged in yet (`MaxStartups 10:30:100`).
const HANDSHAKES_PER_BASTION: usize = 8;

/// What all connections of a run share.
pub(crate) struct Ssh {
    options: ConnectOptions,
    bastions: Mutex<HashMap<(String, u16), Arc<Semaphore>>>,
}

impl Ssh {
    pub fn new(options: ConnectOptions) -> Self {
        Self { options, bastions: Mutex::default() }
    }

    /// Connects, checks host keys, logs in, becomes root.
    pub async fn session(self: &Arc<Self>, target: &SshTarget) -> Result<Arc<dyn Session>, TransportError> {
        let link = SshLink::new(self.clone(), target.clone());
        link.connect().await?;
        Ok(Arc::new(RootSession::start(link).await?))
    }

    /// Bounds handshakes with one bastion.
    fn bastion(&self, target: &SshTarget) -> Arc<Semaphore> {
        let mut bastions = self.bastions.lock().unwrap_or_else(PoisonError::into_inner);
        bastions
            .entry((target.host.clone(), target.port))
            .or_insert_with(|| Arc::new(Semaphore::new(HANDSHAKES_PER_BASTION)))
            .clone()
    }
}

/// `user@host:port`.
fn label(target: &SshTarget) -> String {
    if target.host.contains(':') {
        format!("{}@[{}]:{}", target.user, target.host, target.port)
    } else {
        format!("{}@{}:{}", target.user, target.host, target.port)
    }
}

#[cfg(test)]
mod tests;
