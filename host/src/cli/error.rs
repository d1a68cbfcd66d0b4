//! Failures of the library as message, hints and exit code: the only such file.

use serde_json::json;

use super::exit::Exit;
use super::options::Kind;
use super::ui::text::count;
use super::ui::{Ui, snippet};
use crate::diagnostic::Diagnostic;
use crate::operations::{Class, Failure};

/// Shows a failure and says what to exit with.
pub fn show(failure: &Failure, ui: &Ui, kind: Option<Kind>) -> Exit {
    let exit = Exit::from(failure.class);
    match kind {
        Some(Kind::Json) => {
            let error = json!({ "class": class_name(failure.class), "exit-code": exit.code(), "findings": failure.findings });
            let _ = ui.out(&format!("{:#}\n", json!({ "error": error })));
        }
        Some(Kind::Ndjson) => {
            for finding in &failure.findings {
                let _ = ui.out(&format!("{}\n", line(finding)));
            }
        }
        None => {}
    }
    ui.complain(&text(failure, ui));
    exit
}

/// "invalid", "unreachable", …: the same words as in `error.class` of JSON.
fn class_name(class: Class) -> &'static str {
    match class {
        Class::Usage => "usage",
        Class::Invalid => "invalid",
        Class::Unreachable => "unreachable",
        Class::Locked => "locked",
        Class::Failed => "failed",
        Class::Internal => "internal",
        Class::Interrupted => "interrupted",
    }
}

fn line(finding: &Diagnostic) -> serde_json::Value {
    json!({
        "time": jiff::Timestamp::now(),
        "type": "diagnostic",
        "severity": finding.severity,
        "code": finding.code,
        "node": finding.node,
        "stage": null,
        "message": finding.message,
        "hints": finding.hints,
    })
}

fn text(failure: &Failure, ui: &Ui) -> String {
    let mut text = snippet::render(&failure.findings, ui.err_palette.enabled);
    let errors = failure.findings.iter().filter(|finding| finding.is_error()).count() as u64;
    let place = failure
        .findings
        .iter()
        .find_map(|finding| finding.spans.first())
        .map(|span| span.path.display().to_string());
    let after = match (failure.class, place) {
        (Class::Invalid, Some(path)) => {
            format!("{} in {path}; nothing was changed\n", count(errors, "error"))
        }
        (Class::Invalid | Class::Unreachable | Class::Locked, _) => {
            format!("{}; nothing was changed\n", count(errors, "error"))
        }
        (Class::Internal, _) => "this is a defect: please report it with the lines above\n".to_owned(),
        _ => String::new(),
    };
    text.push_str(&after);
    text
}
