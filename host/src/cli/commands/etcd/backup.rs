//! `ksp etcd backup`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::commands::{Outcome, Setup, block_on, json, print};
use crate::cli::exit::Exit;
use crate::cli::options::{Global, ManifestPath, Output};
use crate::cli::ui::Ui;
use crate::operations::etcd::archive;
use crate::operations::etcd::backup::{self, Options, mib};

/// The arguments of `ksp etcd backup`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ksp etcd backup prod.toml --to /backups
  ksp etcd backup prod.toml --recipient \"$(age-keygen -y backup.key)\"
  ksp etcd backup prod.toml --member cp2            # when the others are lost")]
pub struct Arguments {
    #[command(flatten)]
    manifest: ManifestPath,
    /// The folder that the file is written to
    #[arg(long, value_name = "FOLDER", default_value = ".", value_hint = ValueHint::DirPath)]
    to: PathBuf,
    /// Ask the member on this node, also when there is no quorum
    #[arg(long, value_name = "NODE")]
    member: Option<String>,
    /// Encrypt the file for the owner of this age key, `age1…`; may be repeated
    #[arg(long = "recipient", value_name = "AGE", env = "KSP_ETCD_BACKUP_RECIPIENTS", value_delimiter = ',')]
    recipients: Vec<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// No backup was written.
    pub fn run(self, ui: &Ui, global: &Global) -> Outcome {
        let kind = self.output.kind();
        let recipients = archive::recipients(&self.recipients)?;
        let setup = Setup::new(ui, global, self.manifest.manifest, kind)?;
        let options = Options { to: self.to, member: self.member, recipients };
        let made = block_on(async {
            let listening = setup.listen()?;
            let made = backup::backup(&setup.context, &options).await;
            drop(listening);
            made
        })?;
        setup.progress.hide();
        if kind.is_some() {
            print(ui, &json(&made)?)?;
            return Ok(Exit::Done);
        }
        let about = &made.backup;
        let path = ui.err_palette.name(&made.path.display().to_string());
        ui.say(&format!(
            "Wrote {path}: revision {}, {} from {}",
            about.revision,
            mib(about.size),
            about.node
        ));
        ui.say(if made.encrypted {
            "The cluster's keys are in it, encrypted: keep the age key somewhere else."
        } else {
            "The cluster's keys are in it: it is for you alone (mode 600)."
        });
        Ok(Exit::Done)
    }
}
