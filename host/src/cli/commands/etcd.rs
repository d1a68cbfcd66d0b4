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
    ///
    /// Asks every node with a member; changes nothing, and works without the API and with members down. Exits with 1 when a member
    /// does not answer, does not vote or raises an alarm, when members do not agree, or when a certificate has come to its end.
    Status(status::Arguments),
    /// Bring a snapshot of etcd and the cluster's keys to this machine, as one file
    ///
    /// Takes the snapshot from a healthy member that does not lead, checks it there, and writes one archive with the snapshot, what ksp
    /// keeps of the cluster (authorities, secrets) and a control plane's certificates. Nothing stays on the node.
    Backup(backup::Arguments),
    /// Put the data of a backup into etcd, for a cluster that lost its majority or its data
    ///
    /// Everything that was written after the backup is lost. All members and control planes must be reachable. Shows what it would do
    /// first; the cluster's name has to be typed. API servers are stopped meanwhile; what runs on nodes goes on. The old data stays on
    /// the nodes. When it is interrupted, the same command goes on.
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
