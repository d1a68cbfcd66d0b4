//! `ksp etcd status`.

use clap::Args;

use crate::cli::commands::{Outcome, Setup, block_on, json, print};
use crate::cli::exit::Exit;
use crate::cli::options::{Global, ManifestPath, Output};
use crate::cli::ui::{Ui, etcd_view};
use crate::operations::{etcd, prepare};
use crate::plan::Filter;

/// The arguments of `ksp etcd status`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ksp etcd status prod.toml
  ksp etcd status prod.toml -o json | jq .quorum")]
pub struct Arguments {
    #[command(flatten)]
    manifest: ManifestPath,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// The manifest or a plugin is invalid, or no stage says how etcd is run.
    pub fn run(self, ui: &Ui, global: &Global) -> Outcome {
        let kind = self.output.kind();
        let setup = Setup::new(ui, global, self.manifest.manifest, kind)?;
        let report = block_on(async {
            let prepared = prepare::prepare(&setup.context, Filter::default()).await?;
            etcd::status::status(&prepared).await
        })?;
        setup.progress.hide();
        match kind {
            None => print(ui, &etcd_view::render(&report, jiff::Timestamp::now(), ui.out_palette))?,
            Some(_) => print(ui, &json(&report)?)?,
        }
        Ok(if report.healthy { Exit::Done } else { Exit::Failed })
    }
}
