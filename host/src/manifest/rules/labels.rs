//! Labels and taints of nodes.

use std::collections::HashSet;

use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::source::escape;
use crate::manifest::{codes, syntax};

/// Keys and values as Kubernetes accepts them.
pub fn labels(check: &mut Check<'_>) {
    const HINT: &str =
        "a label is `[prefix/]name = \"value\"`: letters, digits, `-`, `_` and `.`, at most 63";
    for (pointer, node) in check.nodes() {
        for (key, value) in &node.labels {
            let pointer = format!("{pointer}/labels/{}", escape(key));
            if let Err(wrong) = syntax::qualified_name(key) {
                let finding = Diagnostic::error(codes::BAD_LABEL, format!("the label's key {wrong}"))
                    .at(check.source.key(&pointer, ""));
                check.report(&pointer, finding.hint(HINT));
            }
            if let Err(wrong) = syntax::label_value(value) {
                check.report(
                    &pointer,
                    Diagnostic::error(codes::BAD_LABEL, format!("the label's value {wrong}")).hint(HINT),
                );
            }
        }
    }
}

/// Taints as `kubectl taint` takes them.
pub fn taints(check: &mut Check<'_>) {
    for (pointer, node) in check.nodes() {
        for (index, taint) in node.taints.iter().enumerate() {
            if let Err(wrong) = syntax::taint(taint) {
                let finding = Diagnostic::error(codes::BAD_TAINT, format!("the taint {wrong}"))
                    .hint("a taint is `key=value:Effect` or `key:Effect`, such as `dedicated=db:NoSchedule`");
                check.report(&format!("{pointer}/taints/{index}"), finding);
            }
        }
    }
}

/// Kubernetes keeps one taint for each key and effect.
pub fn duplicate_taints(check: &mut Check<'_>) {
    for (pointer, node) in check.nodes() {
        let mut seen = HashSet::new();
        for (index, text) in node.taints.iter().enumerate() {
            let Ok((key, _, effect)) = syntax::taint(text) else { continue };
            if !seen.insert((key, effect)) {
                let message = format!("node `{}` has two taints `{key}` with {effect}", node.name);
                check.report(
                    &format!("{pointer}/taints/{index}"),
                    Diagnostic::error(codes::DUPLICATE_TAINT, message),
                );
            }
        }
    }
}
