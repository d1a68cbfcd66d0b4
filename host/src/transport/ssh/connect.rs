//! From a target to a connection that is logged in: TCP or the previous hop, key exchange, host key, login.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use russh::client::{self, Handle};
use russh::keys::{Algorithm, HashAlg, PublicKey, PublicKeyOrCertificate};
use russh::{ChannelOpenFailure, Preferred, SshId, cipher};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::super::known_hosts::{Known, Verdict};
use super::super::{ConnectOptions, Stream, TransportError};
use super::{Ssh, auth, label};
use crate::node::SshTarget;

/// A peer that says nothing for this long is asked; one that does not answer three times is gone.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// Attempts when a connection is refused or breaks before the login.
const ATTEMPTS: u32 = 4;
/// Before the second attempt; doubles.
const PAUSE: Duration = Duration::from_millis(200);

/// A connection that is logged in, and the hops that carry it.
pub(crate) struct Connection {
    pub handle: Handle<Client>,
    _hops: Vec<Handle<Client>>,
}

impl Connection {
    /// False once it is known to be gone.
    pub fn is_alive(&self) -> bool {
        !self.handle.is_closed()
    }
}

/// Connects through all hops.
pub(crate) async fn connect(ssh: &Ssh, target: &SshTarget) -> Result<Connection, TransportError> {
    let mut hops: Vec<Handle<Client>> = Vec::new();
    for hop in &target.via {
        let gate = ssh.bastion(hop);
        // The semaphore is never closed.
        let _permit = gate.acquire().await.map_err(|error| TransportError::Other(error.to_string()))?;
        hops.push(login(&ssh.options, hops.last(), hop).await?);
    }
    let handle = login(&ssh.options, hops.last(), target).await?;
    Ok(Connection { handle, _hops: hops })
}

async fn login(
    options: &ConnectOptions,
    through: Option<&Handle<Client>>,
    target: &SshTarget,
) -> Result<Handle<Client>, TransportError> {
    let mut handle = handshake(options, through, target).await?;
    match timeout(options.login_timeout, auth::login(&mut handle, target, options.agent.as_deref())).await {
        Ok(result) => result.map(|()| handle),
        Err(_) => Err(TransportError::Authentication {
            target: label(target),
            reason: format!("no answer within {:?}", options.login_timeout),
        }),
    }
}

/// Why an attempt failed.
enum Failed {
    /// The next may succeed.
    Now(String),
    /// The next will not.
    Always(TransportError),
}

async fn handshake(
    options: &ConnectOptions,
    through: Option<&Handle<Client>>,
    target: &SshTarget,
) -> Result<Handle<Client>, TransportError> {
    let deadline = Instant::now() + options.connect_timeout;
    let unreachable = |reason: String| TransportError::Unreachable { target: label(target), reason };
    let mut last = None;
    for attempt in 1..=ATTEMPTS {
        match timeout_at(deadline, try_algorithms(options, through, target)).await {
            Ok(Ok(handle)) => return Ok(handle),
            Ok(Err(Failed::Always(error))) => return Err(error),
            Ok(Err(Failed::Now(reason))) => last = Some(reason),
            Err(_) => {
                last.get_or_insert_with(|| format!("no answer within {:?}", options.connect_timeout));
                break;
            }
        }
        // Half to one and a half times, so that many nodes do not come back at the same moment.
        let pause = PAUSE * 2_u32.pow(attempt - 1);
        let pause = pause.mul_f64(rand::random_range(0.5..1.5));
        if attempt == ATTEMPTS || Instant::now() + pause >= deadline {
            break;
        }
        sleep(pause).await;
    }
    Err(unreachable(last.unwrap_or_else(|| "no answer".into())))
}

/// A pinned fingerprint does not say of which kind the key is: when the server offers another kind first, ask for the rest.
async fn try_algorithms(
    options: &ConnectOptions,
    through: Option<&Handle<Client>>,
    target: &SshTarget,
) -> Result<Handle<Client>, Failed> {
    let known = Known::read(target, label(target), options.accept_new).map_err(Failed::Always)?;
    let mut wanted = known.algorithms();
    let mut refused = None;
    loop {
        let (offered, error) = match attempt(through, target, &known, &wanted).await {
            Ok(handle) => return Ok(handle),
            Err((offered, error)) => (offered, error),
        };
        let Some(offered) = offered.filter(|_| known.is_pinned()) else {
            return Err(refused.unwrap_or(error));
        };
        wanted.retain(|algorithm| !same_kind(algorithm, &offered.algorithm()));
        if wanted.is_empty() {
            return Err(refused.unwrap_or(error));
        }
        refused.get_or_insert(error);
    }
}

