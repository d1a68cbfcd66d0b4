//! The ledger: what ksp created on a node. `/var/lib/ksp/ledger.json`, root, 0600. The only things that reset may remove.
//!
//! A step's entries are written before its first effect, without digests (an intent), and again with digests at its end. So
//! whatever an interrupted run leaves behind is known, and what ksp did not make is never listed.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::op::LedgerEntry;

/// The file's content.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ledger {
    /// Format of this file; 1.
    pub version: u32,
    /// In the order of creation; reset goes backwards.
    pub entries: Vec<LedgerEntry>,
}

impl Ledger {
    /// Puts an entry in, or replaces the one with the same kind and target in its place.
    pub fn record(&mut self, entry: LedgerEntry) {
        match self.entries.iter_mut().find(|known| known.kind == entry.kind && known.target == entry.target) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
    }

    /// Takes an entry out, when it is still the one that is meant.
    pub fn forget(&mut self, entry: &LedgerEntry) {
        self.entries.retain(|known| {
            known.kind != entry.kind || known.target != entry.target || known.stage != entry.stage
        });
    }

    /// The entry of a kind and target.
    pub fn find(&self, kind: &str, target: &str) -> Option<&LedgerEntry> {
        self.entries.iter().find(|known| known.kind == kind && known.target == target)
    }
}

/// What is to be written to the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// A higher one is newer, also across runs.
    pub revision: u64,
    /// The file's content: one line.
    pub text: String,
}

/// Revisions of one run; more writes than this do not happen on one node.
const REVISIONS_PER_RUN: u64 = 1_000_000;

/// The ledger of one node during a run: the steps of the node share it.
#[derive(Debug)]
pub struct Book {
    inner: Mutex<(Ledger, u64)>,
}

impl Book {
    /// Goes on from what the node remembers. `token` is the run's fencing token: it orders the writes of different runs.
    pub fn new(mut ledger: Ledger, token: u64) -> Self {
        ledger.version = 1;
        Self { inner: Mutex::new((ledger, token.saturating_mul(REVISIONS_PER_RUN))) }
    }

    /// Notes what is about to be made. None when the ledger lists all of it already.
    pub fn intend(&self, entries: Vec<LedgerEntry>) -> Option<Snapshot> {
        self.change(
            entries.into_iter().map(|entry| LedgerEntry { digest: None, ..entry }),
            |ledger, entry| ledger.find(&entry.kind, &entry.target).is_none(),
        )
    }

    /// Notes what was made. None when the ledger says so already.
    pub fn confirm(&self, entries: Vec<LedgerEntry>) -> Option<Snapshot> {
        self.change(entries.into_iter(), |ledger, entry| {
            ledger.find(&entry.kind, &entry.target) != Some(entry)
        })
    }

    /// Notes the digests of things that are in place and that an interrupted run only intended.
    pub fn complete(&self, entries: Vec<LedgerEntry>) -> Option<Snapshot> {
        self.change(entries.into_iter(), |ledger, entry| {
            let known = ledger.find(&entry.kind, &entry.target);
            known.is_some_and(|known| known.digest.is_none() && known != entry)
        })
    }

    /// Takes out what is gone. None when the ledger did not list it.
    pub fn forget(&self, gone: &[LedgerEntry]) -> Option<Snapshot> {
        let mut inner = self.lock();
        let before = inner.0.entries.len();
        gone.iter().for_each(|entry| inner.0.forget(entry));
        (inner.0.entries.len() != before).then(|| snapshot(&mut inner)).flatten()
    }

    /// What the ledger says now.
    pub fn ledger(&self) -> Ledger {
        self.lock().0.clone()
    }

    fn change(
        &self,
        entries: impl Iterator<Item = LedgerEntry>,
        wanted: impl Fn(&Ledger, &LedgerEntry) -> bool,
    ) -> Option<Snapshot> {
        let mut inner = self.lock();
        let mut changed = false;
        for entry in entries {
            if wanted(&inner.0, &entry) {
                inner.0.record(entry);
                changed = true;
            }
        }
        if changed { snapshot(&mut inner) } else { None }
    }

    fn lock(&self) -> MutexGuard<'_, (Ledger, u64)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn snapshot(inner: &mut (Ledger, u64)) -> Option<Snapshot> {
    inner.1 += 1;
    // Plain data: serialising it cannot fail.
    let text = serde_json::to_string(&inner.0).ok()?;
    Some(Snapshot { revision: inner.1, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(target: &str, digest: Option<&str>) -> LedgerEntry {
        LedgerEntry {
            kind: "file".into(),
            target: target.into(),
            stage: "s".into(),
            digest: digest.map(str::to_owned),
            details: std::collections::BTreeMap::default(),
        }
    }

    #[test]
    fn intents_come_without_digest_and_only_once() {
        let book = Book::new(Ledger::default(), 3);
        let first = book.intend(vec![entry("/a", Some("1")), entry("/b", None)]).unwrap();
        assert_eq!(first.revision, 3_000_001);
        assert!(!first.text.contains('\n'));
        assert_eq!(book.ledger().entries, [entry("/a", None), entry("/b", None)]);
        assert_eq!(book.intend(vec![entry("/a", Some("1"))]), None);
        assert!(book.confirm(vec![entry("/a", Some("1"))]).is_some());
        assert_eq!(book.confirm(vec![entry("/a", Some("1"))]), None);
        // A later intent to change it does not lose the digest of what is there.
        assert_eq!(book.intend(vec![entry("/a", Some("2"))]), None);
        assert_eq!(book.ledger().entries[0], entry("/a", Some("1")));
    }

    #[test]
    fn only_intents_are_completed() {
        let book = Book::new(Ledger { version: 1, entries: vec![entry("/mine", None)] }, 1);
        assert!(book.complete(vec![entry("/mine", Some("1")), entry("/theirs", Some("2"))]).is_some());
        assert_eq!(book.ledger().entries, [entry("/mine", Some("1"))]);
    }
}
