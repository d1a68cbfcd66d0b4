//! One file per command: its arguments, and what of an operation's result is shown.

mod consent;
pub mod etcd;
pub mod init;
pub mod logs;
pub mod node;
pub mod plan;
pub mod plugin;
pub mod reset;
mod running;
pub mod status;
pub mod unlock;
pub mod up;
pub mod util;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::exit::Exit;
use super::options::{Global, Kind, Lock, Rebuild};
use super::signals::{self, Listening};
use super::ui::ndjson::Ndjson;
use super::ui::progress::Progress;
use super::ui::{Ui, snippet};
use crate::diagnostic::Diagnostic;
use crate::event::{Events, Sink};
use crate::exec::Cancel;
use crate::operations::context::Context;
use crate::operations::up::version;
use crate::operations::{Class, Failure};
use crate::paths::Paths;
use crate::redact::Redactor;
use crate::run::journal::Journal;

/// What every command returns.
pub type Outcome = Result<Exit, Failure>;

/// Runs what talks to machines. Commands that do not never pay for this.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // Kept out of the start of every other command. Installed twice is as good as once.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::io("start the runtime", &error))?.block_on(future)
}

/// Writes results to standard output.
fn print(ui: &Ui, text: &str) -> Result<(), Failure> {
    ui.out(text).map_err(|error| Failure::io("write to standard output", &error))
}

/// A mistake in the arguments that clap cannot see.
fn usage(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Failure {
    Failure::new(Class::Usage, Diagnostic::error(code, message).hint(hint))
}

/// A document as people indent it.
fn json(document: &impl serde::Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(document);
    let text = text.map_err(|error| {
        Failure::new(Class::Internal, Diagnostic::error("ksp::internal::json", error.to_string()))
    })?;
    Ok(format!("{text}\n"))
}

/// What commands that talk to machines begin with.
struct Setup {
    progress: Arc<Progress>,
    journal: Journal,
    context: Context,
}

impl Setup {
    /// Starts showing progress. The journal takes everything in and writes it as soon as a run has a folder.
    fn new(ui: &Ui, global: &Global, manifest: PathBuf, kind: Option<Kind>) -> Result<Self, Failure> {
        let mode = ui.mode(global.progress);
        let mode = mode
            .map_err(|message| usage("ksp::usage::progress", message, "use `--progress plain`, or `auto`"))?;
        let progress = Progress::start(mode, ui);
        let journal = Journal::default();
        let redactor = Redactor::default();
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        sinks.extend(progress.sink());
        if kind == Some(Kind::Ndjson) {
            sinks.push(Box::new(Ndjson));
        }
        sinks.push(Box::new(journal.clone()));
        let context = Context {
            manifest,
            paths: Paths::from_env(),
            events: Events::new(sinks, redactor.clone()),
            redactor,
            cancel: Cancel::default(),
            accept_new: global.accept_new,
            allow_network_rebuild: false,
            lock_timeout: Duration::ZERO,
        };
        context.events.emit(version());
        Ok(Self { progress: Arc::new(progress), journal, context })
    }

    /// For commands that change a cluster.
    fn with_lock(mut self, lock: Lock) -> Self {
        self.context.lock_timeout = lock.lock_timeout;
        self
    }

    /// For commands that plan.
    fn with_rebuild(mut self, rebuild: Rebuild) -> Self {
        self.context.allow_network_rebuild = rebuild.allow_network_rebuild;
        self
    }

    /// Shows findings that do not stop anything.
    fn show_findings(&self, ui: &Ui, findings: &[Diagnostic]) {
        if !findings.is_empty() {
            ui.complain(&snippet::render(findings, ui.err_palette.enabled));
        }
    }

    /// From now on Ctrl-C stops the run instead of the program.
    fn listen(&self) -> Result<Listening, Failure> {
        let progress = Arc::clone(&self.progress);
        let listening = signals::listen(self.context.cancel.clone(), move |line| progress.announce(line));
        listening.map_err(|error| Failure::io("listen for signals", &error))
    }
}
