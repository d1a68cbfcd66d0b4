//! `ksp plugin`.

use std::path::PathBuf;

use clap::{Subcommand, ValueHint};

use super::{Outcome, json, print};
use crate::cli::exit::Exit;
use crate::cli::options::{Kind, Output};
use crate::cli::ui::{Ui, plugin_view};
use crate::operations::plugin;

/// Plugins: what stages are made of
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the plugins of a manifest, or those inside this binary
    ///
    /// With MANIFEST, lists what its stages use, with digest, slots and capabilities. Without, lists the first-party plugins.
    #[command(after_long_help = "Examples:\n  ksp plugin list\n  ksp plugin list manifest.toml -o json")]
    List {
        /// The cluster manifest
        #[arg(value_name = "MANIFEST", value_hint = ValueHint::FilePath)]
        manifest: Option<PathBuf>,
        /// What to write
        #[command(flatten)]
        output: Output,
    },
}

impl Command {
    /// What standard output carries.
    pub(crate) fn kind(&self) -> Option<Kind> {
        let Command::List { output, .. } = self;
        output.kind()
    }

    /// Runs the command.
    ///
    /// # Errors
    /// The manifest or a plugin cannot be used.
    pub fn run(self, ui: &Ui) -> Outcome {
        let kind = self.kind();
        let Command::List { manifest, .. } = self;
        let rows = match &manifest {
            Some(path) => plugin::of_manifest(path)?,
            None => plugin::embedded()?,
        };
        match kind {
            None => print(ui, &plugin_view::table(&rows, ui.out_palette))?,
            Some(_) => print(ui, &json(&rows)?)?,
        }
        Ok(Exit::Done)
    }
}
