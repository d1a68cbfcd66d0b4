//! ksp's own files on a node, `/var/lib/ksp`: they come in the same round trip as the facts, and are not facts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::ledger::Ledger;
use crate::state::ClusterState;
use crate::transport::{Output, TransportError};

/// Format of the files that this version reads.
const VERSION: u32 = 1;

/// Is on the nodes with a member of etcd from the beginning to the end of `ksp etcd restore`.
pub(crate) const RESTORE_NOTE: &str = "/var/lib/ksp/etcd-restore.json";

/// Which node of which cluster this is: `node.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Identity {
    /// Made at the cluster's first run.
    pub cluster_id: String,
    /// The node's name in the manifest.
    pub node: String,
    /// `/etc/machine-id` when the file was written: another one is another machine.
    pub machine_id: String,
}

/// What `/var/lib/ksp` says beside ledger and state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeMarks {
    /// None on a machine that ksp has never touched.
    pub identity: Option<Identity>,
    /// The highest token that has written here.
    pub fence: Option<u64>,
    /// The lease, when this node holds one.
    pub lease: Option<Value>,
    /// Names of the files in `pending/`: watchers that have not run since what they watch was changed.
    pub pending: Vec<String>,
    /// A changing run began and has not ended well.
    pub dirty: bool,
    /// `ksp etcd restore` began here and has not come to its end.
    pub restoring: bool,
    /// Files that are there but cannot be understood, and why. They count as absent.
    pub damaged: BTreeMap<String, String>,
}

/// What the files say.
#[derive(Debug, Default)]
pub(crate) struct Files {
    pub ledger: Ledger,
    pub state: Option<ClusterState>,
    pub marks: NodeMarks,
}

/// Fragments that print the files; state only where it may be.
pub(crate) fn fragments(control_plane: bool) -> Vec<String> {
    let mut fragments: Vec<String> = ["node.json", "ledger.json", "fence", "lease.json"]
        .iter()
        .map(|file| format!("[ -e /var/lib/ksp/{file} ] && cat /var/lib/ksp/{file}"))
        .collect();
    fragments.push("ls -1 /var/lib/ksp/pending".into());
    fragments.push("[ -e /var/lib/ksp/dirty ]".into());
    fragments.push(format!("[ -e {RESTORE_NOTE} ] && cat {RESTORE_NOTE}"));
    if control_plane {
        fragments.push("[ -e /var/lib/ksp/state.json ] && cat /var/lib/ksp/state.json".into());
    }
    fragments
}

/// Reads the outputs of [`fragments`].
pub(crate) fn read(outputs: &[Output], control_plane: bool) -> Result<Files, TransportError> {
    let [identity, ledger, fence, lease, pending, dirty, restoring, rest @ ..] = outputs else {
        return Err(TransportError::Other("the node's answer about /var/lib/ksp is incomplete".into()));
    };
    let mut files = Files::default();
    files.marks.identity = parse("node.json", identity).map_err(refuse)?;
    if let Some(ledger) = parse::<Ledger>("ledger.json", ledger).map_err(refuse)? {
        if ledger.version > VERSION {
            let reason = format!("its format {} is of a newer ksp; use that one", ledger.version);
            return Err(refuse(("ledger.json", reason)));
        }
        files.ledger = ledger;
    }
    let damaged = &mut files.marks.damaged;
    files.marks.fence = note(damaged, parse("fence", fence));
    files.marks.lease = note(damaged, parse("lease.json", lease));
    if let ([state], true) = (rest, control_plane) {
        files.state = note(damaged, parse("state.json", state).and_then(this_format));
    }
    files.marks.pending = pending.text().lines().map(str::to_owned).collect();
    files.marks.dirty = dirty.ok();
    files.marks.restoring = restoring.ok() && !restoring.stdout.is_empty();
    Ok(files)
}

/// Remembers why a file counts as absent.
fn note<T>(
    damaged: &mut BTreeMap<String, String>,
    parsed: Result<Option<T>, (&'static str, String)>,
) -> Option<T> {
    parsed.unwrap_or_else(|(file, reason)| {
        damaged.insert(file.to_owned(), reason);
        None
    })
}

fn this_format(state: Option<ClusterState>) -> Result<Option<ClusterState>, (&'static str, String)> {
    match state {
        Some(state) if state.version > VERSION => {
            Err(("state.json", format!("its format {} is of a newer ksp", state.version)))
        }
        other => Ok(other),
    }
}

/// The file's content; none when it is not there.
fn parse<T: DeserializeOwned>(
    file: &'static str,
    output: &Output,
) -> Result<Option<T>, (&'static str, String)> {
    if !output.ok() {
        return if output.stderr.is_empty() { Ok(None) } else { Err((file, output.tail(1).join(""))) };
    }
    // serde's messages name places and types, never content: a state file holds secrets.
    serde_json::from_slice(&output.stdout).map(Some).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        (file, format!("{:?} error at line {line}, column {column}", error.classify()).to_lowercase())
    })
}

fn refuse((file, reason): (&'static str, String)) -> TransportError {
    TransportError::Other(format!(
        "/var/lib/ksp/{file} on the node is damaged ({reason}); restore it, or move it away if this node may be taken for a new one"
    ))
}
