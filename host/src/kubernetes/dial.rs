//! Ways to an API server.

use std::sync::Arc;

use async_trait::async_trait;

use crate::transport::{Session, Stream, TransportError};

/// Opens TCP connections.
#[async_trait]
pub trait Dial: Send + Sync {
    /// Connects to an address as this way's far end sees it.
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, TransportError>;
}

/// From a node.
pub struct Through(pub Arc<dyn Session>);

#[async_trait]
impl Dial for Through {
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, TransportError> {
        self.0.dial(host, port).await
    }
}

/// From this machine, without SSH: for tests and development.
pub struct Direct;

#[async_trait]
impl Dial for Direct {
    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, TransportError> {
        let unreachable = |error: std::io::Error| TransportError::Unreachable {
            target: format!("{host}:{port}"),
            reason: error.to_string(),
        };
        let stream = tokio::net::TcpStream::connect((host, port)).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        Ok(Box::new(stream))
    }
}
