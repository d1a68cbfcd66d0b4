//! How nodes are reached.

use base64::Engine as _;

use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::schema::{ConnectionKind, NodeSshSection};
use crate::manifest::{codes, syntax};

/// Nothing that a shell, a config file or an `ssh` command line would read as something else.
pub fn hosts(check: &mut Check<'_>) {
    for (pointer, node) in check.nodes() {
        if let Some(Err(wrong)) = node.ssh.host.as_deref().map(syntax::host) {
            let finding = Diagnostic::error(codes::BAD_SSH_HOST, format!("the SSH host {wrong}"))
                .hint("write a name or an IP address; user, port and bastions have keys of their own");
            check.report(&format!("{pointer}/ssh/host"), finding);
        }
    }
}

/// Login names.
pub fn users(check: &mut Check<'_>) {
    for (pointer, ssh) in check.ssh_sections() {
        if let Some(Err(wrong)) = ssh.user.as_deref().map(syntax::user) {
            let finding = Diagnostic::error(codes::BAD_SSH_USER, format!("the login name {wrong}"))
                .hint("use letters, digits, `-`, `_`, `.`, `+` and `@`");
            check.report(&format!("{pointer}/user"), finding);
        }
    }
}

/// Port 0 means "any" when listening and nothing when connecting.
pub fn ports(check: &mut Check<'_>) {
    for (pointer, ssh) in check.ssh_sections() {
        if ssh.port == Some(0) {
            let finding = Diagnostic::error(codes::BAD_SSH_PORT, "port 0 cannot be connected to");
            check.report(&format!("{pointer}/port"), finding.hint("the usual port is 22"));
        }
    }
}

/// Bastions.
pub fn bastions(check: &mut Check<'_>) {
    for (pointer, ssh) in check.ssh_sections() {
        for (index, hop) in ssh.via.iter().flatten().enumerate() {
            if let Err(wrong) = syntax::hop(hop) {
                let finding = Diagnostic::error(codes::BAD_VIA, format!("the bastion {wrong}"))
                    .hint("write `host`, `user@host` or `user@host:port`");
                check.report(&format!("{pointer}/via/{index}"), finding);
            }
        }
    }
}

/// Fingerprints as `ssh-keygen -l` prints them.
pub fn host_keys(check: &mut Check<'_>) {
    for (pointer, ssh) in check.ssh_sections() {
        let Some(text) = &ssh.host_key else { continue };
        let digest = text.strip_prefix("SHA256:").map(|rest| rest.trim_end_matches('='));
        let bytes =
            digest.and_then(|text| base64::engine::general_purpose::STANDARD_NO_PAD.decode(text).ok());
        if bytes.is_none_or(|bytes| bytes.len() != 32) {
            let finding = Diagnostic::error(codes::BAD_HOST_KEY, "not a fingerprint of a host key")
                .hint("it is `SHA256:` and 43 characters, as printed by `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the node");
            check.report(&format!("{pointer}/host-key"), finding);
        }
    }
}

/// Host keys identify machines; several machines with one key cannot be told apart.
pub fn shared_host_key(check: &mut Check<'_>) {
    if check.file.ssh.host_key.is_none() {
        return;
    }
    let users = check
        .nodes()
        .filter(|(_, node)| node.connection == ConnectionKind::Ssh && node.ssh.host_key.is_none())
        .count();
    if users > 1 {
        let finding =
            Diagnostic::warning(codes::SHARED_HOST_KEY, format!("one host key is pinned for {users} nodes"))
                .hint("give each node its own: `ssh.host-key` of the node");
        check.report("/ssh/host-key", finding);
    }
}

/// Settings that nothing uses were meant for something else.
pub fn unused(check: &mut Check<'_>) {
    for (pointer, node) in check.nodes() {
        let pointer = format!("{pointer}/ssh");
        if node.connection == ConnectionKind::Local && node.ssh != NodeSshSection::default() {
            let message = format!("`{}` is this machine: its SSH settings are not used", node.name);
            check.report(
                &pointer,
                Diagnostic::warning(codes::UNUSED_SSH, message).hint("remove them, or remove `connection`"),
            );
        }
    }
}
