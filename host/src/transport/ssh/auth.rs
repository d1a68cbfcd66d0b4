//! Logging in: private key files first, then what the agent holds. A refusal is never tried again.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use russh::client::{AuthResult, Handle};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::AgentClient;
use russh::keys::{
    HashAlg, PrivateKey, PrivateKeyWithHashAlg, PublicKey, decode_secret_key, load_openssh_certificate,
};
use russh::{MethodKind, MethodSet};
use zeroize::Zeroizing;

use super::super::TransportError;
use super::connect::{Client, fingerprint};
use super::label;
use crate::node::SshTarget;

/// sshd hangs up after six (`MaxAuthTries`).
const MAX_OFFERS: usize = 6;

/// Logs in.
pub(crate) async fn login(
    handle: &mut Handle<Client>,
    target: &SshTarget,
    agent: Option<&Path>,
) -> Result<(), TransportError> {
    let mut login = Login { handle, target, tried: Vec::new(), offered: Vec::new() };
    for path in &target.identities {
        if login.file(path).await? {
            return Ok(());
        }
    }
    if let Some(socket) = agent
        && login.agent(socket).await?
    {
        return Ok(());
    }
    Err(login.refused(None))
}

struct Login<'a> {
    handle: &'a mut Handle<Client>,
    target: &'a SshTarget,
    /// For the error text.
    tried: Vec<String>,
    offered: Vec<PublicKey>,
}

impl Login<'_> {
    async fn file(&mut self, path: &Path) -> Result<bool, TransportError> {
        let key = match read_key(path) {
            Ok(key) => key,
            Err(reason) => {
                self.tried.push(reason);
                return Ok(false);
            }
        };
        let Some(hash) = self.rsa_hash(key.public_key()).await? else { return Ok(false) };
        let name = format!("{} ({})", path.display(), fingerprint(key.public_key()));
        self.offered.push(key.public_key().clone());
        let key = Arc::new(key);
        let mut certificate = path.as_os_str().to_owned();
        certificate.push("-cert.pub");
        if let Ok(certificate) = load_openssh_certificate(Path::new(&certificate)) {
            let answer =
                self.handle.authenticate_openssh_cert(&self.target.user, key.clone(), certificate).await;
            if self.judge(format!("the certificate of {name}"), answer)? {
                return Ok(true);
            }
        }
        let key = PrivateKeyWithHashAlg::new(key, hash);
        let answer = self.handle.authenticate_publickey(&self.target.user, key).await;
        self.judge(name, answer)
    }

    async fn agent(&mut self, socket: &Path) -> Result<bool, TransportError> {
        let mut agent = match AgentClient::connect_uds(socket).await {
            Ok(agent) => agent,
            Err(error) => {
                self.tried.push(format!("the agent at {} does not answer: {error}", socket.display()));
                return Ok(false);
            }
        };
        if let Some(binding) = self.handle.agent_session_binding() {
            // Lets keys that are bound to a destination be used; older agents do not know it.
            let _ = agent.bind_session(binding, false).await;
        }
        let identities = match agent.request_identities().await {
            Ok(identities) => identities,
            Err(error) => {
                self.tried.push(format!("the agent did not list its keys: {error}"));
                return Ok(false);
            }
        };
        if identities.is_empty() {
            self.tried.push("the agent holds no key".into());
        }
        for identity in identities {
            let key = identity.public_key().into_owned();
            let known = self.offered.iter().any(|offered| offered.key_data() == key.key_data());
            if known || self.offered.len() >= MAX_OFFERS {
                continue;
            }
            let Some(hash) = self.rsa_hash(&key).await? else { continue };
            self.offered.push(key.clone());
            let name = format!("the agent's {} ({})", identity.comment(), fingerprint(&key));
            let user = self.target.user.clone();
            let answer = match identity {
                AgentIdentity::PublicKey { key, .. } => {
                    self.handle.authenticate_publickey_with(user, key, hash, &mut agent).await
                }
                AgentIdentity::Certificate { certificate, .. } => {
                    self.handle.authenticate_certificate_with(user, certificate, hash, &mut agent).await
                }
            };
            match answer {
                Ok(answer) => {
                    if self.judge(name, Ok(answer))? {
                        return Ok(true);
                    }
                }
                Err(error) => self.tried.push(format!("{name}: not signed: {error}")),
            }
        }
        Ok(false)
    }

    /// SHA-2 for RSA keys; nothing when the server knows only SHA-1. For other kinds of key it does not matter.
    async fn rsa_hash(&mut self, key: &PublicKey) -> Result<Option<Option<HashAlg>>, TransportError> {
        if !key.algorithm().is_rsa() {
            return Ok(Some(None));
        }
        match self.handle.best_supported_rsa_hash().await {
            Ok(Some(None)) => {
                self.tried.push(format!("{}: the server knows RSA only with SHA-1", fingerprint(key)));
                Ok(None)
            }
            Ok(Some(hash)) => Ok(Some(hash)),
            // A server that does not say: every one of the last ten years knows it.
            Ok(None) => Ok(Some(Some(HashAlg::Sha512))),
            Err(error) => Err(self.refused(Some(error.to_string()))),
        }
    }

    fn judge(
        &mut self,
        name: String,
        answer: Result<AuthResult, russh::Error>,
    ) -> Result<bool, TransportError> {
        match answer {
            Ok(AuthResult::Success) => Ok(true),
            Ok(AuthResult::Failure { remaining_methods, partial_success }) => {
                if partial_success {
                    let more = methods(&remaining_methods);
                    return Err(
                        self.refused(Some(format!("{name} was accepted, but it wants {more} as well")))
                    );
                }
                self.tried.push(format!("{name}: refused"));
                if !remaining_methods.is_empty() && !remaining_methods.contains(&MethodKind::PublicKey) {
                    let more = methods(&remaining_methods);
                    return Err(self.refused(Some(format!("it takes no keys, only {more}"))));
                }
                Ok(false)
            }
            Err(error) => Err(self.refused(Some(format!("{name}: {error}")))),
        }
    }

    fn refused(&mut self, reason: Option<String>) -> TransportError {
        let mut reasons = std::mem::take(&mut self.tried);
        reasons.extend(reason);
        if reasons.is_empty() {
            reasons.push("there is no key to offer: name a file as `identity`, or start an agent".into());
        }
        TransportError::Authentication { target: label(self.target), reason: reasons.join("; ") }
    }
}

fn methods(set: &MethodSet) -> String {
    set.iter().map(<&str>::from).collect::<Vec<_>>().join(" or ")
}

/// Reads a private key that nobody else can read; otherwise why not.
fn read_key(path: &Path) -> Result<PrivateKey, String> {
    let shown = path.display();
    let metadata = std::fs::metadata(path).map_err(|error| format!("{shown}: {error}"))?;
    if !metadata.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(format!("{shown} can be read by others (mode {mode:04o}): run `chmod 600 {shown}`"));
    }
    let text =
        std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| format!("{shown}: {error}"))?;
    decode_secret_key(&text, None).map_err(|error| match error {
        russh::keys::Error::KeyIsEncrypted => format!("{shown} has a passphrase: run `ssh-add {shown}`"),
        other => format!("{shown} is not a private key: {other}"),
    })
}
