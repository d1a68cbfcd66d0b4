//! `ksp etcd restore`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::commands::running::Running;
use crate::cli::commands::{Outcome, Setup, block_on, consent, json, print};
use crate::cli::exit::Exit;
use crate::cli::options::{Global, Kind, Lock, StreamOutput};
use crate::cli::ui::{Ui, restore_view};
use crate::operations::etcd::restore::{self, Options};

/// The arguments of `ksp etcd restore`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ksp etcd restore prod.toml prod-20261123T210000Z.etcd-backup.tar
  ksp etcd restore prod.toml prod-20261123T210000Z.etcd-backup.tar --confirm prod
  ksp etcd restore prod.toml prod-20261123T210000Z.etcd-backup.tar.age --identity backup.key")]
pub struct Arguments {
    /// The cluster manifest
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    manifest: PathBuf,
    /// The backup: a file that `ksp etcd backup` or the timer of stage `etcd-backup` wrote
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    file: PathBuf,
    /// The file with the age key, for an encrypted backup
    #[arg(long, value_name = "KEYFILE", value_hint = ValueHint::FilePath)]
    identity: Option<PathBuf>,
    /// The cluster's name, instead of typing it
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    #[command(flatten)]
    lock: Lock,
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
        let setup = Setup::new(ui, global, self.manifest.clone(), kind)?.with_lock(self.lock);
        block_on(self.execute(ui, &setup, kind))
    }

    async fn execute(&self, ui: &Ui, setup: &Setup, kind: Option<Kind>) -> Outcome {
        let options = Options { file: self.file.clone(), identity: self.identity.clone() };
        let survey = restore::survey(&setup.context, &options).await?;
        setup.progress.hide();
        let confirmed = consent::confirmed(self.confirm.as_deref(), &survey.cluster)?;
        let now = jiff::Timestamp::now();
        ui.say(&restore_view::intent(&restore_view::Intent::of(&survey), now, ui.err_palette));
        if !confirmed && !consent::name(ui, &survey.cluster)? {
            return Err(consent::declined("ksp::etcd::declined"));
        }
        let running = Running::begin(ui, setup, "etcd restore", &survey.document())?;
        let work = restore::execute(&setup.context, &survey, running.id());
        let (done, exit) = running.watch(work).await?;
        if done.report.failed == 0 && done.report.not_started == 0 {
            ui.say(&restore_view::done(&survey.cluster, &survey.archive.about, &done, ui.err_palette));
        }
        if exit != Exit::Done {
            running.say_end(survey.manifest(), &done.report, None, exit);
        }
        if kind == Some(Kind::Json) {
            print(ui, &json(&done.report)?)?;
        }
        Ok(exit)
    }
}
