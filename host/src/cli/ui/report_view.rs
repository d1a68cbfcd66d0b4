//! How a run ended, as text: what works, what failed and why, what to do next. Pure: report in, text out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::sanitize;
use super::style::{Palette, Symbols};
use super::text::{columns, count, duration, pad, spread};
use crate::cli::exit::Exit;
use crate::event::Outcome;
use crate::exec::{RunReport, StepFailure, StepReport};
use crate::manifest::Manifest;
use crate::node::Role;
use crate::run::{RunDirectory, node_log};

/// Everything about the end of a run.
pub struct Ending<'a> {
    /// "up", "reset".
    pub command: &'a str,
    /// What was wanted.
    pub manifest: &'a Manifest,
    /// Where its journal and logs are.
    pub directory: &'a RunDirectory,
    /// What became of it.
    pub report: &'a RunReport,
    /// Steps that were to be done: an aborted run does not tell of all.
    pub planned: u32,
    /// The kubeconfig, when there is one.
    pub kubeconfig: Option<&'a Path>,
    /// What the process exits with.
    pub exit: Exit,
}

impl Ending<'_> {
    /// All steps, told of or not.
    fn total(&self) -> u64 {
        u64::from(self.planned).max(self.report.steps.len() as u64)
    }
}

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Columns.
    pub width: usize,
    /// Colours.
    pub palette: Palette,
    /// Signs.
    pub symbols: Symbols,
}

/// The final report.
pub fn render(ending: &Ending<'_>, look: Look) -> String {
    if ending.report.is_success() { success(ending, look) } else { failure(ending, look) }
}

/// A path as people type it.
pub fn short_path(path: &Path) -> String {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    match home.and_then(|home| path.strip_prefix(home).ok().map(Path::to_owned)) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}

fn success(ending: &Ending<'_>, look: Look) -> String {
    let Ending { manifest, report, .. } = ending;
    let of = |role: Role| manifest.nodes.iter().filter(|node| node.is(role)).count() as u64;
    let cluster = look.palette.strong(&manifest.cluster.name);
    let planes = count(of(Role::ControlPlane), "control plane");
    let workers = count(of(Role::Worker), "worker");
    let line = format!(
        "Cluster {cluster} is ready: {planes}, {workers}, kubernetes {}",
        manifest.cluster.kubernetes
    );
    let mut text =
        format!("{}\n", spread(&look.palette.good(&line), &duration(report.seconds), look.width.min(100)));
    let unchanged = report.steps.iter().filter(|step| step.outcome == Outcome::Unchanged).count();
    let all = count(report.steps.len() as u64, "step");
    let _ = writeln!(
        text,
        "  {all}: {} changed, {unchanged} up to date, {} failed\n",
        report.changed, report.failed
    );
    text.push_str(&slowest(&report.steps));
    if let Some(path) = ending.kubeconfig {
        let _ =
            writeln!(text, "Wrote kubeconfig {} (mode 600)", look.palette.name(&path.display().to_string()));
    }
    let mut next = Vec::new();
    if let Some(kubeconfig) = ending.kubeconfig {
        next.push(format!("`kubectl --kubeconfig {} get nodes`", kubeconfig.display()));
    }
    next.push(format!("`ksp status {}`", manifest.path.display()));
    let _ = writeln!(text, "Next: {}", next.join("    "));
    text
}

/// The three stages with the longest steps.
fn slowest(steps: &[StepReport]) -> String {
    let mut longest: BTreeMap<&str, &StepReport> = BTreeMap::new();
    for step in steps.iter().filter(|step| step.outcome == Outcome::Changed) {
        let known = longest.entry(&step.stage).or_insert(step);
        if step.seconds > known.seconds {
            *known = step;
        }
    }
    let mut longest: Vec<&StepReport> = longest.into_values().collect();
    longest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    if longest.is_empty() {
        return String::new();
    }
    let mut rows = vec![vec!["SLOWEST STAGES".to_owned(), "TIME".to_owned(), "NODE".to_owned()]];
    rows.extend(longest.iter().take(3).map(|step| {
        vec![
            step.stage.clone(),
            duration(step.seconds),
            step.node.clone().unwrap_or_else(|| "cluster".to_owned()),
        ]
    }));
    format!("{}\n", columns(&rows, 2))
}

