//! `ksp init`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::Outcome;
use crate::cli::exit::Exit;
use crate::cli::ui::text::count;
use crate::cli::ui::{Ui, snippet};
use crate::operations::init::{self, Answers, ChainEntry};
use crate::operations::{Class, Failure, plugin};

/// Write a complete, commented manifest
///
/// Nothing is contacted. Addresses may be ranges: 10.0.0.11-13.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Example:
  ksp init prod --control-plane 10.0.0.1,10.0.0.2,10.0.0.3 --worker 10.0.0.11-13 --user ubuntu")]
pub struct Arguments {
    /// The cluster's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Addresses of control planes
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', required = true)]
    control_plane: Vec<String>,
    /// Addresses of workers; without any, control planes run workloads too
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    worker: Vec<String>,
    /// Login name
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Private key file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    identity: Option<String>,
    /// Kubernetes version
    #[arg(long, value_name = "VERSION")]
    kubernetes: Option<String>,
    /// Name or address and port of the API, which can move between machines; default: loopback of each node, with a balancer there
    #[arg(long, value_name = "HOST:PORT")]
    endpoint: Option<String>,
    /// Where to write
    #[arg(long, value_name = "FILE", default_value = "manifest.toml", value_hint = ValueHint::FilePath)]
    out: PathBuf,
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// The answers make no valid manifest, or there is one already.
    pub fn run(self, ui: &Ui) -> Outcome {
        let answers = Answers {
            name: self.name,
            control_planes: self.control_plane,
            workers: self.worker,
            user: self.user,
            identity: self.identity,
            kubernetes: self.kubernetes,
            endpoint: self.endpoint,
        };
        let chain = plugin::default_chain()?;
        let chain: Vec<ChainEntry<'_>> = chain.iter().map(plugin::Row::chain_entry).collect();
        let invalid = |findings| Failure::all(Class::Invalid, findings);
        let draft = init::compose(&answers, &chain, &self.out).map_err(invalid)?;
        init::write(&self.out, &draft.text).map_err(|finding| invalid(vec![finding]))?;
        if !draft.findings.is_empty() {
            ui.complain(&snippet::render(&draft.findings, ui.err_palette.enabled));
        }
        let planes = count(draft.control_planes as u64, "control plane");
        let workers = count(draft.workers as u64, "worker");
        let path = self.out.display();
        ui.say(&format!("Wrote {path} ({planes}, {workers}, kubernetes {})", draft.kubernetes));
        ui.say(&format!("Next: `ksp plan {path}`, then `ksp up {path}`"));
        Ok(Exit::Done)
    }
}
