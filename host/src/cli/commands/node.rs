//! `ksp node …`.

pub mod remove;
pub mod replace;

use clap::{Args, Subcommand};

use super::running::Running;
use super::{Outcome, Setup, consent, up};
use crate::cli::exit::Exit;
use crate::cli::options::{Global, Kind, Lock};
use crate::cli::ui::{Ui, reset_view};
use crate::exec::RunReport;
use crate::operations::node::change::{self, Change, Wish};

/// Take nodes out of a cluster, or put other machines in their place
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Take nodes out of the cluster and out of the manifest
    ///
    /// A node that still runs is drained, leaves etcd and the cluster, and loses what ksp made on it. One that is gone for good is
    /// forgotten. A member of etcd goes only when a majority remains.
    Remove(remove::Arguments),
    /// Put another machine in a node's place
    ///
    /// The new node gets the old one's roles, labels and taints. An old node that still runs leaves the cluster first; one that is
    /// gone for good is forgotten. Of etcd, the old member is removed before a new one is added. No node is special, the first one
    /// included.
    Replace(replace::Arguments),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// What refused it before anything was changed.
    pub fn run(self, ui: &Ui, global: &Global) -> Outcome {
        match self {
            Command::Remove(it) => it.run(ui, global),
            Command::Replace(it) => it.run(ui, global),
        }
    }

    /// What standard output carries.
    pub fn kind(&self) -> Option<Kind> {
        None
    }
}

/// What both have.
#[derive(Debug, Args)]
pub struct Consent {
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Go on although etcd would be without a majority
    #[arg(long)]
    allow_quorum_risk: bool,
    #[command(flatten)]
    lock: Lock,
}

impl Consent {
    /// Shows what will happen, asks, does it, and brings the rest of the cluster in line with the new manifest.
    async fn carry_out(&self, ui: &Ui, global: &Global, setup: Setup, wish: &Wish) -> Outcome {
        let setup = setup.with_lock(self.lock);
        let mut change = change::survey(&setup.context, wish, self.allow_quorum_risk).await?;
        setup.progress.hide();
        setup.show_findings(ui, &change.survey.teardown.skipped);
        self.show(ui, &change, wish);
        if !self.yes && !consent::yes(ui, "Go on?")? {
            return Err(consent::declined("ksp::node::declined"));
        }
        let exit = leave(ui, &setup, &mut change).await?;
        if exit != Exit::Done {
            return Ok(exit);
        }
        let manifest = setup.context.manifest.clone();
        drop(setup);
        let setup = Setup::new(ui, global, manifest.clone(), None)?.with_lock(self.lock);
        up::Arguments::agreed_already(manifest, self.lock).execute(ui, &setup, None).await
    }

    fn show(&self, ui: &Ui, change: &Change, wish: &Wish) {
        if !change.survey.is_empty() || !change.survey.unreachable.is_empty() {
            ui.say(&reset_view::list(&change.survey, false, ui.err_palette));
        }
        if let Some(arithmetic) = change.arithmetic {
            let line = arithmetic.to_string();
            ui.say(&if arithmetic.is_safe() { line } else { ui.err_palette.bad(&line) });
        }
        let leaving = ui.err_palette.strong(&wish.leaving().join(", "));
        ui.say(&match wish {
            Wish::Remove(_) => format!("Then {leaving} leaves the manifest, and `ksp up` follows."),
            Wish::Replace(_, new) => {
                let new = ui.err_palette.strong(&new.name);
                format!("Then {new} takes the place of {leaving} in the manifest, and `ksp up` follows.")
            }
        });
    }
}

/// The nodes that still run leave the cluster, and the manifest is written.
async fn leave(ui: &Ui, setup: &Setup, change: &mut Change) -> Outcome {
    let running = Running::begin(ui, setup, "node", &change.survey.document())?;
    let work = async {
        let report = change::execute(&setup.context, change, running.id()).await?;
        // A node that is gone for good is what this command is for.
        Ok(RunReport { unreachable: Vec::new(), ..report })
    };
    let (report, exit) = running.watch(work).await?;
    if exit != Exit::Done {
        running.say_end(&change.survey.manifest, &report, None, exit);
    }
    Ok(exit)
}
