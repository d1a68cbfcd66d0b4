//! Between what guests say and what the host shows. Guests are strangers: their texts are cleaned before they meet a terminal.

use crate::diagnostic::{Diagnostic, Severity};
use crate::plugin::error::PluginError;
use crate::plugin::resolve::ResolvedStage;
use crate::redact::Redactor;
use crate::runtime::StageInputs;
use crate::runtime::bindings::ksp::plugin::types;

/// The longest phrase of a guest that is shown, in bytes.
pub const PHRASE_BYTES: usize = 2000;

/// An error for a guest.
pub fn fault(code: types::ErrorCode, reason: &str, message: impl Into<String>) -> types::Error {
    let retryable = matches!(code, types::ErrorCode::Timeout | types::ErrorCode::Transport);
    types::Error { code, reason: reason.into(), message: message.into(), retryable, details: Vec::new() }
}

/// One line without control characters and direction marks, cut at a length.
pub fn clean(text: &str, limit: usize) -> String {
    let hidden = |c: char| {
        (c.is_control() && c != '\t')
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut cleaned: String = text.trim_end().chars().map(|c| if hidden(c) { ' ' } else { c }).collect();
    if cleaned.len() > limit {
        let end = (0..=limit).rev().find(|at| cleaned.is_char_boundary(*at)).unwrap_or(0);
        cleaned.truncate(end);
        cleaned.push('…');
    }
    cleaned
}

/// How bad a finding is. What a guest only notes is information.
pub fn severity(severity: types::Severity) -> Severity {
    match severity {
        types::Severity::Error => Severity::Error,
        types::Severity::Warn => Severity::Warning,
        types::Severity::Trace | types::Severity::Debug | types::Severity::Info => Severity::Info,
    }
}

/// A finding about a stage's config, at its place in the manifest.
pub fn config_finding(stage: &ResolvedStage, inputs: &StageInputs, finding: types::Diagnostic) -> Diagnostic {
    let path = clean(&finding.path, PHRASE_BYTES);
    let place = if path.is_empty() { String::new() } else { format!(" at {path}") };
    let message = clean(&finding.message, PHRASE_BYTES);
    let mut diagnostic = Diagnostic::new(
        severity(finding.severity),
        "ksp::stage::config",
        format!("config of stage `{}`{place}: {message}", stage.name),
    );
    if let Some(span) = inputs.manifest.config_span(&stage.name, &path) {
        diagnostic = diagnostic.at(span);
    }
    if let Some(hint) = finding.hint {
        diagnostic = diagnostic.hint(clean(&hint, PHRASE_BYTES));
    }
    diagnostic
}

/// What a guest returned as its failure.
pub fn guest_error(
    stage: &ResolvedStage,
    redactor: &Redactor,
    error: types::Error,
    tail: &[String],
) -> PluginError {
    let shown = |text: &str| redactor.redact(&clean(text, PHRASE_BYTES));
    let denied = error.code == types::ErrorCode::Denied;
    let code = if denied { "ksp::capability::denied" } else { "ksp::plugin::failed" };
    let mut made = PluginError::new(code, &stage.plugin, &stage.name, shown(&error.message));
    if !error.reason.is_empty() {
        made.message = format!("{} ({})", made.message, shown(&error.reason));
    }
    for (name, value) in error.details.iter().take(20) {
        if name == "hint" {
            let lines: Vec<String> = value.lines().map(&shown).collect();
            made.hints.push(lines.join("\n"));
            continue;
        }
        for (number, line) in value.lines().enumerate().take(20) {
            let label = if number == 0 { format!("{}: ", shown(name)) } else { "  ".into() };
            made.tail.push(format!("{label}{}", shown(line)));
        }
    }
    if denied && made.hints.is_empty() {
        made.hints.push("a plugin should know this: report it to its publisher".into());
    }
    made.tail.extend(tail.iter().cloned());
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_guests_say_cannot_move_the_cursor() {
        assert_eq!(clean("a\u{1b}[31mred\u{202e}x\r\n", 100), "a [31mred x");
        assert_eq!(clean("äöü", 3), "ä…");
    }
}
