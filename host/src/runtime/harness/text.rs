//! What a plugin recorded, as text: ops in order, each with its nodes, modifiers and contents. Secrets never appear.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::diagnostic::Diagnostic;
use crate::manifest::Manifest;
use crate::node::NodeId;
use crate::op::{Action, Content, Modifiers, OpId, Recorded};
use crate::plan::StageDraft;
use crate::redact::MASK;
use crate::runtime::state::State;
use crate::transport::Stdin;

/// Kinds whose `Debug` text would repeat what is shown anyway, or list addresses of every architecture.
const SUMMARISED: [&str; 4] = ["file", "kube-apply", "install", "unpack"];

/// A standard input that is longer is shown with the first op that has it.
const SHOWN_ONCE: usize = 8 << 10;

/// The plan of one call.
pub fn plan(manifest: &Manifest, mut state: State) -> String {
    let contents = std::mem::take(&mut state.draft.contents);
    draft(manifest, &state.into_draft(), &contents)
}

/// Findings, one a paragraph.
pub fn findings(findings: &[Diagnostic]) -> String {
    let mut text = String::new();
    for finding in findings {
        let level = format!("{:?}", finding.severity).to_lowercase();
        let node = finding.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        let _ = writeln!(text, "{level}[{}]{node}: {}", finding.code, finding.message);
        finding.notes.iter().for_each(|note| {
            let _ = writeln!(text, "  | {note}");
        });
        finding.hints.iter().for_each(|hint| {
            let _ = writeln!(text, "  hint: {}", hint.replace('\n', "\n  "));
        });
    }
    text
}

/// A draft.
pub fn draft(manifest: &Manifest, draft: &StageDraft, contents: &BTreeMap<OpId, Content>) -> String {
    let mut text = findings(&draft.findings);
    for check in &draft.checks {
        let _ = writeln!(
            text,
            "check {} on {}: {:?}: {}",
            check.code,
            names(manifest, &check.nodes),
            check.argv,
            check.message
        );
    }
    for op in &draft.ops {
        op_text(&mut text, manifest, draft, op, contents.get(&op.id));
    }
    for (key, value) in &draft.outputs {
        let _ = writeln!(text, "publish {key} = {value}");
    }
    text
}

fn names(manifest: &Manifest, nodes: &[NodeId]) -> String {
    if !nodes.is_empty() && nodes.len() == manifest.nodes.len() {
        return "*".into();
    }
    let name = |id: &NodeId| manifest.nodes.get(id.0 as usize).map_or("?", |node| node.name.as_str());
    format!("[{}]", nodes.iter().map(name).collect::<Vec<_>>().join(" "))
}

fn op_text(
    text: &mut String,
    manifest: &Manifest,
    draft: &StageDraft,
    op: &Recorded,
    content: Option<&Content>,
) {
    let (kind, venue) = match &op.action {
        Action::Node(inner) => (inner.kind(), names(manifest, &op.nodes)),
        Action::NodeApi(inner) => (inner.kind(), names(manifest, &op.nodes)),
        Action::Cluster(inner) => (inner.kind(), "cluster".to_owned()),
        Action::Custom { .. } => ("custom", names(manifest, &op.nodes)),
    };
    let _ = writeln!(text, "{} on {venue}", op.key());
    let _ = writeln!(text, "    {}", op.summary());
    let debug = match &op.action {
        Action::Node(inner) if !SUMMARISED.contains(&kind) => Some(format!("{inner:?}")),
        Action::Cluster(inner) if !SUMMARISED.contains(&kind) => Some(format!("{inner:?}")),
        _ => None,
    };
    if let Some(debug) = debug {
        let _ = writeln!(text, "    {debug}");
    }
    for line in modifiers(op, &draft.ops) {
        let _ = writeln!(text, "    {line}");
    }
    if let Some(content) = content {
        content_text(text, content);
    }
}

