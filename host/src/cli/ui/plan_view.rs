//! A plan as text: the table of stages and nodes, and the details of chosen steps. Pure: document in, text out.

use std::fmt::Write as _;

use super::sanitize;
use super::style::Palette;
use super::text::{columns, count};
use crate::operations::plan::{Document, OpAction, OpEntry, StageEntry, StepEntry, StepState};

/// The column of what happens once, through the Kubernetes API.
const CLUSTER_COLUMN: &str = "cluster";

/// What the signs mean.
const LEGEND: &str = "+ create   ~N change N items   - remove   = up to date   . not for this node   +? known after an earlier step";

/// The table of stages and nodes with its totals. Nodes with the same cells share a column when there is no room for all.
pub fn table(document: &Document, width: usize, palette: Palette) -> String {
    let mut text = heading(document, palette);
    let groups = group_columns(document, width);
    let mut rows = vec![header(&groups)];
    for stage in &document.stages {
        let mut row = vec![stage.name.clone()];
        row.extend(groups.iter().map(|group| coloured(stage, group, palette)));
        row.push(palette.dim(&format!("{} {}", stage.plugin, stage.version)));
        rows.push(row);
    }
    text.push_str(&columns(&rows, 2));
    let unprobed = document.nodes.iter().any(|node| !node.reachable);
    let checks = document.totals.check > 0;
    let legend = format!(
        "{LEGEND}{}{}",
        if checks { "   > check of the result" } else { "" },
        if unprobed { "   ? not reached" } else { "" }
    );
    let _ = writeln!(text, "\n  {}\n", palette.dim(&legend));
    text.push_str(&totals(document));
    text
}

fn heading(document: &Document, palette: Palette) -> String {
    let version = match document.running.as_deref() {
        Some(now) if now == document.kubernetes => now.to_owned(),
        now => format!("{} -> {}", now.unwrap_or("(none)"), document.kubernetes),
    };
    format!("Cluster {}   kubernetes {version}\n\n", palette.strong(&document.cluster))
}

/// "Plan: 34 steps on 6 nodes: 26 create, 6 change, 0 remove."
pub fn totals(document: &Document) -> String {
    let totals = document.totals;
    if totals.steps == 0 {
        return format!("Plan: nothing to do, {} up to date.\n", count(totals.up_to_date, "step"));
    }
    let checks = if totals.check > 0 { format!(", {} check", totals.check) } else { String::new() };
    let mut text = format!(
        "Plan: {} on {}: {} create, {} change, {} remove{checks}.\n",
        count(totals.steps, "step"),
        count(totals.nodes, "node"),
        totals.create,
        totals.change,
        totals.remove
    );
    let interrupting = disruptions(document);
    if !interrupting.is_empty() {
        let _ = writeln!(
            text,
            "  interrupts services on a node that already serves, a few at a time: {interrupting}"
        );
    }
    text
}

fn disruptions(document: &Document) -> String {
    let known = |name: &String| document.nodes.iter().any(|node| node.known && node.name == *name);
    let mut found: Vec<String> = Vec::new();
    for stage in &document.stages {
        for step in &stage.steps {
            let reason =
                step.ops.iter().find_map(|op| op.disruptive.as_ref().filter(|_| op.action.is_change()));
            if let (Some(reason), Some(node)) = (reason, step.node.as_ref().filter(|node| known(node))) {
                found.push(format!("{} on {node} ({})", stage.name, sanitize::line(reason)));
            }
        }
    }
    let more = found.len().saturating_sub(4);
    found.truncate(4);
    let mut text = found.join(", ");
    if more > 0 {
        let _ = write!(text, " and {more} more");
    }
    text
}

/// A column of the table: its heading and the places it stands for (none is the cluster itself).
struct Group {
    label: String,
    places: Vec<Option<String>>,
}

fn group_columns(document: &Document, width: usize) -> Vec<Group> {
    let mut groups: Vec<Group> = document
        .nodes
        .iter()
        .map(|node| Group { label: node.name.clone(), places: vec![Some(node.name.clone())] })
        .collect();
    if document.stages.iter().any(|stage| stage.steps.iter().any(|step| step.node.is_none())) {
        groups.push(Group { label: CLUSTER_COLUMN.to_owned(), places: vec![None] });
    }
    let names = document.stages.iter().map(|stage| stage.name.len()).max().unwrap_or(5);
    let needed = names + 4 + groups.iter().map(|group| group.label.len().max(2) + 2).sum::<usize>();
    if needed <= width {
        return groups;
    }
    let mut merged: Vec<(Vec<String>, Group)> = Vec::new();
    for group in groups {
        let cells: Vec<String> =
            document.stages.iter().map(|stage| cell(stage, group.places.first())).collect();
        let is_node = group.places != [None];
        match merged.iter_mut().find(|(known, other)| is_node && other.places != [None] && *known == cells) {
            Some((_, same)) => same.places.extend(group.places),
            None => merged.push((cells, group)),
        }
    }
    let label = |mut group: Group| {
        if group.places.len() > 1 {
            group.label = format!("{} +{}", group.label, group.places.len() - 1);
        }
        group
    };
    merged.into_iter().map(|(_, group)| label(group)).collect()
}