fn same_kind(one: &Algorithm, other: &Algorithm) -> bool {
    one == other || matches!((one, other), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }))
}

async fn attempt(
    through: Option<&Handle<Client>>,
    target: &SshTarget,
    known: &Known,
    algorithms: &[Algorithm],
) -> Result<Handle<Client>, (Option<PublicKey>, Failed)> {
    let stream = dial(through, target).await.map_err(|failed| (None, failed))?;
    let seen = Arc::new(Mutex::new(None));
    let client = Client { known: known.clone(), seen: seen.clone() };
    let result = client::connect_stream(Arc::new(config(algorithms)), stream, client).await;
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (result, seen) {
        (Ok(handle), Some((key, Verdict::New))) => match known.remember(&key) {
            Ok(()) => Ok(handle),
            Err(error) => Err((None, Failed::Always(error))),
        },
        (Ok(handle), _) => Ok(handle),
        (Err(_), Some((key, Verdict::Refused { reason, changed }))) => {
            let error = TransportError::HostKey { target: label(target), reason, changed };
            Err((Some(key), Failed::Always(error)))
        }
        (Err(error @ (russh::Error::NoCommonAlgo { .. } | russh::Error::Version)), _) => {
            let error = TransportError::Unreachable { target: label(target), reason: error.to_string() };
            Err((None, Failed::Always(error)))
        }
        (Err(error), _) => Err((None, Failed::Now(format!("the SSH handshake failed: {error}")))),
    }
}

async fn dial(through: Option<&Handle<Client>>, target: &SshTarget) -> Result<Box<dyn Stream>, Failed> {
    let Some(bastion) = through else {
        let stream = TcpStream::connect((target.host.as_str(), target.port))
            .await
            .map_err(|error| Failed::Now(error.to_string()))?;
        // Without it each command waits for the peer's delayed acknowledgement.
        stream.set_nodelay(true).map_err(|error| Failed::Now(error.to_string()))?;
        return Ok(Box::new(stream));
    };
    match bastion.channel_open_direct_tcpip(target.host.clone(), u32::from(target.port), "127.0.0.1", 0).await
    {
        Ok(channel) => Ok(Box::new(channel.into_stream())),
        Err(russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited)) => {
            Err(Failed::Always(TransportError::Unreachable {
                target: label(target),
                reason: "the bastion forbids forwarding (AllowTcpForwarding, PermitOpen)".into(),
            }))
        }
        Err(error) => Err(Failed::Now(format!("the bastion cannot connect to it: {error}"))),
    }
}

fn config(algorithms: &[Algorithm]) -> client::Config {
    client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!("SSH-2.0-ksp_", env!("CARGO_PKG_VERSION")))),
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 3,
        nodelay: true,
        preferred: Preferred {
            key: Cow::Owned(algorithms.to_vec()),
            cipher: Cow::Borrowed(ciphers()),
            ..Preferred::default()
        },
        ..client::Config::default()
    }
}

/// AEAD first; AES only where the processor computes it.
fn ciphers() -> &'static [cipher::Name] {
    const AES: &[cipher::Name] =
        &[cipher::AES_256_GCM, cipher::CHACHA20_POLY1305, cipher::AES_256_CTR, cipher::AES_128_CTR];
    const CHACHA: &[cipher::Name] =
        &[cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_256_CTR, cipher::AES_128_CTR];
    #[cfg(target_arch = "x86_64")]
    let aes = std::arch::is_x86_feature_detected!("aes");
    #[cfg(target_arch = "aarch64")]
    let aes = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let aes = false;
    if aes { AES } else { CHACHA }
}

/// What the library asks while a connection lives.
pub(crate) struct Client {
    known: Known,
    seen: Arc<Mutex<Option<(PublicKey, Verdict)>>>,
}

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        // Certificates are not offered to the server as something we understand.
        let PublicKeyOrCertificate::PublicKey { key, .. } = offered else { return Ok(false) };
        let verdict = self.known.judge(key);
        let accepted = !matches!(verdict, Verdict::Refused { .. });
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some((key.clone(), verdict));
        Ok(accepted)
    }

    // A server opens nothing on the workstation: dropping the reply rejects.

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: &str,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: &str,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: russh::Channel<client::Msg>,
        _: &str,
        _: u32,
        _: client::ChannelOpenHandle,
        _: &mut client::Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// "ssh-ed25519 SHA256:…", as `ssh-keygen -lf` shows it.
pub(crate) fn fingerprint(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}
