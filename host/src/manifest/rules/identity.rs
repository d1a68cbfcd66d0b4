//! Files that SSH needs: private keys and known host keys.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::codes;
use crate::manifest::schema::{ConnectionKind, NodeSection};

/// Readable, a regular file, and nobody else's business: what OpenSSH demands too.
pub fn identities(check: &mut Check<'_>) {
    for (pointer, ssh) in check.ssh_sections() {
        let Some(text) = ssh.identity else { continue };
        let pointer = format!("{pointer}/identity");
        if let Some(finding) = check.path(&pointer, &text).and_then(|path| inspect(&path)) {
            check.report(&pointer, finding);
        }
    }
}

fn inspect(path: &Path) -> Option<Diagnostic> {
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) => {
            let finding = Diagnostic::error(
                codes::IDENTITY_MISSING,
                format!("cannot read the private key {shown}: {error}"),
            );
            return Some(
                finding.hint("paths are relative to the manifest's folder; `~/` is the home folder"),
            );
        }
    };
    if !metadata.is_file() {
        return Some(Diagnostic::error(codes::IDENTITY_NOT_A_FILE, format!("{shown} is not a regular file")));
    }
    if path.extension().is_some_and(|extension| extension == "pub") {
        return Some(
            Diagnostic::error(codes::IDENTITY_PUBLIC, format!("{shown} is a public key"))
                .hint(format!("the private one is mostly {}", path.with_extension("").display())),
        );
    }
    if metadata.mode() & 0o077 != 0 {
        let message =
            format!("the private key {shown} has mode {:04o}: others can read it", metadata.mode() & 0o7777);
        return Some(
            Diagnostic::error(codes::IDENTITY_EXPOSED, message).hint(format!("`chmod 600 {shown}`")),
        );
    }
    if let Err(error) = std::fs::File::open(path) {
        return Some(Diagnostic::error(
            codes::IDENTITY_MISSING,
            format!("cannot read the private key {shown}: {error}"),
        ));
    }
    None
}

/// Where known host keys are kept unless the manifest says otherwise is below the home folder.
pub fn home_for_known_hosts(check: &mut Check<'_>) {
    if check.environment.home.is_some() || check.file.ssh.known_hosts.is_some() {
        return;
    }
    let needs = |node: &NodeSection| node.connection == ConnectionKind::Ssh && node.ssh.known_hosts.is_none();
    if let Some((pointer, _)) = check.nodes().find(|(_, node)| needs(node)) {
        let finding =
            Diagnostic::error(codes::NO_HOME, "known host keys are kept in `~/.ssh`, and `HOME` is not set");
        check.report(&pointer, finding.hint("set `HOME`, or give `known-hosts` in `[ssh]`"));
    }
}

/// May be absent (it is made at first contact), but not something else than a file.
pub fn known_hosts(check: &mut Check<'_>) {
    for (pointer, ssh) in check.ssh_sections() {
        let Some(text) = ssh.known_hosts else { continue };
        let pointer = format!("{pointer}/known-hosts");
        let Some(path) = check.path(&pointer, &text) else { continue };
        if std::fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            let message = format!("{} is not a regular file", path.display());
            check.report(&pointer, Diagnostic::error(codes::BAD_KNOWN_HOSTS, message));
        }
    }
}