fn header(groups: &[Group]) -> Vec<String> {
    let mut row = vec!["STAGE".to_owned()];
    row.extend(groups.iter().map(|group| group.label.clone()));
    row.push("PLUGIN".to_owned());
    row
}

fn find<'a>(stage: &'a StageEntry, place: Option<&Option<String>>) -> Option<&'a StepEntry> {
    let place = place?;
    stage.steps.iter().find(|step| step.node == *place)
}

fn cell(stage: &StageEntry, place: Option<&Option<String>>) -> String {
    let Some(step) = find(stage, place) else {
        return if place == Some(&None) { String::new() } else { ".".to_owned() };
    };
    let unknown = if step.partly_unknown { "?" } else { "" };
    match step.state {
        StepState::Create => format!("+{unknown}"),
        StepState::Change => format!("~{}{unknown}", step.pending),
        StepState::Remove => "-".to_owned(),
        StepState::Check => ">".to_owned(),
        StepState::UpToDate => "=".to_owned(),
        StepState::NotProbed => "?".to_owned(),
    }
}

fn coloured(stage: &StageEntry, group: &Group, palette: Palette) -> String {
    let place = group.places.first();
    let text = cell(stage, place);
    match find(stage, place).map(|step| step.state) {
        Some(StepState::Create) => palette.good(&text),
        Some(StepState::Change | StepState::Check) => palette.change(&text),
        Some(StepState::Remove | StepState::NotProbed) => palette.bad(&text),
        Some(StepState::UpToDate) | None => palette.dim(&text),
    }
}

/// Which steps to show in detail.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// These nodes; all when empty.
    pub nodes: Vec<String>,
    /// These stages; all when empty.
    pub stages: Vec<String>,
    /// Also what is up to date.
    pub everything: bool,
}

impl Selection {
    fn step(&self, step: &StepEntry) -> bool {
        match &step.node {
            Some(node) => self.nodes.is_empty() || self.nodes.contains(node),
            None => self.nodes.is_empty(),
        }
    }
}

/// Every change of the chosen steps, with its diff.
pub fn details(document: &Document, selection: &Selection, palette: Palette) -> String {
    let mut text = String::new();
    let mut steps = 0;
    for stage in
        document.stages.iter().filter(|it| selection.stages.is_empty() || selection.stages.contains(&it.name))
    {
        for step in stage.steps.iter().filter(|step| selection.step(step)) {
            if step.pending == 0 && !selection.everything {
                continue;
            }
            steps += 1;
            let place = step.node.as_deref().unwrap_or("the cluster");
            let plugin = palette.dim(&format!("{} {}", stage.plugin, stage.version));
            let _ = writeln!(text, "{} on {}   {plugin}", palette.strong(&stage.name), palette.strong(place));
            let shown = |op: &&OpEntry| selection.everything || op.action.is_pending();
            step.ops.iter().filter(shown).for_each(|op| write_op(&mut text, op, palette));
            let rest = step.ops.len() - step.ops.iter().filter(shown).count();
            if rest > 0 {
                let _ = writeln!(
                    text,
                    "  {}",
                    palette.dim(&format!("= {} up to date", count(rest as u64, "item")))
                );
            }
            text.push('\n');
        }
    }
    if steps == 0 {
        text.push_str("Nothing to do for this choice.\n");
    }
    text
}

fn write_op(text: &mut String, op: &OpEntry, palette: Palette) {
    let summary = sanitize::line(&op.summary);
    let line = match op.action {
        OpAction::None => palette.dim(&format!("= {summary}")),
        OpAction::Create => palette.good(&format!("+ {summary}")),
        OpAction::Modify => palette.change(&format!("~ {summary}")),
        OpAction::Remove => palette.bad(&format!("- {summary}")),
        OpAction::Run | OpAction::Check => palette.change(&format!("> {summary}")),
        OpAction::Unknown => palette.change(&format!("+? {summary}")),
        OpAction::NotProbed => palette.bad(&format!("? {summary}")),
    };
    let _ = writeln!(text, "  {line}");
    if let Some(reason) = op.disruptive.as_ref().filter(|_| op.action.is_pending()) {
        let _ =
            writeln!(text, "      {}", palette.change(&format!("interrupts: {}", sanitize::line(reason))));
    }
    for line in &op.diff {
        let _ = writeln!(text, "      {}", palette.diff(&sanitize::line(line)));
    }
}

#[cfg(test)]
mod tests;
