//! The command line: arguments in, text and exit code out. Everything else is below.

pub mod commands;
pub mod error;
pub mod exit;
pub mod explain;
pub mod options;
pub mod signals;
pub mod ui;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use exit::Exit;
use options::Global;

/// Turns machines that answer SSH into a Kubernetes cluster, and keeps it that way
///
/// A manifest says what the cluster is, which machines it has, and which stages make it. `ksp up` brings the machines there:
/// it shows what it would change, asks, and does exactly that. The same command resumes, repairs, upgrades and grows.
#[derive(Debug, Parser)]
#[command(
    name = "ksp",
    version,
    propagate_version = true,
    styles = ui::style::help_styles(),
    max_term_width = 100,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_long_help = EXAMPLES
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  ksp init prod --control-plane 10.0.0.1,10.0.0.2,10.0.0.3 --worker 10.0.0.11-13 --user ubuntu
  ksp plan manifest.toml
  ksp up manifest.toml
  ksp status manifest.toml
  ksp logs latest --failed

Exit codes: 0 done, 1 failed or unhealthy, 2 usage, 3 manifest or plugin invalid, 4 not reachable or preflight failed,
5 locked by another run, 6 changes pending (plan --exit-code), 70 defect, 130 interrupted";

#[derive(Debug, Subcommand)]
enum Command {
    Init(commands::init::Arguments),
    Plan(commands::plan::Arguments),
    Up(commands::up::Arguments),
    Status(commands::status::Arguments),
    Logs(commands::logs::Arguments),
    #[command(subcommand)]
    Etcd(commands::etcd::Command),
    Reset(commands::reset::Arguments),
    #[command(subcommand)]
    Node(commands::node::Command),
    Unlock(commands::unlock::Arguments),
    #[command(subcommand)]
    Plugin(commands::plugin::Command),
    #[command(subcommand)]
    Util(commands::util::Command),
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no failure; a reader that went away is none either.
            let _ = error.print();
            let shown = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return if shown { Exit::Done.into() } else { Exit::Usage.into() };
        }
    };
    let ui = cli.global.ui();
    let global = &cli.global;
    let (format, result) = match cli.command {
        Command::Init(it) => (None, it.run(&ui)),
        Command::Plan(it) => (it.output.kind(), it.run(&ui, global)),
        Command::Up(it) => (it.output.kind(), it.run(&ui, global)),
        Command::Status(it) => (it.output.kind(), it.run(&ui, global)),
        Command::Logs(it) => (None, it.run(&ui)),
        Command::Etcd(it) => (it.kind(), it.run(&ui, global)),
        Command::Reset(it) => (it.output.kind(), it.run(&ui, global)),
        Command::Node(it) => (it.kind(), it.run(&ui, global)),
        Command::Unlock(it) => (None, it.run(&ui, global)),
        Command::Plugin(it) => (it.kind(), it.run(&ui)),
        Command::Util(it) => (None, it.run(&ui)),
    };
    let exit = result.unwrap_or_else(|failure| error::show(&failure, &ui, format));
    exit.into()
}

#[cfg(test)]
mod tests;
