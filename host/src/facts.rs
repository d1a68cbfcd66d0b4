//! Facts: what the host read from a node, in one round trip, before it plans anything.

mod kernel;
mod network;
mod node_state;
mod resources;
mod sheet;
mod software;
mod system;
mod time;

use serde_json::{Value, json};

pub(crate) use self::node_state::RESTORE_NOTE;
pub use self::node_state::{Identity, NodeMarks};
use self::sheet::{Detector, Sheet};
use crate::ledger::Ledger;
use crate::state::ClusterState;
use crate::transport::{Session, TransportError, batch, quote};

/// The facts of one node: a JSON object with the keys that `facts/README.md` lists.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts(pub Value);

impl Facts {
    /// A fact by dotted key; a key part that holds dots itself cannot be addressed.
    pub fn get(&self, key: &str) -> Option<&Value> {
        key.split('.').try_fold(&self.0, |value, part| value.get(part))
    }

    /// As [`Self::get`], for a plugin: what it asked for itself is its `probe`.
    pub fn get_for(&self, plugin: &str, key: &str) -> Option<Value> {
        if key == PROBE {
            return self.0.get(PROBE)?.get(plugin).cloned();
        }
        match key.strip_prefix(PROBE).and_then(|rest| rest.strip_prefix('.')) {
            Some(rest) => Facts(self.0.get(PROBE)?.get(plugin)?.clone()).get(rest).cloned(),
            None => self.get(key).cloned(),
        }
    }

    /// Everything, for a plugin.
    pub fn all_for(&self, plugin: &str) -> Value {
        let mut all = self.0.clone();
        if let Some(probes) = all.get_mut(PROBE) {
            *probes = probes.get(plugin).cloned().unwrap_or_else(|| json!({}));
        }
        all
    }

    /// A text fact.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// A whole number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.get(key)?.as_u64()
    }

    /// A yes or no; no when it is not known.
    pub fn is(&self, key: &str) -> bool {
        self.get(key).and_then(Value::as_bool).unwrap_or(false)
    }

    /// "amd64" or "arm64", as release files name it.
    pub fn arch(&self) -> &str {
        self.text("arch").unwrap_or("unknown")
    }
}

/// Everything that one round trip brings.
#[derive(Debug, Clone)]
pub struct Gathered {
    /// What plugins see.
    pub facts: Facts,
    /// What ksp made on this node; empty when there is no ledger.
    pub ledger: Ledger,
    /// What the cluster remembers of itself: on control planes that hold it. Never part of the facts.
    pub state: Option<ClusterState>,
    /// What else `/var/lib/ksp` says.
    pub marks: NodeMarks,
}

/// A read-only command that a plugin declares. Its answer is a fact for this plugin alone: names mean nothing to others.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probe {
    /// The plugin's name.
    pub plugin: String,
    /// The name that the plugin gives it.
    pub name: String,
    /// What is run.
    pub argv: Vec<String>,
}

/// Where answers to probes are, by plugin and name.
const PROBE: &str = "probe";

/// What a probe of a plugin may print; the rest is cut off.
const PROBE_LIMIT: usize = 256 << 10;

/// Reads a node: facts, the probes that plugins declare, and ksp's own files there. Changes nothing.
///
/// A fact that cannot be read is absent. The cluster's state is read only where `control_plane` says that it belongs.
///
/// # Errors
/// Those of the transport, and [`TransportError::Other`] when the ledger or the node's identity is damaged: going on without
/// them would forget what ksp made.
pub async fn gather(
    session: &dyn Session,
    probes: &[Probe],
    control_plane: bool,
) -> Result<Gathered, TransportError> {
    let detectors = detectors();
    let mut fragments = vec![time::SCRIPT.to_owned()];
    fragments.extend(detectors.iter().map(|detector| detector.script.to_owned()));
    let probes_at = fragments.len();
    fragments.extend(probes.iter().map(|probe| quote::command(&probe.argv)));
    let files_at = fragments.len();
    fragments.extend(node_state::fragments(control_plane));
    fragments.push(time::SCRIPT.to_owned());

    let watch = time::Watch::start();
    let outputs = batch::run(session, &fragments).await?;
    let watched = watch.stop();
    let [first, .., last] = &outputs[..] else { return Err(TransportError::Other("an empty answer".into())) };

    let mut sheet = Sheet::default();
    for (detector, output) in detectors.iter().zip(&outputs[1..]) {
        (detector.read)(&output.text(), &mut sheet);
    }
    time::read(&watched, &first.text(), &last.text(), &mut sheet);
    for (probe, output) in probes.iter().zip(&outputs[probes_at..files_at]) {
        let kept = &output.stdout[..output.stdout.len().min(PROBE_LIMIT)];
        let stdout = String::from_utf8_lossy(kept);
        sheet.set_at(
            &[PROBE, &probe.plugin, &probe.name],
            json!({ "status": output.status, "stdout": stdout }),
        );
    }
    let files = node_state::read(&outputs[files_at..outputs.len() - 1], control_plane)?;
    Ok(Gathered {
        facts: Facts(sheet.into_value()),
        ledger: files.ledger,
        state: files.state,
        marks: files.marks,
    })
}

/// All detectors. One file a subject; adding a fact is a detector there and a line in the README.
fn detectors() -> Vec<Detector> {
    [system::DETECTORS, resources::DETECTORS, kernel::DETECTORS, network::DETECTORS, software::DETECTORS]
        .concat()
}

#[cfg(test)]
mod tests;
