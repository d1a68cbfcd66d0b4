//! `ksp up`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::running::Running;
use super::{Outcome, Setup, block_on, consent, json, print};
use crate::cli::exit::Exit;
use crate::cli::options::{Global, Kind, Lock, ManifestPath, Rebuild, StreamFormat, StreamOutput};
use crate::cli::ui::Ui;
use crate::cli::ui::plan_view::{self, Selection};
use crate::cli::ui::text::{count, duration};
use crate::operations::Failure;
use crate::operations::plan::{self, Document};
use crate::operations::prepare::{self, Prepared};
use crate::plan::Filter;

/// Bring the machines to what the manifest says
///
/// Shows the plan, asks, does exactly that, checks the result and writes a kubeconfig beside the manifest. Run again after a
/// failure or an interruption, it continues: what is done is found and skipped. When nothing differs it says so and ends.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ksp up
  ksp up prod.toml --yes --progress plain
  ksp up prod.toml --yes -o ndjson > run.ndjson

Ctrl-C once: running steps finish, nothing new starts. Twice: abort now. Either way the same command continues.")]
pub struct Arguments {
    #[command(flatten)]
    manifest: ManifestPath,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    lock: Lock,
    #[command(flatten)]
    rebuild: Rebuild,
    /// Workers that serve already and may be interrupted at a time
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..))]
    max_unavailable: u32,
    #[command(flatten)]
    pub(crate) output: StreamOutput,
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// What refused the run before its first step; a step that fails is a report, not an error.
    pub fn run(self, ui: &Ui, global: &Global) -> Outcome {
        let kind = self.output.kind();
        let setup = Setup::new(ui, global, self.manifest.manifest.clone(), kind)?;
        let setup = setup.with_lock(self.lock).with_rebuild(self.rebuild);
        block_on(self.execute(ui, &setup, kind))
    }

    /// As if the user had been asked: for commands that end in it.
    pub(super) fn agreed_already(manifest: PathBuf, lock: Lock) -> Self {
        Self {
            manifest: ManifestPath { manifest },
            yes: true,
            lock,
            rebuild: Rebuild::default(),
            max_unavailable: 1,
            output: StreamOutput { output: StreamFormat::Text },
        }
    }

    pub(super) async fn execute(&self, ui: &Ui, setup: &Setup, kind: Option<Kind>) -> Outcome {
        let began = std::time::Instant::now();
        let mut prepared = prepare::prepare(&setup.context, Filter::default()).await?;
        if let Some(failure) = plan::refusal(&prepared.plan) {
            return Err(failure);
        }
        prepared.options.max_unavailable = usize::try_from(self.max_unavailable).unwrap_or(usize::MAX);
        setup.progress.hide();
        let document = plan::document(&prepared, &setup.context.redactor);
        setup.show_findings(ui, &document.findings);
        if prepared.plan.is_up_to_date() {
            return self.up_to_date(ui, &prepared, &document, kind, began.elapsed().as_secs_f64()).await;
        }
        ui.say(&plan_view::table(&document, ui.width, ui.err_palette));
        if !self.agreed(ui, &document)? {
            ui.say("Nothing was changed.");
            return Ok(Exit::Done);
        }
        let running = Running::begin(ui, setup, "up", &document)?;
        let (report, exit) = running.watch(running.run.apply(&mut prepared)).await?;
        let done = exit == Exit::Done;
        let kubeconfig = if done { prepared.write_kubeconfig().await? } else { None };
        // What failed may be the control plane that it names.
        let mended = if done { None } else { prepared.mend_kubeconfig(false).await.ok().flatten() };
        running.say_end(&prepared.manifest, &report, kubeconfig.as_deref(), exit);
        say_kubeconfig(ui, mended.as_deref());
        if kind == Some(Kind::Json) {
            print(ui, &std::fs::read_to_string(running.run.directory.report()).unwrap_or_default())?;
        }
        Ok(exit)
    }

    /// Nothing to do. A kubeconfig that was lost or is of no more use is written again.
    async fn up_to_date(
        &self,
        ui: &Ui,
        prepared: &Prepared,
        document: &Document,
        kind: Option<Kind>,
        seconds: f64,
    ) -> Outcome {
        let kubeconfig = prepared.mend_kubeconfig(true).await?;
        let steps = count(document.totals.up_to_date, "step");
        let reached = document.nodes.iter().filter(|node| node.reachable).count();
        let nodes = count(reached as u64, "node");
        let cluster = ui.err_palette.strong(&document.cluster);
        ui.say(&format!(
            "Cluster {cluster} is up to date: {steps} checked on {nodes} in {}",
            duration(seconds)
        ));
        say_kubeconfig(ui, kubeconfig.as_deref());
        if kind == Some(Kind::Json) {
            print(ui, &json(document)?)?;
        }
        let left_out: Vec<&str> =
            document.nodes.iter().filter(|node| !node.reachable).map(|node| node.name.as_str()).collect();
        if left_out.is_empty() {
            return Ok(Exit::Done);
        }
        ui.complain(&ui.err_palette.bad(&format!("Not reached and left out: {}", left_out.join(", "))));
        Ok(Exit::Failed)
    }

    fn agreed(&self, ui: &Ui, document: &Document) -> Result<bool, Failure> {
        if self.yes {
            return Ok(true);
        }
        consent::terminal(ui, "pass `--yes` to apply without being asked")?;
        let steps = count(document.totals.steps, "step");
        let nodes = count(document.totals.nodes, "node");
        loop {
            let answer = ui.ask(&format!("Apply {steps} to {nodes}? [y/N/d=details]")).unwrap_or_default();
            if !matches!(answer.to_ascii_lowercase().as_str(), "d" | "details") {
                return Ok(consent::is_yes(&answer));
            }
            ui.say(&plan_view::details(document, &Selection::default(), ui.err_palette));
        }
    }
}

fn say_kubeconfig(ui: &Ui, path: Option<&Path>) {
    if let Some(path) = path {
        ui.say(&format!("Wrote kubeconfig {} (mode 600)", path.display()));
    }
}
