//! `ksp up`: does what the plan says, with a journal, and leaves a kubeconfig.

use std::path::{Path, PathBuf};

use jiff::{Timestamp, ZonedDateTime};

use super::context::Context;
use super::plan::Document;
use super::prepare::{self, Prepared};
use super::{Class, Failure};
use crate::diagnostic::Diagnostic;
use crate::event::{Event, Outcome, STREAM_VERSION};
use crate::exec::RunReport;
use crate::run::history::Record;
use crate::run::journal::Journal;
use crate::run::{RunDirectory, atomic};

/// A run that has its folder and its journal, and has changed nothing yet.
pub struct Run<'a> {
    context: &'a Context,
    command: &'static str,
    cluster: String,
    /// Where its journal and logs are.
    pub directory: RunDirectory,
}

impl<'a> Run<'a> {
    /// Makes the folder, opens the journal, writes the plan down.
    ///
    /// # Errors
    /// The state folder cannot be written: nothing may be changed without a journal.
    pub fn begin(
        context: &'a Context,
        command: &'static str,
        document: &Document,
        journal: &Journal,
    ) -> Result<Self, Failure> {
        let failed = |what: &str| {
            let what = format!("{what} in {}", context.paths.runs(&document.cluster).display());
            move |error: std::io::Error| Failure::io(&what, &error)
        };
        let now = ZonedDateTime::now();
        let directory = RunDirectory::create(&context.paths, &document.cluster, &now)
            .map_err(failed("make the run's folder"))?;
        journal.open(&directory).map_err(failed("open the journal"))?;
        let plan =
            serde_json::to_vec_pretty(document).map_err(|error| failed("write the plan")(error.into()))?;
        atomic::write(&directory.plan(), &plan, 0o600).map_err(failed("write the plan"))?;
        let run = Self { context, command, cluster: document.cluster.clone(), directory };
        run.announce(document);
        Ok(run)
    }

    fn announce(&self, document: &Document) {
        let events = &self.context.events;
        events.emit(Event::RunStarted {
            run: self.directory.id.to_string(),
            cluster: self.cluster.clone(),
            command: self.command.to_owned(),
            nodes: u32::try_from(document.nodes.len()).unwrap_or(u32::MAX),
        });
        for stage in &document.stages {
            for step in stage.steps.iter().filter(|step| step.is_pending()) {
                let (stage, node) = (stage.name.clone(), step.node.clone());
                events.emit(Event::PlanStep { stage, node, changes: step.pending });
            }
        }
    }

    /// Executes what is pending.
    ///
    /// # Errors
    /// The cluster is locked, or cannot be.
    pub async fn apply(&self, prepared: &mut Prepared) -> Result<RunReport, Failure> {
        prepare::apply(self.context, prepared, self.directory.id.as_str()).await
    }

    /// Writes down how it ended. The last word of every run, also of one that failed before its first step.
    ///
    /// # Errors
    /// The report cannot be written.
    pub fn end(&self, report: &RunReport, exit_code: u8) -> Result<(), Failure> {
        self.context.events.emit(Event::RunFinished {
            outcome: outcome(report, exit_code),
            exit_code,
            changed: report.changed,
            failed: report.failed,
            not_started: report.not_started,
            seconds: report.seconds,
        });
        let record = Record {
            run: self.directory.id.to_string(),
            cluster: self.cluster.clone(),
            command: self.command.to_owned(),
            ended: Timestamp::now(),
            exit_code,
            report: report.clone(),
        };
        let written = serde_json::to_vec_pretty(&record)
            .map_err(std::io::Error::from)
            .and_then(|text| atomic::write(&self.directory.report(), &text, 0o600));
        written.map_err(|error| Failure::io(format!("write {}", self.directory.report().display()), &error))
    }
}

/// The first event of every stream.
pub fn version() -> Event {
    Event::Version { ksp: env!("CARGO_PKG_VERSION").to_owned(), ui: STREAM_VERSION.to_owned() }
}

/// How a whole run ended.
fn outcome(report: &RunReport, exit_code: u8) -> Outcome {
    match exit_code {
        0 if report.changed == 0 => Outcome::Unchanged,
        0 => Outcome::Changed,
        _ => Outcome::Failed,
    }
}

/// What a report means for the command. None: all is well.
pub fn class(report: &RunReport) -> Option<Class> {
    match report {
        report if report.interrupted => Some(Class::Interrupted),
        report if report.is_success() => None,
        _ => Some(Class::Failed),
    }
}

/// Where the kubeconfig of a cluster is written: beside its manifest.
pub fn kubeconfig_path(manifest: &Path, cluster: &str) -> PathBuf {
    manifest.with_file_name(format!("{cluster}.kubeconfig"))
}

/// Writes a kubeconfig for its owner only, whole or not at all.
///
/// # Errors
/// The folder cannot be written.
pub fn write_kubeconfig(path: &Path, content: &[u8]) -> Result<(), Failure> {
    atomic::write(path, content, 0o600).map_err(|error| {
        let message = format!("cannot write the kubeconfig {}: {error}", path.display());
        let hint = "the cluster is up; make the folder writable and run the same command again";
        Failure::new(Class::Failed, Diagnostic::error("ksp::workstation::kubeconfig", message).hint(hint))
    })
}
