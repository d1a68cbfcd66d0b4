//! `ksp etcd`: one file per subcommand.

pub mod backup;
pub mod restore;
pub mod status;

use clap::Subcommand;

use super::Outcome;
use crate::cli::options::{Global, Kind};
use crate::cli::ui::Ui;

/// See how etcd is, back it up, bring it back
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the members, their quorum, certificates and the last backup
    Status(status::Arguments),
    /// Bring a snapshot of etcd and the cluster's keys to this machine, as one file
    Backup(backup::Arguments),
    /// Put the data of a backup into etcd, for a cluster that lost its majority or its data
    Restore(restore::Arguments),
}

impl Command {
    /// What standard output carries.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Command::Status(it) => it.output.kind(),
            Command::Backup(it) => it.output.kind(),
            Command::Restore(it) => it.output.kind(),
        }
    }

    /// Runs the command.
    ///
    /// # Errors
    /// Those of the subcommand.
    pub fn run(self, ui: &Ui, global: &Global) -> Outcome {
        match self {
            Command::Status(it) => it.run(ui, global),
            Command::Backup(it) => it.run(ui, global),
            Command::Restore(it) => it.run(ui, global),
        }
    }
}
