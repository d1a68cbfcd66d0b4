//! `ksp reset`.

use clap::Args;

use super::{Outcome, Setup, block_on, json, print, say_run, usage};
use crate::cli::exit::Exit;
use crate::cli::options::{Global, Kind, ManifestPath, StreamOutput};
use crate::cli::ui::report_view::{self, Ending, Look};
use crate::cli::ui::text::count;
use crate::cli::ui::{Ui, reset_view};
use crate::diagnostic::Diagnostic;
use crate::operations::reset::{self, Survey};
use crate::operations::{Class, Failure, up};

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
    pub(crate) output: StreamOutput,
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// What refused the run before anything was removed.
    pub fn run(self, ui: &Ui, global: &Global) -> Outcome {
        let kind = self.output.kind();
        let setup = Setup::new(ui, global, self.manifest.manifest.clone(), kind)?;
        block_on(self.execute(ui, &setup, kind))
    }

    async fn execute(&self, ui: &Ui, setup: &Setup, kind: Option<Kind>) -> Outcome {
        let mut survey = reset::survey(&setup.context, &self.node).await?;
        setup.progress.hide();
        let cluster = survey.manifest.cluster.name.clone();
        if let Some(name) = self.confirm.as_ref().filter(|name| **name != cluster) {
            let message =
                format!("`--confirm {name}` does not fit: the manifest describes cluster {cluster}");
            return Err(usage("ksp::usage::confirm", message, format!("pass `--confirm {cluster}`")));
        }
        ui.say(&reset_view::list(&survey, self.node.is_empty(), ui.err_palette));
        setup.show_findings(ui, &survey.teardown.skipped);
        if survey.is_empty() {
            ui.say("Nothing to remove.");
            return Ok(if survey.unreachable.is_empty() { Exit::Done } else { Exit::Failed });
        }
        self.confirmed(ui, &survey, &cluster)?;
        let run = up::Run::begin(&setup.context, "reset", &survey.document(), &setup.journal)?;
        say_run(ui, &run);
        let listening = setup.listen()?;
        setup.progress.show();
        let applied = reset::execute(&setup.context, &mut survey, run.directory.id.as_str()).await;
        drop(listening);
        let report = match applied {
            Ok(report) => report,
            Err(failure) => {
                run.end(&crate::exec::RunReport::default(), Exit::from(failure.class).code())?;
                return Err(failure);
            }
        };
        let exit = up::class(&report).map_or(Exit::Done, Exit::from);
        run.end(&report, exit.code())?;
        setup.progress.hide();
        if exit == Exit::Done {
            let nodes = count(survey.nodes.len() as u64, "node");
            ui.say(&ui.err_palette.good(&format!("{nodes} of cluster {cluster} reset")));
        } else {
            let ending = Ending {
                command: "reset",
                manifest: &survey.manifest,
                directory: &run.directory,
                report: &report,
                planned: 0,
                kubeconfig: None,
                exit,
            };
            let look = Look { width: ui.width, palette: ui.err_palette, symbols: ui.symbols };
            ui.complain(&report_view::render(&ending, look));
        }
        if kind == Some(Kind::Json) {
            print(ui, &json(&report)?)?;
        }
        Ok(exit)
    }

    /// Some nodes need a yes, the whole cluster needs its name.
    fn confirmed(&self, ui: &Ui, survey: &Survey, cluster: &str) -> Result<(), Failure> {
        let whole = self.node.is_empty();
        if self.confirm.is_some() || (self.yes && !whole) {
            return Ok(());
        }
        if !ui.interactive {
            let hint = if whole { format!("pass `--confirm {cluster}`") } else { "pass `--yes`".to_owned() };
            return Err(usage("ksp::usage::no-terminal", "there is no terminal to ask on", hint));
        }
        let agreed = if whole {
            ui.ask("Type the cluster name to go on:").is_some_and(|answer| answer == cluster)
        } else {
            let nodes = count(survey.nodes.len() as u64, "node");
            ui.ask(&format!("Reset {nodes}? [y/N]"))
                .is_some_and(|answer| matches!(answer.as_str(), "y" | "Y" | "yes"))
        };
        if agreed {
            return Ok(());
        }
        let finding = Diagnostic::error("ksp::reset::declined", "not confirmed; nothing was changed");
        Err(Failure::new(Class::Interrupted, finding))
    }
}
