//! What people see: streams, colours, width, questions. Standard output carries results only; all else goes to standard error.

pub mod board;
pub mod etcd_view;
pub mod log_view;
pub mod ndjson;
pub mod plain;
pub mod plan_view;
pub mod plugin_view;
pub mod progress;
pub mod report_view;
pub mod reset_view;
pub mod restore_view;
pub mod rows;
pub mod sanitize;
pub mod snippet;
pub mod status_view;
pub mod style;
pub mod text;
pub mod tty;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use progress::Mode;
use style::{Palette, Symbols};

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set; also elsewhere when `CLICOLOR_FORCE` is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// Columns when nobody can tell.
const DEFAULT_WIDTH: usize = 100;

/// The surroundings, looked at once.
#[derive(Debug, Clone)]
pub struct Ui {
    /// Colours of standard output.
    pub out_palette: Palette,
    /// Colours of standard error.
    pub err_palette: Palette,
    /// Signs.
    pub symbols: Symbols,
    /// Columns of the terminal.
    pub width: usize,
    /// −2 nothing, −1 errors, 0 normal, 1 ops, 2 output.
    pub verbosity: i8,
    /// Somebody can be asked.
    pub interactive: bool,
    err_is_terminal: bool,
    quiet_environment: bool,
}

impl Ui {
    /// Looks at the streams and the environment.
    pub fn new(color: ColorChoice, verbosity: i8) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let palette = |terminal| Palette { enabled: colours(color, terminal, &variable) };
        let width = console::Term::stdout().size_checked().or_else(|| console::Term::stderr().size_checked());
        Self {
            out_palette: palette(out),
            err_palette: palette(err),
            symbols: Symbols::for_locale(variable),
            width: width.map_or(DEFAULT_WIDTH, |(_, columns)| usize::from(columns)),
            verbosity,
            interactive: io::stdin().is_terminal() && err,
            err_is_terminal: err,
            quiet_environment: set(&variable, "CI") || variable("TERM").is_some_and(|term| term == "dumb"),
        }
    }

    /// The way progress is shown.
    ///
    /// # Errors
    /// Live rows were asked for where there is no terminal.
    pub fn mode(&self, asked: Mode) -> Result<Mode, &'static str> {
        match asked {
            _ if self.verbosity < 0 => Ok(Mode::Quiet),
            Mode::Tty if !self.err_is_terminal => Err("`--progress tty` needs a terminal on standard error"),
            Mode::Auto if self.err_is_terminal && !self.quiet_environment && self.verbosity < 1 => {
                Ok(Mode::Tty)
            }
            Mode::Auto => Ok(Mode::Plain),
            chosen => Ok(chosen),
        }
    }

    /// Result data. A reader that went away is not an error.
    ///
    /// # Errors
    /// Standard output cannot be written for another reason, such as a full disk.
    pub fn out(&self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            result => result,
        }
    }

    /// Status for people, unless they asked for quiet.
    pub fn say(&self, text: &str) {
        if self.verbosity >= 0 {
            error_line(text.trim_end_matches('\n'));
        }
    }

    /// What went wrong, unless they asked for complete silence.
    pub fn complain(&self, text: &str) {
        if self.verbosity >= -1 {
            error_line(text.trim_end_matches('\n'));
        }
    }

    /// Asks, and returns the answer in lower case without spaces around it; none when nothing can be read.
    pub fn ask(&self, question: &str) -> Option<String> {
        let mut err = io::stderr().lock();
        let _ = write!(err, "{question} ").and_then(|()| err.flush());
        drop(err);
        let mut answer = String::new();
        match io::stdin().lock().read_line(&mut answer) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(answer.trim().to_owned()),
        }
    }
}

/// One line on standard error; there is nobody to tell when that fails.
fn error_line(line: &str) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "{line}").and_then(|()| err.flush());
}

fn set(variable: &impl Fn(&str) -> Option<String>, name: &str) -> bool {
    variable(name).is_some_and(|value| !value.is_empty())
}

fn colours(choice: ColorChoice, terminal: bool, variable: &impl Fn(&str) -> Option<String>) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto if set(variable, "NO_COLOR") => false,
        ColorChoice::Auto
            if variable("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0") =>
        {
            true
        }
        ColorChoice::Auto => terminal && variable("TERM").is_none_or(|term| term != "dumb"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_wins_over_the_environment_and_no_color_over_force() {
        let with =
            |names: &'static [&'static str]| move |name: &str| names.contains(&name).then(|| "1".to_owned());
        assert!(colours(ColorChoice::Always, false, &with(&["NO_COLOR"])));
        assert!(!colours(ColorChoice::Never, true, &with(&["CLICOLOR_FORCE"])));
        assert!(!colours(ColorChoice::Auto, true, &with(&["NO_COLOR", "CLICOLOR_FORCE"])));
        assert!(colours(ColorChoice::Auto, false, &with(&["CLICOLOR_FORCE"])));
        assert!(
            colours(ColorChoice::Auto, true, &with(&[])) && !colours(ColorChoice::Auto, false, &with(&[]))
        );
        assert!(!colours(ColorChoice::Auto, true, &|name: &str| (name == "TERM").then(|| "dumb".to_owned())));
    }
}
