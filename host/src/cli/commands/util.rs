//! `ksp util`.

use clap::{CommandFactory as _, Subcommand};
use clap_complete::Shell;

use super::{Outcome, json, print, usage};
use crate::cli::exit::Exit;
use crate::cli::ui::Ui;
use crate::cli::{Cli, explain};
use crate::operations::util;

/// Schema, completions, explanations
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Print the JSON Schema of the manifest, for editors
    Schema,
    /// Print completions for a shell
    #[command(after_long_help = "Example: ksp util completions bash > /etc/bash_completion.d/ksp")]
    Completions {
        /// Which shell
        shell: Shell,
    },
    /// Explain a code such as `ksp::lease::held`; without one, list them
    Explain {
        /// The code, with or without `ksp::`
        #[arg(value_name = "CODE")]
        code: Option<String>,
    },
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// The code is not known.
    pub fn run(self, ui: &Ui) -> Outcome {
        match self {
            Command::Schema => print(ui, &json(&util::schema())?)?,
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Cli::command(), "ksp", &mut script);
                print(ui, &String::from_utf8_lossy(&script))?;
            }
            Command::Explain { code: Some(code) } => match explain::find(&code) {
                Some(text) => print(ui, &text)?,
                None => {
                    let message = format!("no code `{code}` is known");
                    return Err(usage(
                        "ksp::usage::unknown-code",
                        message,
                        "`ksp util explain` lists all codes",
                    ));
                }
            },
            Command::Explain { code: None } => print(ui, &explain::list())?,
        }
        Ok(Exit::Done)
    }
}
