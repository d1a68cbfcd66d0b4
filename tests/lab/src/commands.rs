//! The command line: one file a command.

mod bench;
mod demo;
mod node_tests;
mod nodes;
mod ssh;
mod status;
mod test;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::build::{self, Wanted};
use crate::scenario::{self, Scenario};
use crate::{mirror, podman, tell};
use node_tests::Choice;

/// The lab: real Kubernetes clusters on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build components, release files, images and systems into the cache
    Build {
        /// Only these components; all when none is named
        components: Vec<String>,
    },
    /// Boot a scenario's nodes and write the manifest for them
    Up { scenario: String },
    /// Remove a scenario's nodes, their disks and the working folder
    Down {
        #[arg(required_unless_present = "all")]
        scenario: Option<String>,
        /// Every scenario, the mirror and the network
        #[arg(long, conflicts_with = "scenario")]
        all: bool,
    },
    /// Log in to a node, or run a command there
    Ssh {
        scenario: String,
        node: String,
        #[arg(long, default_value = "root")]
        user: String,
        /// The command, after `--`
        #[arg(last = true)]
        command: Vec<String>,
    },
    /// Show what runs
    Status,
    /// Cut a node's power
    Kill { scenario: String, node: String },
    /// Switch a node on again
    Start { scenario: String, node: String },
    /// Reboot a node in good order
    Restart { scenario: String, node: String },
    /// Replace a node by a new machine with an empty disk
    Replace { scenario: String, node: String },
    /// Build everything, make the demo cluster with ksp, and show that it works
    Demo,
    /// Show that the demo's cluster works, once more
    Proof,
    /// Check formatting and lints, run all tests, and of those that need real nodes the ones that cover most and one a day
    Test {
        /// Leave out the tests that need real nodes
        #[arg(long, conflicts_with_all = ["all", "names"])]
        no_nodes: bool,
        /// All tests that need real nodes
        #[arg(long, conflicts_with = "names")]
        all: bool,
        /// Nothing but the tests with real nodes that have one of these words in their name
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
    /// Measure ksp against a hand-written kubeadm script
    Bench {
        /// Only these; all when none is named
        #[arg(long, value_delimiter = ',')]
        only: Vec<crate::bench::Part>,
    },
}

/// The program.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tell::say(format_args!("failed: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Build { components } if components.is_empty() => build::ensure(Wanted::All),
        Command::Build { components } => build::ensure(Wanted::Only(&components)),
        Command::Up { scenario } => Scenario::load(&scenario)?.up().map(drop),
        Command::Down { scenario: Some(name), .. } => down(&name),
        Command::Down { .. } => down_all(),
        Command::Ssh { scenario, node, user, command } => ssh::run(&scenario, &node, &user, &command),
        Command::Status => status::run(),
        Command::Kill { scenario, node } => nodes::run(&scenario, &node, nodes::Act::Kill),
        Command::Start { scenario, node } => nodes::run(&scenario, &node, nodes::Act::Start),
        Command::Restart { scenario, node } => nodes::run(&scenario, &node, nodes::Act::Restart),
        Command::Replace { scenario, node } => nodes::run(&scenario, &node, nodes::Act::Replace),
        Command::Demo => demo::run(),
        Command::Proof => crate::proof::show(&Scenario::load("demo")?),
        Command::Test { no_nodes: true, .. } => test::run(None),
        Command::Test { all: true, .. } => test::run(Some(&Choice::All)),
        Command::Test { names, .. } if names.is_empty() => test::run(Some(&Choice::Today)),
        Command::Test { names, .. } => node_tests::run(&Choice::Named(names)),
        Command::Bench { only } => bench::run(&only),
    }
}

fn down(name: &str) -> Result<()> {
    // Nodes can outlive their scenario's file.
    if podman::labelled(&format!("ksp.scenario={name}"))?.is_empty() {
        Scenario::load(name)?;
    }
    scenario::down(name)
}

fn down_all() -> Result<()> {
    for name in status::running()? {
        scenario::down(&name)?;
    }
    podman::remove(mirror::CONTAINER)?;
    podman::remove_network()?;
    tell::say("down: everything; the cache is kept");
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        super::Cli::command().debug_assert();
    }
}
