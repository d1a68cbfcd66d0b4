//! Which host keys are trusted: the fingerprint in the manifest, or OpenSSH's known_hosts file.
//!
//! `@revoked` lines, hashed names, `[name]:port`, `*`, `?` and `!` are understood; `@cert-authority` lines are not used.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ring::hmac;
use russh::Preferred;
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, Marker};
use russh::keys::{Algorithm, HashAlg, PublicKey};

use super::TransportError;
use crate::node::SshTarget;

/// One writer at a time; other programs append whole lines too.
static WRITING: Mutex<()> = Mutex::new(());

/// What to do with an offered key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is the expected one.
    Trusted,
    /// Nothing is known, and new keys are accepted: remember it.
    New,
    /// Do not log in.
    Refused {
        /// What was expected and what was offered.
        reason: String,
        /// Another key was expected.
        changed: bool,
    },
}

/// What is known of one target.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    label: String,
    /// `name` or `[name]:port`.
    host: String,
    path: PathBuf,
    pinned: Option<String>,
    keys: Vec<PublicKey>,
    revoked: Vec<PublicKey>,
    accept_new: bool,
}

impl Known {
    /// Reads the file. One that does not exist knows nothing.
    ///
    /// # Errors
    /// The file exists and cannot be read.
    pub fn read(target: &SshTarget, label: String, accept_new: bool) -> Result<Self, TransportError> {
        let host = if target.port == 22 {
            target.host.clone()
        } else {
            format!("[{}]:{}", target.host, target.port)
        };
        let mut known = Self {
            label,
            host,
            path: target.known_hosts.clone(),
            pinned: target.host_key.clone(),
            keys: Vec::new(),
            revoked: Vec::new(),
            accept_new,
        };
        match std::fs::read(&known.path) {
            Ok(bytes) => known.take(&String::from_utf8_lossy(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(known.broken(&error)),
        }
        Ok(known)
    }

    fn take(&mut self, text: &str) {
        for line in text.lines() {
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            // As OpenSSH does: a line with a key of an unknown kind is nobody's.
            let Ok(entry) = line.parse::<Entry>() else { continue };
            if !matches(entry.host_patterns(), &self.host.to_lowercase()) {
                continue;
            }
            match entry.marker() {
                None => self.keys.push(entry.public_key().clone()),
                Some(Marker::Revoked) => self.revoked.push(entry.public_key().clone()),
                Some(Marker::CertAuthority) => {}
            }
        }
    }

    /// True when the manifest names the key.
    pub fn is_pinned(&self) -> bool {
        self.pinned.is_some()
    }

    /// What to ask the server for, kinds that are known first. RSA with SHA-1 is never among them.
    pub fn algorithms(&self) -> Vec<Algorithm> {
        let mut all: Vec<Algorithm> = Preferred::default().key.into_owned();
        all.retain(|algorithm| *algorithm != Algorithm::Rsa { hash: None });
        let known = |algorithm: &Algorithm| {
            self.keys.iter().any(|key| match (key.algorithm(), algorithm) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (one, other) => one == *other,
            })
        };
        all.sort_by_key(|algorithm| !known(algorithm));
        all
    }

    /// Compares.
    pub fn judge(&self, offered: &PublicKey) -> Verdict {
        let same = |key: &PublicKey| key.key_data() == offered.key_data();
        let shown = show(offered);
        let refuse = |reason, changed| Verdict::Refused { reason, changed };
        if self.revoked.iter().any(same) {
            return refuse(
                format!("offers the host key {shown}, which {} revokes", self.path.display()),
                true,
            );
        }
        if let Some(pinned) = &self.pinned {
            let offered = offered.fingerprint(HashAlg::Sha256).to_string();
            // Base64 padding is optional.
            if offered.trim_end_matches('=') == pinned.trim_end_matches('=') {
                return Verdict::Trusted;
            }
            return refuse(format!("offers the host key {shown}, but the manifest pins {pinned}"), true);
        }
        if self.keys.iter().any(same) {
            return Verdict::Trusted;
        }
        if !self.keys.is_empty() {
            let known = self.keys.iter().map(show).collect::<Vec<_>>().join(", ");
            let reason = format!(
                "offers the host key {shown}, but {} knows {known}. The machine was reinstalled, or somebody stands in between. \
                 When it is right, run `ssh-keygen -R '{}' -f {}` first",
                self.path.display(),
                self.host,
                self.path.display(),
            );
            return refuse(reason, true);
        }
        if self.accept_new {
            return Verdict::New;
        }
        let reason = format!(
            "offers the unknown host key {shown}. Compare it with `ssh-keygen -lf` on the machine, then pin it as `host-key`, \
             or use --accept-new to trust and remember new keys in {}",
            self.path.display(),
        );
        refuse(reason, false)
    }

    /// Appends a key, durably.
    pub fn remember(&self, key: &PublicKey) -> Result<(), TransportError> {
        let _one = WRITING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        append(&self.path, &self.host, key).map_err(|error| self.broken(&error))
    }

    fn broken(&self, error: &dyn std::fmt::Display) -> TransportError {
        TransportError::HostKey {
            target: self.label.clone(),
            reason: format!("cannot be checked: {}: {error}", self.path.display()),
            changed: false,
        }
    }
}

fn append(path: &Path, host: &str, key: &PublicKey) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut last = [b'\n'];
    if file.seek(SeekFrom::End(-1)).is_ok() {
        file.read_exact(&mut last)?;
    }
    let key = key.to_openssh().map_err(std::io::Error::other)?;
    // The comment that some keys carry is not ours to keep.
    let key = key.split(' ').take(2).collect::<Vec<_>>().join(" ");
    let start = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{start}{host} {key}\n").as_bytes())?;
    file.sync_all()
}

