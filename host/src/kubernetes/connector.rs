//! TLS to whichever API server answers first: what `hyper` connects with.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::KubernetesError;
use super::dial::Dial;
use crate::manifest::Endpoint;
use crate::state::KeyAndCertificate;
use crate::transport::Stream;

/// For one way to one API server, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A way that has not answered by then no longer holds up the next one.
const STAGGER: Duration = Duration::from_millis(400);

/// HTTP/2 pings find a connection whose far end is gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Cheap to clone; all clones share the ways.
#[derive(Clone)]
pub(super) struct ApiConnector(Arc<Shared>);

struct Shared {
    dialers: RwLock<Vec<Arc<dyn Dial>>>,
    endpoints: Vec<Endpoint>,
    tls: TlsConnector,
    /// The way that worked last, tried first.
    preferred: AtomicUsize,
}

/// Every way with what came back.
#[derive(Debug)]
pub(super) struct ConnectError(Vec<String>);

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no API server answers ({})", self.0.join("; "))
    }
}

impl std::error::Error for ConnectError {}

/// The client that requests go through. Prefers one HTTP/2 connection, so that a hundred requests cost one handshake.
pub(super) fn http_client(
    connector: ApiConnector,
) -> hyper_util::client::legacy::Client<ApiConnector, kube::client::Body> {
    hyper_util::client::legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_keep_alive_interval(KEEP_ALIVE)
        .http2_keep_alive_timeout(KEEP_ALIVE)
        .http2_keep_alive_while_idle(true)
        .build(connector)
}

impl ApiConnector {
    pub(super) fn new(
        dialers: Vec<Arc<dyn Dial>>,
        endpoints: Vec<Endpoint>,
        authority_pem: &str,
        identity: &KeyAndCertificate,
    ) -> Result<Self, KubernetesError> {
        let tls = |error: &dyn fmt::Display| KubernetesError::Tls(error.to_string());
        let mut roots = rustls::RootCertStore::empty();
        let authority =
            CertificateDer::from_pem_slice(authority_pem.as_bytes()).map_err(|error| tls(&error))?;
        roots.add(authority).map_err(|error| tls(&error))?;
        let certificate =
            CertificateDer::from_pem_slice(identity.certificate.as_bytes()).map_err(|error| tls(&error))?;
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|error| tls(&error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| tls(&error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate], key)
            .map_err(|error| tls(&error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(Shared {
            dialers: RwLock::new(dialers),
            endpoints,
            tls: TlsConnector::from(Arc::new(config)),
            preferred: AtomicUsize::new(0),
        })))
    }

    pub(super) fn set_dialers(&self, dialers: Vec<Arc<dyn Dial>>) {
        *self.0.dialers.write().unwrap_or_else(PoisonError::into_inner) = dialers;
    }

    /// Tries every dialer with every endpoint, a little apart; the first TLS connection wins.
    async fn open(&self) -> Result<ApiStream, ConnectError> {
        let dialers = self.0.dialers.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut ways = ways(dialers.len(), self.0.endpoints.len());
        let preferred = self.0.preferred.load(Ordering::Relaxed).min(ways.len().saturating_sub(1));
        if preferred > 0 {
            ways.rotate_left(preferred);
        }
        let count = ways.len();
        let mut waiting = ways.into_iter().enumerate();
        let mut running = FuturesUnordered::new();
        let mut failures: Vec<String> = Vec::new();
        let mut start_another = true;
        loop {
            if start_another && let Some((place, (dialer, endpoint))) = waiting.next() {
                let attempt = self.attempt(&*dialers[dialer], &self.0.endpoints[endpoint]);
                running.push(async move { (place, attempt.await) });
            }
            start_another = tokio::select! {
                ended = running.next() => match ended {
                    Some((place, Ok(stream))) => {
                        self.0.preferred.store((preferred + place) % count.max(1), Ordering::Relaxed);
                        return Ok(stream);
                    }
                    Some((_, Err(reason))) => {
                        if !failures.contains(&reason) {
                            failures.push(reason);
                        }
                        true
                    }
                    None if waiting.len() == 0 => return Err(ConnectError(failures)),
                    None => true,
                },
                () = tokio::time::sleep(STAGGER), if waiting.len() > 0 => true,
            };
        }
    }

    async fn attempt(&self, dialer: &dyn Dial, endpoint: &Endpoint) -> Result<ApiStream, String> {
        let connect = async {
            let name = ServerName::try_from(endpoint.host.clone()).map_err(|error| error.to_string())?;
            let stream = dialer
                .dial(&endpoint.host, endpoint.port)
                .await
                .map_err(|error| format!("{endpoint}: {error}"))?;
            self.0.tls.connect(name, stream).await.map_err(|error| format!("{endpoint}: {error}"))
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, connect).await {
            Ok(connected) => connected.map(ApiStream),
            Err(_) => Err(format!("{endpoint}: no connection within {} s", CONNECT_TIMEOUT.as_secs())),
        }
    }
}

/// Each dialer first with the endpoint of its own place: often the API server on the same machine.
fn ways(dialers: usize, endpoints: usize) -> Vec<(usize, usize)> {
    (0..endpoints)
        .flat_map(|offset| (0..dialers).map(move |dialer| (dialer, (dialer + offset) % endpoints)))
        .collect()
}

impl tower::Service<Uri> for ApiConnector {
    type Response = TokioIo<ApiStream>;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.open().await.map(TokioIo::new) })
    }
}

/// A TLS connection to an API server.
pub(super) struct ApiStream(TlsStream<Box<dyn Stream>>);

impl Connection for ApiStream {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.0.get_ref().1.alpn_protocol() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

impl AsyncRead for ApiStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for ApiStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dialer_meets_every_endpoint_its_own_first() {
        assert_eq!(ways(2, 2), [(0, 0), (1, 1), (0, 1), (1, 0)]);
        assert_eq!(ways(1, 3), [(0, 0), (0, 1), (0, 2)]);
        assert_eq!(ways(2, 1), [(0, 0), (1, 0)]);
        assert!(ways(0, 1).is_empty());
    }
}
