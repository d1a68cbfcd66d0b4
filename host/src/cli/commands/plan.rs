//! `ksp plan`.

use clap::Args;

use super::{Outcome, Setup, block_on, json, print, usage};
use crate::cli::exit::Exit;
use crate::cli::options::{Global, Kind, ManifestPath, Rebuild, StreamOutput};
use crate::cli::ui::Ui;
use crate::cli::ui::plan_view::{self, Selection};
use crate::cli::ui::text::count;
use crate::event::Event;
use crate::operations::plan::{self, Document};
use crate::operations::{Failure, prepare};
use crate::plan::Filter;

/// Show what `up` would change, and change nothing
///
/// Connects to every node, reads facts, asks every plugin for its plan and compares it with the nodes. No node is
/// changed. With --node or --stage, shows every change with its diff.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ksp plan
  ksp plan prod.toml --node w1 --stage containerd
  ksp plan -o json | jq .totals
  ksp plan --exit-code --progress quiet     # 6 when changes are pending")]
pub struct Arguments {
    #[command(flatten)]
    manifest: ManifestPath,
    /// Show the changes of these nodes in detail
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    node: Vec<String>,
    /// Show the changes of these stages in detail
    #[arg(long, value_name = "STAGE", value_delimiter = ',')]
    stage: Vec<String>,
    /// Exit with 6 when changes are pending
    #[arg(long)]
    exit_code: bool,
    #[command(flatten)]
    rebuild: Rebuild,
    #[command(flatten)]
    pub(crate) output: StreamOutput,
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// Everything that would refuse a run.
    pub fn run(self, ui: &Ui, global: &Global) -> Outcome {
        let kind = self.output.kind();
        let setup = Setup::new(ui, global, self.manifest.manifest.clone(), kind)?.with_rebuild(self.rebuild);
        let prepared = block_on(prepare::prepare(&setup.context, Filter::default()))?;
        setup.progress.hide();
        let document = plan::document(&prepared, &setup.context.redactor);
        let selection = Selection { nodes: self.node, stages: self.stage, everything: ui.verbosity > 0 };
        check_names(&document, &selection)?;
        let refused = plan::refusal(&prepared.plan);
        match kind {
            Some(Kind::Json) => print(ui, &json(&document)?)?,
            Some(Kind::Ndjson) => announce(&setup, &document),
            None => {
                setup.show_findings(ui, &document.findings);
                let chosen = !(selection.nodes.is_empty() && selection.stages.is_empty());
                let text = if chosen {
                    plan_view::details(&document, &selection, ui.out_palette)
                } else {
                    let details = if ui.verbosity > 0 {
                        format!("\n{}", plan_view::details(&document, &selection, ui.out_palette))
                    } else {
                        String::new()
                    };
                    format!("{}{details}", plan_view::table(&document, ui.width, ui.out_palette))
                };
                print(ui, &text)?;
                if !chosen && document.totals.steps > 0 && refused.is_none() {
                    hint(ui, &document, &self.manifest);
                }
            }
        }
        if let Some(failure) = refused {
            let errors = count(failure.findings.len() as u64, "error");
            ui.complain(&format!("{errors}: `ksp up` would refuse this; nothing was changed"));
            return Ok(failure.class.into());
        }
        Ok(exit(&document, self.exit_code))
    }
}

/// Pending changes win over a node that was left out: both are named in the text.
fn exit(document: &Document, wanted: bool) -> Exit {
    match document.totals.steps {
        steps if steps > 0 && wanted => Exit::Pending,
        _ if document.nodes.iter().any(|node| !node.reachable) => Exit::Failed,
        _ => Exit::Done,
    }
}

fn hint(ui: &Ui, document: &Document, manifest: &ManifestPath) {
    let step = document.stages.iter().flat_map(|stage| stage.steps.iter().map(move |step| (stage, step)));
    let Some((stage, step)) = step.into_iter().find(|(_, step)| step.is_pending()) else { return };
    let node = step.node.as_ref().map(|node| format!(" --node {node}")).unwrap_or_default();
    let path = manifest.manifest.display();
    ui.say(&format!("Details: `ksp plan {path}{node} --stage {}`", stage.name));
    ui.say(&format!("Apply:   `ksp up {path}`"));
}

/// The plan as events.
fn announce(setup: &Setup, document: &Document) {
    for stage in &document.stages {
        for step in stage.steps.iter().filter(|step| step.is_pending()) {
            let (stage, node) = (stage.name.clone(), step.node.clone());
            setup.context.events.emit(Event::PlanStep { stage, node, changes: step.pending });
        }
    }
    for finding in &document.findings {
        setup.context.events.emit(Event::Diagnostic {
            severity: finding.severity,
            code: finding.code.clone(),
            node: finding.node.clone(),
            stage: None,
            message: finding.message.clone(),
            hints: finding.hints.clone(),
        });
    }
}

/// A name that the plan does not have is a mistake, not an empty answer.
pub(super) fn check_names(document: &Document, selection: &Selection) -> Result<(), Failure> {
    let nodes: Vec<&str> = document.nodes.iter().map(|node| node.name.as_str()).collect();
    let stages: Vec<&str> = document.stages.iter().map(|stage| stage.name.as_str()).collect();
    for (what, wanted, known) in [("node", &selection.nodes, nodes), ("stage", &selection.stages, stages)] {
        if let Some(wrong) = wanted.iter().find(|name| !known.contains(&name.as_str())) {
            let code = format!("ksp::usage::unknown-{what}");
            let message = format!("the manifest has no {what} `{wrong}`");
            return Err(usage(&code, message, format!("it has {}", known.join(", "))));
        }
    }
    Ok(())
}