fn show(key: &PublicKey) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

fn matches(patterns: &HostPatterns, host: &str) -> bool {
    match patterns {
        HostPatterns::HashedName { salt, hash } => {
            // SHA-1 is the file's format; it hides names, it does not authenticate.
            let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, salt);
            hmac::verify(&key, host.as_bytes(), hash).is_ok()
        }
        HostPatterns::Patterns(patterns) => {
            let mut found = false;
            for pattern in patterns {
                let pattern = pattern.to_lowercase();
                match pattern.strip_prefix('!') {
                    Some(not) if glob(not.as_bytes(), host.as_bytes()) => return false,
                    Some(_) => {}
                    None => found |= glob(pattern.as_bytes(), host.as_bytes()),
                }
            }
            found
        }
    }
}

fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        Some((b'?', rest)) => text.split_first().is_some_and(|(_, text)| glob(rest, text)),
        Some((byte, rest)) => {
            text.split_first().is_some_and(|(first, text)| first == byte && glob(rest, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
    const TWO: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIA6rWI3G1sz07DnfFlrouTcysQlj2P+jpNSOEWD9OJ3X";
    /// Of example.com; from OpenSSH.
    const HASHED: &str = "|1|O33ESRMWPVkMYIwJ1Uw+n877jTo=|nuuC5vEqXlEZ/8BXQR7m619W6Ak=";

    fn key(base64: &str) -> PublicKey {
        PublicKey::from_openssh(&format!("ssh-ed25519 {base64}")).unwrap()
    }

    fn known(file: &str, host: &str, port: u16) -> Known {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        std::fs::write(&path, file).unwrap();
        let target = target(&path, host, port);
        Known::read(&target, "root@x:22".into(), false).unwrap()
    }

    fn target(path: &Path, host: &str, port: u16) -> SshTarget {
        SshTarget {
            host: host.into(),
            port,
            user: "root".into(),
            identities: Vec::new(),
            host_key: None,
            known_hosts: path.to_owned(),
            via: Vec::new(),
        }
    }

    #[track_caller]
    fn trusts(file: &str, host: &str, port: u16) -> bool {
        known(file, host, port).judge(&key(ONE)) == Verdict::Trusted
    }

    #[test]
    fn every_way_to_name_a_host_is_understood() {
        assert!(trusts(&format!("n1 ssh-ed25519 {ONE}"), "n1", 22));
        assert!(trusts(&format!("# c\n\nother,n1\tssh-ed25519  {ONE} comment here\n"), "N1", 22));
        assert!(trusts(&format!("[n1]:2222 ssh-ed25519 {ONE}"), "n1", 2222));
        assert!(!trusts(&format!("n1 ssh-ed25519 {ONE}"), "n1", 2222));
        assert!(trusts(&format!("{HASHED} ssh-ed25519 {ONE}"), "example.com", 22));
        assert!(!trusts(&format!("{HASHED} ssh-ed25519 {ONE}"), "example.org", 22));
        assert!(trusts(&format!("*.lab,!bad.lab ssh-ed25519 {ONE}"), "n1.lab", 22));
        assert!(!trusts(&format!("*.lab,!bad.lab ssh-ed25519 {ONE}"), "bad.lab", 22));
        assert!(trusts(&format!("n? ssh-ed25519 {ONE}"), "n1", 22));
        assert!(!trusts(&format!("@cert-authority n1 ssh-ed25519 {ONE}"), "n1", 22));
        assert!(trusts(&format!("n1 ssh-unknown AAAA\ngarbage\nn1 ssh-ed25519 {ONE}"), "n1", 22));
    }

    #[test]
    fn a_changed_key_names_both_fingerprints() {
        let known = known(&format!("n1 ssh-ed25519 {TWO}"), "n1", 22);
        let Verdict::Refused { reason, changed: true } = known.judge(&key(ONE)) else { panic!("refused") };
        assert!(reason.contains(&key(ONE).fingerprint(HashAlg::Sha256).to_string()), "{reason}");
        assert!(reason.contains(&key(TWO).fingerprint(HashAlg::Sha256).to_string()), "{reason}");
        assert_eq!(Known { accept_new: true, ..known.clone() }.judge(&key(ONE)), known.judge(&key(ONE)));
    }

    #[test]
    fn a_revoked_key_is_refused_even_where_new_ones_are_accepted() {
        let revoked = known(&format!("@revoked * ssh-ed25519 {ONE}"), "n1", 22);
        let verdict = Known { accept_new: true, ..revoked }.judge(&key(ONE));
        assert!(matches!(verdict, Verdict::Refused { changed: true, .. }));
    }

    #[test]
    fn a_pin_wins_over_the_file() {
        let file = known(&format!("n1 ssh-ed25519 {TWO}"), "n1", 22);
        let pin = |base64| Some(key(base64).fingerprint(HashAlg::Sha256).to_string());
        assert_eq!(Known { pinned: pin(ONE), ..file.clone() }.judge(&key(ONE)), Verdict::Trusted);
        let verdict = Known { pinned: pin(ONE), ..file }.judge(&key(TWO));
        assert!(matches!(verdict, Verdict::Refused { changed: true, .. }));
    }

    #[test]
    fn kinds_that_are_known_come_first_and_sha1_never() {
        let line = "n1 ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";
        let algorithms = known(line, "n1", 22).algorithms();
        assert!(matches!(algorithms[0], Algorithm::Ecdsa { .. }), "{algorithms:?}");
        assert!(!algorithms.contains(&Algorithm::Rsa { hash: None }));
    }

    #[test]
    fn a_new_key_is_remembered_for_the_next_time() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/known_hosts");
        let target = target(&path, "n1", 2222);
        let read = || Known::read(&target, "n1".into(), true).unwrap();
        assert_eq!(read().judge(&key(ONE)), Verdict::New);
        read().remember(&key(ONE)).unwrap();
        assert_eq!(read().judge(&key(ONE)), Verdict::Trusted);
        assert!(matches!(read().judge(&key(TWO)), Verdict::Refused { changed: true, .. }));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&path, "no newline at the end").unwrap();
        read().remember(&key(TWO)).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            format!("no newline at the end\n[n1]:2222 ssh-ed25519 {TWO}\n")
        );
    }
}
