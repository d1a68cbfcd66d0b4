//! `ksp node remove`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Consent;
use crate::cli::commands::{Outcome, Setup, block_on};
use crate::cli::options::Global;
use crate::cli::ui::Ui;
use crate::operations::node::change::Wish;

/// What `ksp node remove` takes.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ksp node remove prod.toml w3
  ksp node remove prod.toml cp2 cp3      # from three control planes to one")]
pub struct Arguments {
    /// The cluster manifest
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    manifest: PathBuf,
    /// The nodes that go
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
    #[command(flatten)]
    consent: Consent,
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// What refused it before anything was changed.
    pub fn run(self, ui: &Ui, global: &Global) -> Outcome {
        let setup = Setup::new(ui, global, self.manifest, None)?;
        block_on(self.consent.carry_out(ui, global, setup, &Wish::Remove(self.nodes)))
    }
}
