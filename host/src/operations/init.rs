//! `ksp init`: a complete, commented manifest from a few answers, so that nobody starts from an empty file.

mod addresses;
mod text;

use std::io::Write as _;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

pub use self::addresses::expand;
use crate::diagnostic::Diagnostic;
use crate::manifest::environment::Environment;
use crate::manifest::{self, DEFAULT_KUBERNETES, syntax};

/// Not 6443: on control planes the API server has that one on all addresses.
const LOCAL_PORT: u16 = 7443;

/// What the user said; everything else is filled in and commented.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// The cluster's name.
    pub name: String,
    /// Addresses of control planes; ranges such as `10.0.0.11-13`.
    pub control_planes: Vec<String>,
    /// Addresses of workers; none makes the control planes workers too.
    pub workers: Vec<String>,
    /// Login name.
    pub user: Option<String>,
    /// Private key file.
    pub identity: Option<String>,
    /// The Kubernetes version; none is [`DEFAULT_KUBERNETES`].
    pub kubernetes: Option<String>,
    /// `host:port` of the API; none is loopback of every node when the chain has a stage for that, else the first control plane.
    pub endpoint: Option<String>,
}

/// One entry of the default chain.
#[derive(Debug, Clone, Copy)]
pub struct ChainEntry<'a> {
    /// What `use` says.
    pub plugin: &'a str,
    /// One line about it.
    pub summary: &'a str,
    /// It makes a loopback endpoint reach the API; left out when the endpoint is another one.
    pub serves_endpoint: bool,
}

/// A new manifest, not written yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The file's text.
    pub text: String,
    /// Number of control planes.
    pub control_planes: usize,
    /// Number of nodes that are workers only.
    pub workers: usize,
    /// The Kubernetes version in it.
    pub kubernetes: String,
    /// Warnings that `ksp plan` would show.
    pub findings: Vec<Diagnostic>,
}

/// Composes a manifest and checks it as `load` will.
///
/// # Errors
/// Every answer that makes no valid manifest.
pub fn compose(answers: &Answers, chain: &[ChainEntry<'_>], path: &Path) -> Result<Draft, Vec<Diagnostic>> {
    compose_in(answers, chain, path, &Environment::real())
}

fn compose_in(
    answers: &Answers,
    chain: &[ChainEntry<'_>],
    path: &Path,
    environment: &Environment,
) -> Result<Draft, Vec<Diagnostic>> {
    let mut findings = Vec::new();
    let mut machines = |texts: &[String]| {
        let mut found = Vec::new();
        for text in texts {
            match expand(text) {
                Ok(addresses) => found.extend(addresses),
                Err(wrong) => findings.push(
                    Diagnostic::error("ksp::init::bad-address", format!("`{text}` {wrong}"))
                        .hint("write IP addresses, or ranges such as `10.0.0.11-13`"),
                ),
            }
        }
        found
    };
    let (control_planes, workers) = (machines(&answers.control_planes), machines(&answers.workers));
    if !findings.is_empty() {
        return Err(findings);
    }
    let kubernetes = answers.kubernetes.clone().unwrap_or_else(|| DEFAULT_KUBERNETES.to_owned());
    let endpoint = match &answers.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => default_endpoint(&control_planes, chain.iter().any(|entry| entry.serves_endpoint)),
    };
    let local = syntax::endpoint(&endpoint).is_ok_and(|endpoint| endpoint.is_loopback());
    let chain: Vec<ChainEntry<'_>> =
        chain.iter().filter(|entry| local || !entry.serves_endpoint).copied().collect();
    let text = text::render(answers, &endpoint, &control_planes, &workers, &kubernetes, &chain);
    let loaded = manifest::check_text(path, &text, String::new(), environment);
    if loaded.manifest.is_none() {
        return Err(loaded.findings);
    }
    let (control_planes, workers) = (control_planes.len(), workers.len());
    Ok(Draft { text, control_planes, workers, kubernetes, findings: loaded.findings })
}

/// From the first day one that no machine takes with it: on each node it is the node itself.
fn default_endpoint(control_planes: &[IpAddr], local: bool) -> String {
    match (control_planes.first(), local) {
        (None, _) => String::new(),
        (Some(IpAddr::V4(_)), true) => format!("127.0.0.1:{LOCAL_PORT}"),
        (Some(IpAddr::V6(_)), true) => format!("[::1]:{LOCAL_PORT}"),
        (Some(IpAddr::V4(address)), false) => format!("{address}:6443"),
        (Some(IpAddr::V6(address)), false) => format!("[{address}]:6443"),
    }
}

/// Writes a manifest where none is: whole or not at all.
///
/// # Errors
/// When something is there already, or it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<(), Diagnostic> {
    let failed = |error: std::io::Error| {
        let shown = path.display();
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            Diagnostic::error("ksp::init::exists", format!("{shown} exists and is not overwritten"))
                .hint("give another file name, or remove it first")
        } else {
            Diagnostic::error("ksp::init::write", format!("cannot write {shown}: {error}"))
        }
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Asked first for a clear answer; what decides is that the last step does not replace either.
    if path.symlink_metadata().is_ok() {
        return Err(failed(std::io::ErrorKind::AlreadyExists.into()));
    }
    let permissions = std::fs::Permissions::from_mode(0o644);
    let mut file = tempfile::Builder::new()
        .prefix(".ksp-init-")
        .permissions(permissions)
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist_noclobber(path).map_err(|error| failed(error.error))?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

#[cfg(test)]
mod tests;
