//! Draws findings: heading, the lines of the file with what is wrong underlined, notes, hints.
//!
//! ```text
//! error[ksp::manifest::unknown-key]: unknown key `rolles`
//!   --> manifest.toml:17:1
//!    |
//! 17 | rolles = ["worker"]
//!    | ^^^^^^ did you mean `roles`?
//! ```
//! Findings of several nodes that say the same are one, with the nodes named. Everything drawn may come from outside, and
//! is made harmless: see [`sanitize`].

mod sanitize;
mod window;

use annotate_snippets::{Element, Group, Level, Renderer};

pub use self::sanitize::sanitize;
use crate::diagnostic::{Diagnostic, Severity};

/// Draws findings, a blank line after each.
pub fn render(findings: &[Diagnostic], color: bool) -> String {
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut text = String::new();
    for same in grouped(findings) {
        text.push_str(&draw(&same, &renderer));
        text.push_str("\n\n");
    }
    text
}

/// Findings that say the same about several nodes, together, at the place of the first.
fn grouped(findings: &[Diagnostic]) -> Vec<Vec<&Diagnostic>> {
    let mut groups: Vec<Vec<&Diagnostic>> = Vec::new();
    let mut places = std::collections::BTreeMap::new();
    for finding in findings {
        let key = (finding.severity, &finding.code, &finding.message);
        match places
            .get(&key)
            .filter(|_| finding.node.is_some())
            .and_then(|index: &usize| groups.get_mut(*index))
        {
            Some(group) => group.push(finding),
            None => {
                if finding.node.is_some() {
                    places.insert(key, groups.len());
                }
                groups.push(vec![finding]);
            }
        }
    }
    groups
}

fn draw(same: &[&Diagnostic], renderer: &Renderer) -> String {
    let Some(first) = same.first() else { return String::new() };
    let level = match first.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Info => Level::INFO,
    };
    let title = level
        .primary_title(sanitize(&first.message).replace('\n', " "))
        .id(sanitize(&first.code).replace('\n', " "));
    let mut cause = Group::with_title(title);
    // The same file for every node: its lines once.
    let mut spans = Vec::new();
    same.iter().flat_map(|finding| &finding.spans).for_each(|span| {
        if !spans.contains(&span) {
            spans.push(span);
        }
    });
    cause = cause.elements(window::snippets(&spans));
    let remarks = nodes(same).into_iter().chain(notes(same));
    cause = cause.elements(remarks.map(|note| Element::from(Level::NOTE.no_name().message(sanitize(&note)))));
    let mut hints: Vec<&String> = Vec::new();
    same.iter().flat_map(|finding| &finding.hints).for_each(|hint| {
        if !hints.contains(&hint) {
            hints.push(hint);
        }
    });
    let hints = hints
        .into_iter()
        .map(|hint| Group::with_title(Level::HELP.with_name(Some("hint")).secondary_title(sanitize(hint))));
    let groups: Vec<Group<'_>> = std::iter::once(cause).chain(hints).collect();
    if same.iter().flat_map(|finding| &finding.spans).any(|span| !span.text.is_empty()) {
        return renderer.render(&groups);
    }
    // Without lines of a file there is nothing that a gutter would connect.
    let each: Vec<String> = groups.iter().map(|group| renderer.render(std::slice::from_ref(group))).collect();
    each.join("\n")
}

fn nodes(same: &[&Diagnostic]) -> Option<String> {
    let mut names: Vec<&str> = Vec::new();
    same.iter().filter_map(|finding| finding.node.as_deref()).for_each(|name| {
        if !names.contains(&name) {
            names.push(name);
        }
    });
    match names.as_slice() {
        [] => None,
        [name] => Some(format!("node: {name}")),
        names => Some(format!("{} nodes: {}", names.len(), names.join(", "))),
    }
}

/// Notes that all share stand once; others are told apart by the node.
fn notes(same: &[&Diagnostic]) -> Vec<String> {
    let shared = same.iter().all(|finding| Some(&finding.notes) == same.first().map(|first| &first.notes));
    if shared {
        return same.first().map(|first| first.notes.clone()).unwrap_or_default();
    }
    let each = same.iter().flat_map(|finding| {
        let node = finding.node.as_deref().unwrap_or_default();
        finding.notes.iter().map(move |note| format!("{node}: {note}"))
    });
    each.collect()
}

#[cfg(test)]
mod tests;
