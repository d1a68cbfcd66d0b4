//! `ksp init`: a complete, commented manifest from a few answers, so that nobody starts from an empty file.

mod addresses;
mod text;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

pub use self::addresses::expand;
use crate::diagnostic::Diagnostic;
use crate::manifest::environment::Environment;
use crate::manifest::{self, DEFAULT_KUBERNETES};

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
    /// `host:port` of the API; none is the first control plane.
    pub endpoint: Option<String>,
}

/// One entry of the default chain: what `use` says and one line about it.
pub type ChainEntry<'a> = (&'a str, &'a str);

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
    let text = text::render(answers, &control_planes, &workers, &kubernetes, chain);
    let loaded = manifest::check_text(path, &text, String::new(), environment);
    if loaded.manifest.is_none() {
        return Err(loaded.findings);
    }
    let (control_planes, workers) = (control_planes.len(), workers.len());
    Ok(Draft { text, control_planes, workers, kubernetes, findings: loaded.findings })
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