fn failure(ending: &Ending<'_>, look: Look) -> String {
    let Ending { report, command, manifest, .. } = ending;
    let palette = look.palette;
    let ended = report.steps.iter().filter(|step| is_done(step)).count();
    let word = if report.interrupted { palette.change("interrupted") } else { palette.bad("failed") };
    let title = palette.strong(&format!("{command} {}", manifest.cluster.name));
    let mut text =
        format!("[+] {title}  {}  ({ended}/{})  {word}\n", duration(report.seconds), ending.total());
    text.push_str(&overview(report, look));
    for node in &report.unreachable {
        let reason = sanitize::line(&node.reason);
        let _ = writeln!(text, " {} {}  not reached: {reason}", palette.bad(look.symbols.failed), node.node);
    }
    text.push('\n');
    for group in groups(&report.failures) {
        write_group(&mut text, &group, ending, palette);
    }
    if let Some(reason) = &report.stopped {
        let _ = writeln!(text, "{} {}\n", palette.bad("error:"), sanitize::line(reason));
    }
    closing(&mut text, ending, palette);
    text
}

fn is_done(step: &StepReport) -> bool {
    matches!(step.outcome, Outcome::Changed | Outcome::Unchanged)
}

/// One line for all stages that are done, one for each that failed, one for all that were not started.
fn overview(report: &RunReport, look: Look) -> String {
    let mut order: Vec<&str> = Vec::new();
    let mut stages: BTreeMap<&str, Vec<&StepReport>> = BTreeMap::new();
    for step in &report.steps {
        if !order.contains(&step.stage.as_str()) {
            order.push(&step.stage);
        }
        stages.entry(&step.stage).or_default().push(step);
    }
    let steps = |stage: &&str| stages.get(stage).cloned().unwrap_or_default();
    let all_done = |stage: &&str| steps(stage).iter().all(|step| is_done(step));
    let none_began = |stage: &&str| steps(stage).iter().all(|step| step.outcome == Outcome::NotStarted);
    let done: Vec<&str> = order.iter().copied().filter(all_done).collect();
    let waiting: Vec<&str> = order.iter().copied().filter(none_began).collect();
    let mixed: Vec<&str> =
        order.iter().copied().filter(|stage| !all_done(stage) && !none_began(stage)).collect();

    let (palette, width) = (look.palette, look.width.min(100));
    let name_width = mixed.iter().map(|stage| stage.len()).max().unwrap_or(0);
    let mut text = String::new();
    if !done.is_empty() {
        let number = done.iter().map(|stage| steps(stage).len()).sum::<usize>();
        let line = format!(" {} {}", palette.good(look.symbols.done), done.join(", "));
        let _ = writeln!(text, "{}", spread(&line, &format!("{number} of {number}"), width));
    }
    for stage in mixed {
        let named = |wanted: fn(&&&StepReport) -> bool, word: &str| {
            let of_stage = steps(&stage);
            let nodes: Vec<&str> = of_stage
                .iter()
                .filter(wanted)
                .map(|step| step.node.as_deref().unwrap_or("cluster"))
                .collect();
            (!nodes.is_empty()).then(|| format!("{} {word}", list(&nodes, 6)))
        };
        let parts: Vec<String> = [
            named(|step| step.outcome == Outcome::Failed, "failed"),
            named(|step| is_done(step), "ok"),
            named(|step| step.outcome == Outcome::NotStarted, "not started"),
        ]
        .into_iter()
        .flatten()
        .collect();
        let longest = steps(&stage).iter().map(|step| step.seconds).fold(0.0, f64::max);
        let line = format!(
            " {} {}   {}",
            palette.bad(look.symbols.failed),
            pad(stage, name_width),
            parts.join(", ")
        );
        let _ = writeln!(text, "{}", spread(&line, &duration(longest), width));
    }
    if !waiting.is_empty() {
        let reason = waiting.iter().flat_map(steps).find_map(|step| step.reason.as_deref());
        let reason = reason.map(|reason| format!(" ({})", sanitize::line(reason))).unwrap_or_default();
        let line = format!(" - {}", waiting.join(", "));
        let _ = writeln!(text, "{}", spread(&line, &format!("not started{reason}"), width));
    }
    text
}

/// Names with commas; beyond some, how many more.
fn list(names: &[&str], most: usize) -> String {
    if names.len() <= most {
        return names.join(", ");
    }
    format!("{} and {} more", names[..most].join(", "), names.len() - most)
}

/// Failures of several nodes with one cause, the first node's evidence standing for all.
struct Group<'a> {
    first: &'a StepFailure,
    nodes: Vec<(&'a str, Option<&'a str>)>,
}

