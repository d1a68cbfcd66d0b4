//! `ksp unlock`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{Outcome, Setup, block_on, usage};
use crate::cli::exit::Exit;
use crate::cli::options::Global;
use crate::cli::ui::Ui;
use crate::operations::unlock;
use crate::run::RunId;

/// Take the cluster's lock away from a run that is dead
///
/// The run's id is in the message that says who holds the lock. A run that is still alive stops before its next change.
#[derive(Debug, Args)]
#[command(after_long_help = "Example: ksp unlock manifest.toml 0821-1412-7f3a")]
pub struct Arguments {
    /// The cluster manifest
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    manifest: PathBuf,
    /// The run that holds the lock
    #[arg(value_name = "RUN")]
    run: String,
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// No control plane could be unlocked.
    pub fn run(self, ui: &Ui, global: &Global) -> Outcome {
        let Some(run) = RunId::parse(&self.run) else {
            let message = format!("`{}` is no run id", self.run);
            return Err(usage("ksp::usage::run", message, "ids look like `0821-1412-7f3a`"));
        };
        let setup = Setup::new(ui, global, self.manifest, None)?;
        let answers = block_on(unlock::unlock(&setup.context, &run))?;
        setup.progress.hide();
        for answer in &answers {
            match &answer.result {
                Ok(()) => {
                    ui.say(&format!("{} {}  unlocked", ui.err_palette.good(ui.symbols.done), answer.node))
                }
                Err(reason) => ui.complain(&format!(
                    "{} {}  {reason}",
                    ui.err_palette.bad(ui.symbols.failed),
                    answer.node
                )),
            }
        }
        Ok(if answers.iter().any(|answer| answer.result.is_ok()) { Exit::Done } else { Exit::Failed })
    }
}
