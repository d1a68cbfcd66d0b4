//! `ksp.lock`, beside the manifest: which plugins a cluster runs, by digest. What is in it does not change silently.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use crate::plugin::cache::write_whole;
use crate::plugin::resolve::ResolvedStage;

/// The format that this program writes and the newest one that it reads.
const VERSION: u32 = 1;

/// The largest lock that is read, in bytes.
const LARGEST: u64 = 4 << 20;

const HEADER: &str = "# Written by ksp. Commit it beside the manifest; do not edit it.\n";

/// What to do with the lock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LockMode {
    /// Check it, and write what is new.
    #[default]
    Update,
    /// Check it; what is new is an error (`--locked`).
    Locked,
    /// Leave it alone.
    Ignore,
}

/// The file's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// Sorted by name.
    #[serde(default)]
    plugin: Vec<Entry>,
}

/// One plugin.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// "publisher/name".
    pub name: String,
    /// "embedded", or the path as it stands in the manifest.
    pub source: String,
    /// Its version.
    pub version: String,
    /// "sha256:…" of the file.
    pub digest: String,
    /// "sha256:…" of what it asks for.
    pub capabilities: String,
}

const EMBEDDED: &str = "embedded";

impl Entry {
    /// What the lock says of a stage's plugin.
    pub fn of(stage: &ResolvedStage, source: String) -> Self {
        Self {
            name: stage.plugin.name.clone(),
            source,
            version: stage.plugin.version.to_string(),
            digest: stage.plugin.digest.clone(),
            capabilities: stage.grants.digest(),
        }
    }
}

/// Compares the plugins with the lock, and writes it when something is new. Findings refuse the run; `notes` do not.
pub fn settle(
    path: &Path,
    mut wanted: Vec<Entry>,
    mode: LockMode,
    notes: &mut Vec<Diagnostic>,
) -> Vec<Diagnostic> {
    if mode == LockMode::Ignore {
        return Vec::new();
    }
    wanted.sort();
    wanted.dedup();
    let known = match read(path) {
        Ok(known) => known,
        Err(finding) => return vec![*finding],
    };
    let mut findings = Vec::new();
    for entry in &wanted {
        let locked =
            known.as_ref().and_then(|lock| lock.plugin.iter().find(|locked| locked.name == entry.name));
        match locked {
            Some(locked) => findings.extend(compare(path, locked, entry, mode, notes)),
            None if mode == LockMode::Locked => findings.push(
                Diagnostic::error(
                    "ksp::lock::missing",
                    format!("{} does not list plugin {}", path.display(), entry.name),
                )
                .hint("run `ksp plan` without `--locked` once, look at the lock, and commit it"),
            ),
            None => {}
        }
    }
    let lock = Lock { version: VERSION, plugin: wanted };
    if findings.is_empty() && mode == LockMode::Update && known.as_ref() != Some(&lock) {
        findings.extend(write(path, &lock));
    }
    findings
}

fn compare(
    path: &Path,
    locked: &Entry,
    found: &Entry,
    mode: LockMode,
    notes: &mut Vec<Diagnostic>,
) -> Option<Diagnostic> {
    if locked.digest == found.digest && locked.capabilities == found.capabilities {
        return None;
    }
    // The embedded plugins come with the binary: whoever trusts one trusts the other. It is said, because the plan may change.
    if locked.source == EMBEDDED && found.source == EMBEDDED && mode == LockMode::Update {
        let what = if locked.version == found.version {
            format!("plugin {} {} was rebuilt with this ksp", found.name, found.version)
        } else {
            format!("plugin {} {} replaces {}, with this ksp", found.name, found.version, locked.version)
        };
        let more =
            if locked.capabilities == found.capabilities { "" } else { "; what it may do has changed" };
        notes.push(Diagnostic::new(crate::diagnostic::Severity::Info, "ksp::lock::embedded", what + more));
        return None;
    }
    let mut finding = Diagnostic::error(
        "ksp::lock::changed",
        format!("plugin {} is not the one that {} lists", found.name, path.display()),
    )
    .note(format!("locked: {} {} from {}", locked.version, locked.digest, locked.source))
    .note(format!("found:  {} {} from {}", found.version, found.digest, found.source));
    if locked.capabilities != found.capabilities {
        finding = finding.note("it asks for other capabilities than the locked one");
    }
    Some(finding.hint(format!(
        "if the change is meant, remove the entry `{}` from the lock and run again; otherwise find out who changed the file",
        found.name
    )))
}

