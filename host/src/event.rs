//! Everything that can be shown or written down about a run: a closed list. The journal is this stream, and so is `-o ndjson`;
//! what people see on a terminal is a lossy view of it.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The version of this stream: a minor release only adds.
pub const STREAM_VERSION: &str = "1.0";

/// How a step or an op ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It changed something.
    Changed,
    /// There was nothing to do.
    Unchanged,
    /// It failed.
    Failed,
    /// It was not started, because something it needs failed or the run was interrupted.
    NotStarted,
}

/// One thing that happened. `node` is none for what happens once for the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are the documented NDJSON schema of `ux.md` B8")]
pub enum Event {
    /// First line of every stream.
    Version { ksp: String, ui: String },
    /// A run began; nothing is changed yet.
    RunStarted { run: String, cluster: String, command: String, nodes: u32 },
    /// Work before the plan: "facts", "plugins", "probes".
    PhaseStarted { phase: String },
    /// See `PhaseStarted`.
    PhaseFinished { phase: String, detail: String, seconds: f64 },
    /// A node could not be reached and is left out.
    NodeUnreachable { node: String, reason: String },
    /// A step that will change something: one line of the plan.
    PlanStep { stage: String, node: Option<String>, changes: u32 },
    /// The first op of a step is about to start.
    StepStarted { stage: String, node: Option<String> },
    /// An op is about to take effect. Durable before the effect.
    OpStarted { stage: String, node: Option<String>, op: String, summary: String },
    /// An op ended.
    OpFinished { stage: String, node: Option<String>, op: String, outcome: Outcome, seconds: f64 },
    /// A step waits for something that can be observed.
    StepWaiting { stage: String, node: Option<String>, waiting_for: String, reason: String },
    /// How far a long op is.
    StepProgress { stage: String, node: Option<String>, done: u64, total: u64, unit: String },
    /// A line of output of a command or of a plugin.
    StepLog { stage: String, node: Option<String>, text: String },
    /// A step ended.
    StepFinished { stage: String, node: Option<String>, outcome: Outcome, seconds: f64 },
    /// A finding or a failure.
    Diagnostic {
        severity: crate::diagnostic::Severity,
        code: String,
        node: Option<String>,
        stage: Option<String>,
        message: String,
        hints: Vec<String>,
    },
    /// Last line of every run.
    RunFinished { outcome: Outcome, exit_code: u8, changed: u32, failed: u32, not_started: u32, seconds: f64 },
}

/// An event with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// When it happened, by the workstation's clock.
    pub time: Timestamp,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Somebody who wants to know. Must not block for long.
pub trait Sink: Send + Sync {
    /// Takes an event. `durable` means: it must be on disk when this returns.
    /// Errors: only sinks that must not lose events have any; the run stops before its next effect.
    fn accept(&self, stamped: &Stamped, durable: bool) -> std::io::Result<()>;
}

/// The way events travel: cheap to clone, hands each event to every sink, secrets hidden.
#[derive(Clone)]
pub struct Events {
    sinks: Arc<Vec<Box<dyn Sink>>>,
    redactor: crate::redact::Redactor,
}

impl Events {
    /// Events for these sinks.
    pub fn new(sinks: Vec<Box<dyn Sink>>, redactor: crate::redact::Redactor) -> Self {
        Self { sinks: Arc::new(sinks), redactor }
    }

    /// Events that nobody sees.
    pub fn none() -> Self {
        Self::new(Vec::new(), crate::redact::Redactor::default())
    }

    /// Tells everybody; what a sink loses is not an error.
    pub fn emit(&self, event: Event) {
        let _ = self.deliver(event, false);
    }

    /// Tells everybody, and returns only when it is on disk. Call before an effect.
    ///
    /// # Errors
    /// The journal cannot be written: the effect must not happen.
    pub fn emit_durably(&self, event: Event) -> std::io::Result<()> {
        self.deliver(event, true)
    }

    /// The text with secrets hidden, as it would be told.
    pub fn redact(&self, text: &str) -> String {
        self.redactor.redact(text)
    }

    fn deliver(&self, mut event: Event, durable: bool) -> std::io::Result<()> {
        self.hide_secrets(&mut event);
        let stamped = Stamped { time: Timestamp::now(), event };
        self.sinks.iter().try_for_each(|sink| sink.accept(&stamped, durable))
    }

    fn hide_secrets(&self, event: &mut Event) {
        match event {
            Event::StepLog { text, .. } => *text = self.redactor.redact(text),
            Event::OpStarted { summary, .. } => *summary = self.redactor.redact(summary),
            Event::StepWaiting { reason, .. } | Event::NodeUnreachable { reason, .. } => {
                *reason = self.redactor.redact(reason);
            }
            Event::Diagnostic { message, hints, .. } => {
                *message = self.redactor.redact(message);
                hints.iter_mut().for_each(|hint| *hint = self.redactor.redact(hint));
            }
            _ => {}
        }
    }
}
