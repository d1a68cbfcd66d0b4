//! `ksp node replace`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Consent;
use crate::cli::commands::{Outcome, Setup, block_on};
use crate::cli::options::Global;
use crate::cli::ui::Ui;
use crate::operations::node::change::Wish;
use crate::operations::node::edit::Replacement;

/// What `ksp node replace` takes.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ksp node replace prod.toml cp1 --with cp4 --address 10.0.0.14
  ksp node replace prod.toml cp1 --with cp1      # the same machine, set up anew")]
pub struct Arguments {
    /// The cluster manifest
    #[arg(value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
    manifest: PathBuf,
    /// The node that goes
    #[arg(value_name = "NODE")]
    node: String,
    /// The name of the node that comes
    #[arg(long, value_name = "NODE")]
    with: String,
    /// Its address; the old node's unless given
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
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
        let wish = Wish::Replace(self.node, Replacement { name: self.with, address: self.address });
        block_on(self.consent.carry_out(ui, global, setup, &wish))
    }
}