fn read(path: &Path) -> Result<Option<Lock>, Box<Diagnostic>> {
    let unreadable = |reason: String| {
        let message = format!("the lock {} cannot be read: {reason}", path.display());
        Box::new(
            Diagnostic::error("ksp::lock::unreadable", message)
                .hint("restore it from version control; without it ksp would accept any plugin as new"),
        )
    };
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error.to_string())),
        Ok(about) if !about.is_file() || about.len() > LARGEST => {
            return Err(unreadable("it is not a file of this kind".into()));
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    if text.lines().any(|line| line.starts_with("<<<<<<<") || line.starts_with(">>>>>>>")) {
        return Err(unreadable("it holds the marks of an unfinished merge".into()));
    }
    let lock: Lock = toml::from_str(&text).map_err(|error| unreadable(error.message().to_owned()))?;
    if lock.version != VERSION {
        return Err(unreadable(format!("it has format {}, this ksp reads {VERSION}", lock.version)));
    }
    Ok(Some(lock))
}

fn write(path: &Path, lock: &Lock) -> Option<Diagnostic> {
    let text = match toml::to_string(lock) {
        Ok(text) => format!("{HEADER}{text}"),
        Err(error) => return Some(Diagnostic::error("ksp::lock::unwritable", error.to_string())),
    };
    // A manifest at the working directory has no folder in its name.
    let path = if path.parent().is_some_and(|folder| folder.as_os_str().is_empty()) {
        Path::new(".").join(path)
    } else {
        path.into()
    };
    let error = write_whole(&path, text.as_bytes()).err()?;
    Some(
        Diagnostic::error(
            "ksp::lock::unwritable",
            format!("the lock {} cannot be written: {error}", path.display()),
        )
        .hint("make the folder writable, or run with `--locked` against a committed lock"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(digest: &str, source: &str) -> Entry {
        Entry {
            name: "acme/x".into(),
            source: source.into(),
            version: "0.1.0".into(),
            digest: format!("sha256:{digest}"),
            capabilities: "sha256:c".into(),
        }
    }

    fn codes(findings: &[Diagnostic]) -> Vec<&str> {
        findings.iter().map(|finding| finding.code.as_str()).collect()
    }

    #[test]
    fn a_changed_file_is_refused_and_the_lock_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ksp.lock");
        let mut notes = Vec::new();
        assert!(settle(&path, vec![entry("a", "./x.wasm")], LockMode::Update, &mut notes).is_empty());
        let written = std::fs::read_to_string(&path).unwrap();
        let findings = settle(&path, vec![entry("b", "./x.wasm")], LockMode::Update, &mut notes);
        assert_eq!(codes(&findings), ["ksp::lock::changed"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), written);
        assert!(notes.is_empty());
    }

    #[test]
    fn embedded_plugins_follow_the_binary_and_it_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ksp.lock");
        let mut notes = Vec::new();
        settle(&path, vec![entry("a", "embedded")], LockMode::Update, &mut notes);
        assert!(settle(&path, vec![entry("b", "embedded")], LockMode::Update, &mut notes).is_empty());
        assert_eq!(codes(&notes), ["ksp::lock::embedded"]);
        let findings = settle(&path, vec![entry("c", "embedded")], LockMode::Locked, &mut notes);
        assert_eq!(codes(&findings), ["ksp::lock::changed"]);
        let findings = settle(&path, vec![entry("b", "./x.wasm")], LockMode::Update, &mut notes);
        assert!(findings.is_empty(), "the same bytes are the same plugin");
    }

    #[test]
    fn damaged_locks_are_not_taken_for_absent_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ksp.lock");
        for text in ["version = 2\n", "<<<<<<< HEAD\n", "version = 1\nother = 2\n", "\u{0}"] {
            std::fs::write(&path, text).unwrap();
            let findings = settle(&path, vec![entry("a", "embedded")], LockMode::Update, &mut Vec::new());
            assert_eq!(codes(&findings), ["ksp::lock::unreadable"], "{text:?}");
        }
    }

    #[test]
    fn locked_needs_an_entry() {
        let dir = tempfile::tempdir().unwrap();
        let findings = settle(
            &dir.path().join("ksp.lock"),
            vec![entry("a", "embedded")],
            LockMode::Locked,
            &mut Vec::new(),
        );
        assert_eq!(codes(&findings), ["ksp::lock::missing"]);
    }
}
