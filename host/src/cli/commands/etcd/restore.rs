//! `ksp etcd restore`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::commands::{Outcome, Setup, block_on, json, print, say_run, usage};
use crate::cli::exit::Exit;
use crate::cli::options::{Global, Kind, StreamOutput};
use crate::cli::ui::report_view::{self, Ending, Look};
use crate::cli::ui::{Ui, restore_view};
use crate::diagnostic::Diagnostic;
use crate::operations::etcd::restore::{self, Options};
use crate::operations::{Class, Failure, up};

/// Put the data of a backup into etcd, for a cluster that lost its majority or its data
///
/// Everything that was written after the backup is lost. All members and control planes must be reachable. Shows what it would do
/// first; the cluster's name has to be typed. API servers are stopped meanwhile; what runs on nodes goes on. The old data stays on
/// the nodes. When it is interrupted, the same command goes on.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ksp etcd restore prod.toml prod-20261123T210000Z.etcd-backup.tar
  ksp etcd restore prod.toml prod-20261123T210000Z.etcd-backup.tar --confirm prod")]
pub struct Arguments {
    /// The cluster manifest
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    manifest: PathBuf,
    /// The backup: a file that `ksp etcd backup` or the timer of stage `etcd-backup` wrote
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The cluster's name, instead of typing it
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    #[command(flatten)]
    pub(crate) output: StreamOutput,
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// What refused it before anything was stopped.
    pub fn run(self, ui: &Ui, global: &Global) -> Outcome {
        let kind = self.output.kind();
        let setup = Setup::new(ui, global, self.manifest.clone(), kind)?;
        block_on(self.execute(ui, &setup, kind))
    }

    async fn execute(&self, ui: &Ui, setup: &Setup, kind: Option<Kind>) -> Outcome {
        let options = Options { file: self.file.clone() };
        let survey = restore::survey(&setup.context, &options).await?;
        setup.progress.hide();
        let now = jiff::Timestamp::now();
        ui.say(&restore_view::intent(&restore_view::Intent::of(&survey), now, ui.err_palette));
        self.confirmed(ui, &survey.cluster)?;
        let document = survey.document();
        let run = up::Run::begin(&setup.context, "etcd restore", &document, &setup.journal)?;
        say_run(ui, &run);
        let listening = setup.listen()?;
        setup.progress.show();
        let applied = restore::execute(&setup.context, &survey, run.directory.id.as_str()).await;
        drop(listening);
        let done = match applied {
            Ok(done) => done,
            Err(failure) => {
                run.end(&crate::exec::RunReport::default(), Exit::from(failure.class).code())?;
                return Err(failure);
            }
        };
        let exit = up::class(&done.report).map_or(Exit::Done, Exit::from);
        run.end(&done.report, exit.code())?;
        setup.progress.hide();
        if done.report.failed == 0 && done.report.not_started == 0 {
            ui.say(&restore_view::done(&survey.cluster, &survey.archive.about, &done, ui.err_palette));
        }
        if exit != Exit::Done {
            let ending = Ending {
                command: "etcd restore",
                manifest: survey.manifest(),
                directory: &run.directory,
                report: &done.report,
                planned: document.totals.steps,
                kubeconfig: None,
                exit,
            };
            let look = Look { width: ui.width, palette: ui.err_palette, symbols: ui.symbols };
            ui.complain(&report_view::render(&ending, look));
        }
        if kind == Some(Kind::Json) {
            print(ui, &json(&done.report)?)?;
        }
        Ok(exit)
    }

    /// Data is lost: only the cluster's name says that it is meant.
    fn confirmed(&self, ui: &Ui, cluster: &str) -> Result<(), Failure> {
        if let Some(name) = &self.confirm {
            if name == cluster {
                return Ok(());
            }
            let message =
                format!("`--confirm {name}` does not fit: the manifest describes cluster {cluster}");
            return Err(usage("ksp::usage::confirm", message, format!("pass `--confirm {cluster}`")));
        }
        if !ui.interactive {
            let hint = format!("pass `--confirm {cluster}`");
            return Err(usage("ksp::usage::no-terminal", "there is no terminal to ask on", hint));
        }
        if ui.ask("Type the cluster name to go on:").is_some_and(|answer| answer == cluster) {
            return Ok(());
        }
        let finding = Diagnostic::error("ksp::etcd::declined", "not confirmed; nothing was changed");
        Err(Failure::new(Class::Interrupted, finding))
    }
}