fn groups(failures: &[StepFailure]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for failure in failures {
        let node = failure.node.as_deref().map(|node| (node, failure.address.as_deref()));
        let same = |group: &&mut Group<'_>| {
            let first = group.first;
            first.node.is_some()
                && (&first.stage, &first.code, &first.op, &first.message)
                    == (&failure.stage, &failure.code, &failure.op, &failure.message)
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.nodes.extend(node),
            None => groups.push(Group { first: failure, nodes: node.into_iter().collect() }),
        }
    }
    groups
}

fn write_group(text: &mut String, group: &Group<'_>, ending: &Ending<'_>, palette: Palette) {
    let failure = group.first;
    let place = match group.nodes.as_slice() {
        [] => "in the cluster".to_owned(),
        [(node, Some(address))] => format!("on node `{node}` ({address})"),
        [(node, None)] => format!("on node `{node}`"),
        several => {
            let names: Vec<&str> = several.iter().map(|(node, _)| *node).collect();
            format!("on {}: {}", count(several.len() as u64, "node"), list(&names, 12))
        }
    };
    let code = palette.bad(&format!("error[{}]", failure.code));
    let _ = writeln!(text, "{code}: stage `{}` failed {place}", failure.stage);
    let _ = writeln!(text, "  {}", sanitize::line(&failure.message));
    let _ = writeln!(text, "  plugin:  {}", failure.plugin);
    let what = if failure.summary.is_empty() { &failure.op } else { &failure.summary };
    let _ = writeln!(text, "  step:    {}", sanitize::line(what));
    if let Some(command) = &failure.command {
        let _ = writeln!(text, "  command: {}", sanitize::line(command));
    }
    write_tail(text, failure, palette);
    for hint in &failure.hints {
        let _ = writeln!(text, "{} {}", palette.name("hint:"), sanitize::line(hint));
    }
    let node = failure.node.as_deref().unwrap_or(node_log::CLUSTER_LOG);
    let log = ending.directory.node_log(node);
    let line = node_log::line_of_failure(&log, &failure.stage, &failure.op);
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    let _ = writeln!(text, "log:  {}{line}", short_path(&log));
    let filter = failure.node.as_ref().map(|node| format!(" --node {node}")).unwrap_or_default();
    let _ = writeln!(text, "      `ksp logs {}{filter} --stage {}`\n", ending.directory.id, failure.stage);
}

fn write_tail(text: &mut String, failure: &StepFailure, palette: Palette) {
    if failure.tail.is_empty() {
        return;
    }
    let head = format!("  {} {}", failure.node.as_deref().unwrap_or("cluster"), failure.stage);
    text.push('\n');
    for (index, line) in failure.tail.iter().enumerate() {
        let head = if index == 0 { head.clone() } else { " ".repeat(head.chars().count()) };
        let _ = writeln!(text, "{head} {} {}", palette.dim("|"), sanitize::line(line));
    }
    text.push('\n');
}

fn closing(text: &mut String, ending: &Ending<'_>, palette: Palette) {
    let Ending { report, manifest, command, exit, .. } = ending;
    let again = palette.name(&format!("`ksp {command} {}`", manifest.path.display()));
    let ended = report.steps.iter().filter(|step| is_done(step)).count();
    if report.interrupted {
        let all = count(ending.total(), "step");
        let _ = writeln!(text, "Interrupted after {ended} of {all}. Run {again} to continue.");
    } else {
        let nodes: std::collections::BTreeSet<&String> = report
            .steps
            .iter()
            .filter(|step| step.outcome == Outcome::Changed)
            .filter_map(|it| it.node.as_ref())
            .collect();
        let nodes = count(nodes.len() as u64, "node");
        let changed = count(report.changed, "step");
        let done = match report.changed {
            _ if report.failures.is_empty() && report.stopped.is_none() => {
                format!(
                    "{changed} changed {nodes}; {} left out.",
                    count(report.unreachable.len() as u64, "node")
                )
            }
            0 => "No step was finished before the failure. Nothing was rolled back.".to_owned(),
            _ => format!("Done before the failure: {changed} changed {nodes}. Nothing was rolled back."),
        };
        let _ = writeln!(text, "{done} The cluster lock is released.");
        let _ = writeln!(text, "Run {again} again when the cause is gone: finished steps are skipped.");
    }
    let _ = writeln!(text, "Exit code {}", exit.code());
}

#[cfg(test)]
mod tests;
