//! `ksp reset`.

use clap::Args;

use super::running::Running;
use super::{Outcome, Setup, block_on, consent, json, print};
use crate::cli::exit::Exit;
use crate::cli::options::{Global, Kind, Lock, ManifestPath, StreamOutput};
use crate::cli::ui::text::count;
use crate::cli::ui::{Ui, reset_view};
use crate::operations::Failure;
use crate::operations::reset::{self, Survey};

/// Remove what ksp made, from some nodes or from all
///
/// Removes what the ledger on each node lists, and nothing else: what was there before stays. Shows the list first. Without
/// --node the whole cluster and all its data go, after its name was typed.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ksp reset prod.toml --node w3
  ksp reset prod.toml
  ksp reset prod.toml --confirm prod            # for scripts")]
pub struct Arguments {
    #[command(flatten)]
    manifest: ManifestPath,
    /// Only these nodes
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    node: Vec<String>,
    /// The cluster's name, instead of typing it
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    /// Do not ask (with --node; the whole cluster needs --confirm)
    #[arg(short, long, requires = "node")]
    yes: bool,
    #[command(flatten)]
    lock: Lock,
    #[command(flatten)]
    pub(crate) output: StreamOutput,
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// What refused the run before anything was removed.
    pub fn run(self, ui: &Ui, global: &Global) -> Outcome {
        let kind = self.output.kind();
        let setup = Setup::new(ui, global, self.manifest.manifest.clone(), kind)?.with_lock(self.lock);
        block_on(self.execute(ui, &setup, kind))
    }

    async fn execute(&self, ui: &Ui, setup: &Setup, kind: Option<Kind>) -> Outcome {
        let mut survey = reset::survey(&setup.context, &self.node).await?;
        setup.progress.hide();
        let cluster = survey.manifest.cluster.name.clone();
        let confirmed = consent::confirmed(self.confirm.as_deref(), &cluster)?;
        ui.say(&reset_view::list(&survey, self.node.is_empty(), ui.err_palette));
        setup.show_findings(ui, &survey.teardown.skipped);
        if survey.is_empty() {
            ui.say("Nothing to remove.");
            return Ok(if survey.unreachable.is_empty() { Exit::Done } else { Exit::Failed });
        }
        if !confirmed && !self.agreed(ui, &survey, &cluster)? {
            return Err(consent::declined("ksp::reset::declined"));
        }
        let running = Running::begin(ui, setup, "reset", &survey.document())?;
        let work = reset::execute(&setup.context, &mut survey, running.id());
        let (report, exit) = running.watch(work).await?;
        if exit == Exit::Done {
            let nodes = count(survey.nodes.len() as u64, "node");
            ui.say(&ui.err_palette.good(&format!("{nodes} of cluster {cluster} reset")));
        } else {
            running.say_end(&survey.manifest, &report, None, exit);
        }
        if kind == Some(Kind::Json) {
            print(ui, &json(&report)?)?;
        }
        Ok(exit)
    }

    /// Some nodes need a yes, the whole cluster needs its name.
    fn agreed(&self, ui: &Ui, survey: &Survey, cluster: &str) -> Result<bool, Failure> {
        if self.node.is_empty() {
            return consent::name(ui, cluster);
        }
        let nodes = count(survey.nodes.len() as u64, "node");
        Ok(self.yes || consent::yes(ui, &format!("Reset {nodes}?"))?)
    }
}
