//! `ksp logs`.

use clap::Args;

use super::{Outcome, print, usage};
use crate::cli::exit::Exit;
use crate::cli::options::StreamFormat;
use crate::cli::ui::{Ui, log_view};
use crate::operations::Failure;
use crate::operations::logs::{self, Filter};
use crate::paths::Paths;

/// Show past runs: the list, or what one run did
///
/// Without RUN, lists the runs of this workstation, newest first. Reads only local files.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  ksp logs
  ksp logs latest --failed
  ksp logs 0821-1412-7f3a --node cp2 --stage etcd
  ksp logs latest --timings
  ksp logs latest -o ndjson | jq 'select(.type == \"op_finished\")'")]
pub struct Arguments {
    /// A run's id, or `latest`
    #[arg(value_name = "RUN")]
    run: Option<String>,
    /// Only runs of this cluster
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Only these nodes
    #[arg(long, value_name = "NODE", value_delimiter = ',', requires = "run")]
    node: Vec<String>,
    /// Only these stages
    #[arg(long, value_name = "STAGE", value_delimiter = ',', requires = "run")]
    stage: Vec<String>,
    /// Only steps that failed
    #[arg(long, requires = "run")]
    failed: bool,
    /// A bar for each step instead of its lines
    #[arg(long, requires = "run", conflicts_with = "failed")]
    timings: bool,
    /// What to write; `ndjson` is the journal as it is
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: StreamFormat,
}

impl Arguments {
    /// Runs the command.
    ///
    /// # Errors
    /// There is no such run, or its files cannot be read.
    pub fn run(self, ui: &Ui) -> Outcome {
        let paths = Paths::from_env();
        let Some(run) = &self.run else { return self.list(ui, &paths) };
        let (directory, summary) = logs::find(&paths, self.cluster.as_deref(), run)?;
        let filter = Filter { nodes: self.node.clone(), stages: self.stage.clone(), failed: self.failed };
        match self.output {
            StreamFormat::Ndjson => logs::raw(&directory, &filter, |line| {
                let _ = ui.out(line);
            })?,
            StreamFormat::Json => {
                return Err(usage(
                    "ksp::usage::format",
                    "a run is a stream, not a document",
                    "use `-o ndjson`",
                ));
            }
            StreamFormat::Text => {
                let events = logs::events(&directory, &filter)?;
                let text = if self.timings {
                    log_view::timings(&events, ui.width, ui.symbols, ui.out_palette)
                } else {
                    log_view::lines(&events, &jiff::tz::TimeZone::system(), ui.out_palette)
                };
                print(ui, &log_view::heading(&summary, ui.out_palette))?;
                print(ui, &text)?;
                ui.say(&format!("Files: {}", directory.path.display()));
            }
        }
        Ok(Exit::Done)
    }

    fn list(&self, ui: &Ui, paths: &Paths) -> Outcome {
        let runs = logs::list(paths, self.cluster.as_deref())?;
        match self.output {
            StreamFormat::Text => {
                print(ui, &log_view::list(&runs, &jiff::tz::TimeZone::system(), ui.out_palette))?
            }
            StreamFormat::Json => print(ui, &super::json(&runs)?)?,
            StreamFormat::Ndjson => {
                for run in &runs {
                    let line = serde_json::to_string(run)
                        .map_err(|error| Failure::io("write a run", &error.into()))?;
                    print(ui, &format!("{line}\n"))?;
                }
            }
        }
        Ok(Exit::Done)
    }
}
