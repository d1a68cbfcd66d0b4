//! `ksp status`.

use clap::Args;

use super::{Outcome, Setup, block_on, json, print};
use crate::cli::exit::Exit;
use crate::cli::options::{Global, ManifestPath, Output};
use crate::cli::ui::{Ui, status_view};
use crate::operations::{prepare, status};
use crate::plan::Filter;

/// Show how the cluster is, and what differs from the manifest
///
/// Asks every node and the API; changes nothing. Exits with 1 when something is unhealthy: a node that does not answer or is
/// not ready, an etcd member that does not work, an API that cannot be asked. Drift alone is not unhealthy.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ksp status
  ksp status prod.toml -o json | jq .healthy")]
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
    /// The manifest or a plugin is invalid.
    pub fn run(self, ui: &Ui, global: &Global) -> Outcome {
        let kind = self.output.kind();
        let setup = Setup::new(ui, global, self.manifest.manifest.clone(), kind)?;
        let report = block_on(async {
            let prepared = prepare::prepare(&setup.context, Filter::default()).await?;
            Ok(status::status(&setup.context, &prepared).await)
        })?;
        setup.progress.hide();
        let manifest = self.manifest.manifest.display().to_string();
        match kind {
            None => {
                print(ui, &status_view::render(&report, &manifest, jiff::Timestamp::now(), ui.out_palette))?
            }
            Some(_) => print(ui, &json(&report)?)?,
        }
        Ok(if report.healthy { Exit::Done } else { Exit::Failed })
    }
}
