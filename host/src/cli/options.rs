//! Arguments that several commands share.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum, ValueHint};

use super::ui::progress::Mode;
use super::ui::{ColorChoice, Ui};

/// Usable before and after every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// How progress is shown on standard error
    #[arg(
        long,
        global = true,
        value_name = "HOW",
        default_value = "auto",
        env = "KSP_PROGRESS",
        hide_env = true
    )]
    pub progress: Mode,
    /// When to colour
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: ColorChoice,
    /// Say more: every op; twice: every line of output
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Say less: only errors; twice: nothing
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "verbose")]
    pub quiet: u8,
    /// Accept and remember SSH host keys that are not known yet
    ///
    /// A key that differs from a known one is refused all the same.
    #[arg(long, global = true)]
    pub accept_new: bool,
}

impl Global {
    /// The surroundings as these options want them.
    pub fn ui(&self) -> Ui {
        let step = |count: u8| i8::try_from(count.min(2)).unwrap_or(2);
        Ui::new(self.color, step(self.verbose) - step(self.quiet))
    }
}

/// The manifest.
#[derive(Debug, Args)]
pub struct ManifestPath {
    /// The cluster manifest
    #[arg(value_name = "MANIFEST", default_value = "manifest.toml", value_hint = ValueHint::FilePath)]
    pub manifest: PathBuf,
}

/// What standard output carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One JSON document at the end.
    Json,
    /// One JSON object an event.
    Ndjson,
}

/// Text or JSON.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
}

/// `-o text|json`.
#[derive(Debug, Args)]
pub struct Output {
    /// What to write to standard output
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Format,
}

impl Output {
    /// None for text.
    pub fn kind(&self) -> Option<Kind> {
        (self.output == Format::Json).then_some(Kind::Json)
    }
}

/// Text, JSON, or a stream of events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum StreamFormat {
    /// For people.
    #[default]
    Text,
    /// One document at the end.
    Json,
    /// Every event, one JSON object a line.
    Ndjson,
}

/// `-o text|json|ndjson`.
#[derive(Debug, Args)]
pub struct StreamOutput {
    /// What to write to standard output
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: StreamFormat,
}

impl StreamOutput {
    /// None for text.
    pub fn kind(&self) -> Option<Kind> {
        match self.output {
            StreamFormat::Text => None,
            StreamFormat::Json => Some(Kind::Json),
            StreamFormat::Ndjson => Some(Kind::Ndjson),
        }
    }
}

/// `--lock-timeout`, of every command that changes a cluster.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Lock {
    /// How long to wait for the lock that another run holds, such as 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration_argument)]
    pub lock_timeout: Duration,
}

/// `--allow-network-rebuild`, of the commands that plan.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Rebuild {
    /// Replace the network that connects the pods of a living cluster
    ///
    /// For a maintenance window: the old network is removed from all nodes before the new one comes, and every pod is
    /// started anew.
    #[arg(long)]
    pub allow_network_rebuild: bool,
}

/// "90s", "10m", "1h": a whole number and its unit.
///
/// # Errors
/// Anything else.
pub fn duration_argument(text: &str) -> Result<Duration, String> {
    let units = [("s", 1), ("m", 60), ("h", 3600)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*seconds)
    });
    parsed
        .map(Duration::from_secs)
        .ok_or_else(|| "write a number with `s`, `m` or `h`, such as 90s or 10m".to_owned())
}
