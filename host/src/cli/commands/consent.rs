//! Asking before something is changed. Where there is nobody to ask, the option that answers is named.

use super::usage;
use crate::cli::ui::Ui;
use crate::diagnostic::Diagnostic;
use crate::operations::{Class, Failure};

/// A yes. Anything else is a no.
///
/// # Errors
/// There is no terminal to ask on.
pub(super) fn yes(ui: &Ui, question: &str) -> Result<bool, Failure> {
    terminal(ui, "pass `--yes` to go on without being asked")?;
    Ok(ui.ask(&format!("{question} [y/N]")).is_some_and(|answer| is_yes(&answer)))
}

/// What counts as one.
pub(super) fn is_yes(answer: &str) -> bool {
    matches!(answer.to_ascii_lowercase().as_str(), "y" | "yes")
}

/// The cluster's name, typed: for what cannot be undone.
///
/// # Errors
/// There is no terminal to ask on.
pub(super) fn name(ui: &Ui, cluster: &str) -> Result<bool, Failure> {
    terminal(ui, &format!("pass `--confirm {cluster}`"))?;
    Ok(ui.ask("Type the cluster name to go on:").is_some_and(|answer| answer == cluster))
}

/// Whether `--confirm` was passed.
///
/// # Errors
/// It names another cluster.
pub(super) fn confirmed(confirm: Option<&str>, cluster: &str) -> Result<bool, Failure> {
    let Some(name) = confirm else { return Ok(false) };
    if name == cluster {
        return Ok(true);
    }
    let message = format!("`--confirm {name}` does not fit: the manifest describes cluster {cluster}");
    Err(usage("ksp::usage::confirm", message, format!("pass `--confirm {cluster}`")))
}

/// Who was asked did not agree.
pub(super) fn declined(code: &str) -> Failure {
    Failure::new(Class::Interrupted, Diagnostic::error(code, "not confirmed; nothing was changed"))
}

/// # Errors
/// Nobody is there to be asked.
pub(super) fn terminal(ui: &Ui, hint: &str) -> Result<(), Failure> {
    if ui.interactive {
        return Ok(());
    }
    Err(usage("ksp::usage::no-terminal", "there is no terminal to ask on", hint))
}