/// The first of the ops with the same long standard input, when it is not this one.
fn same_stdin<'a>(op: &Recorded, ops: &'a [Recorded]) -> Option<&'a Recorded> {
    let long = |op: &Recorded| match &op.modifiers.stdin {
        Some(Stdin::Plain(bytes)) if bytes.len() > SHOWN_ONCE => Some(bytes.clone()),
        _ => None,
    };
    let own = long(op)?;
    ops.iter().take_while(|other| other.id != op.id).find(|other| long(other).as_ref() == Some(&own))
}

fn modifiers(op: &Recorded, ops: &[Recorded]) -> Vec<String> {
    let modifiers: &Modifiers = &op.modifiers;
    let keys = |ids: &[OpId]| {
        ids.iter()
            .map(|id| ops.get(id.0 as usize).map(Recorded::key).unwrap_or_default())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut lines = Vec::new();
    let mut put = |present: bool, line: String| {
        if present {
            lines.push(line);
        }
    };
    put(modifiers.prepare, "prepare".into());
    put(modifiers.gate, "gate".into());
    put(!modifiers.after.is_empty(), format!("after {}", keys(&modifiers.after)));
    put(!modifiers.on_change.is_empty(), format!("on-change {}", keys(&modifiers.on_change)));
    put(!modifiers.only_for.is_empty(), format!("only-for {}", keys(&modifiers.only_for)));
    put(!modifiers.provides.is_empty(), format!("provides {}", modifiers.provides.join(", ")));
    put(modifiers.mode.is_some(), format!("mode {:04o}", modifiers.mode.unwrap_or_default()));
    if let Some((user, group)) = &modifiers.owner {
        put(true, format!("owner {user}:{group}"));
    }
    if let Some(path) = &modifiers.creates {
        put(true, format!("creates {path}"));
    }
    if let Some(argv) = &modifiers.unless {
        put(true, format!("unless {argv:?}"));
    }
    for (name, value) in &modifiers.env {
        put(true, format!("env {name}={value}"));
    }
    match &modifiers.stdin {
        _ if same_stdin(op, ops).is_some() => {
            put(true, format!("stdin as for {}", same_stdin(op, ops).map(Recorded::key).unwrap_or_default()));
        }
        Some(Stdin::Plain(bytes)) => put(true, format!("stdin {:?}", String::from_utf8_lossy(bytes))),
        Some(Stdin::Secret(_)) => put(true, format!("stdin {MASK}")),
        None => {}
    }
    if let Some((argv, deadline)) = &modifiers.verify {
        put(true, format!("verify {argv:?} within {deadline:?}"));
    }
    if let Some(timeout) = modifiers.timeout {
        put(true, format!("timeout {timeout:?}"));
    }
    if let Some((times, delay)) = modifiers.retry {
        put(true, format!("retry {times} times after {delay:?}"));
    }
    if let Some(nodes) = modifiers.batch {
        put(true, format!("batch {nodes}"));
    }
    if let Some(reason) = &modifiers.disruptive {
        put(true, format!("disruptive: {reason}"));
    }
    lines
}

fn content_text(text: &mut String, content: &Content) {
    let bytes = match content {
        Content::Plain(bytes) => bytes,
        Content::Secret(_) => {
            let _ = writeln!(text, "    | {MASK}");
            return;
        }
    };
    match std::str::from_utf8(bytes) {
        // Made anew in each test.
        Ok(pem) if pem.starts_with("-----BEGIN") => {
            let kind = pem.lines().next().unwrap_or_default().trim_matches('-');
            let _ = writeln!(text, "    | ({})", kind.trim_start_matches("BEGIN ").to_lowercase());
        }
        Ok(content) => content.lines().for_each(|line| {
            let _ = writeln!(text, "    | {line}");
        }),
        Err(_) => {
            let _ = writeln!(text, "    | ({} bytes)", bytes.len());
        }
    }
}
