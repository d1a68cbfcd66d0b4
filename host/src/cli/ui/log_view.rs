//! Past runs as text: the list, the lines of one, and who took how long. Pure: events in, text out.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::sanitize;
use super::style::{Palette, Symbols};
use super::text::{columns, count, duration, pad};
use crate::diagnostic::Severity;
use crate::event::{Event, Outcome, Stamped};
use crate::run::history::Summary;
use crate::run::timings;

/// One line a run.
pub fn list(runs: &[Summary], zone: &TimeZone, palette: Palette) -> String {
    if runs.is_empty() {
        return "No runs on this workstation yet.\n".to_owned();
    }
    let mut rows = vec![
        ["RUN", "CLUSTER", "COMMAND", "STARTED", "RESULT", "CHANGED", "TIME"].map(str::to_owned).to_vec(),
    ];
    for run in runs {
        let started = run
            .started
            .map(|time| time.to_zoned_datetime(zone.clone()).strftime("%Y-%m-%d %H:%M:%S").to_string());
        rows.push(vec![
            palette.name(&run.run),
            run.cluster.clone(),
            run.command.clone(),
            started.unwrap_or_else(|| "?".into()),
            result(run, palette),
            run.changed.map(|steps| count(steps, "step")).unwrap_or_default(),
            run.seconds.map(duration).unwrap_or_default(),
        ]);
    }
    columns(&rows, 0)
}

/// "ok", "failed (3 steps)", "interrupted", "did not end".
fn result(run: &Summary, palette: Palette) -> String {
    match (run.exit_code, run.failed) {
        (Some(0), _) => palette.good("ok"),
        (Some(130), _) => palette.change("interrupted"),
        (Some(_), Some(failed)) if failed > 0 => palette.bad(&format!("failed ({})", count(failed, "step"))),
        (Some(code), _) => palette.bad(&format!("failed (exit {code})")),
        (None, _) => palette.change("did not end"),
    }
}

/// The first line about one run.
pub fn heading(run: &Summary, palette: Palette) -> String {
    let time = run.seconds.map(|seconds| format!(" after {}", duration(seconds))).unwrap_or_default();
    format!(
        "Run {} of cluster {}: {} {}{time}\n\n",
        palette.name(&run.run),
        run.cluster,
        run.command,
        result(run, palette)
    )
}

/// One line an event, as the node logs have them.
pub fn lines(events: &[Stamped], zone: &TimeZone, palette: Palette) -> String {
    let mut text = String::new();
    for stamped in events {
        if let Some(line) = words(&stamped.event, palette) {
            let _ = writeln!(text, "{} {line}", clock(stamped.time, zone));
        }
    }
    if text.is_empty() { "Nothing for this choice.\n".to_owned() } else { text }
}

fn clock(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned_datetime(zone.clone()).strftime("%H:%M:%S").to_string()
}

fn words(event: &Event, palette: Palette) -> Option<String> {
    let at =
        |stage: &str, node: &Option<String>| format!("[{} {stage}]", node.as_deref().unwrap_or("cluster"));
    Some(match event {
        Event::RunStarted { run, command, nodes, .. } => {
            format!("run {run} started: {command}, {}", count(*nodes, "node"))
        }
        Event::PhaseFinished { phase, detail, seconds } => {
            format!("{phase}: {} in {}", sanitize::line(detail), duration(*seconds))
        }
        Event::NodeUnreachable { node, reason } => {
            palette.bad(&format!("[{node}] not reached: {}", sanitize::line(reason)))
        }
        Event::StepStarted { stage, node } => format!("{} started", at(stage, node)),
        Event::OpStarted { stage, node, summary, .. } => {
            format!("{}   {}", at(stage, node), sanitize::line(summary))
        }
        Event::OpFinished { stage, node, op, outcome, seconds } => {
            let line = format!(
                "{}   {} {} in {}",
                at(stage, node),
                sanitize::line(op),
                word(*outcome),
                duration(*seconds)
            );
            if *outcome == Outcome::Failed { palette.bad(&line) } else { palette.dim(&line) }
        }
        Event::StepWaiting { stage, node, waiting_for, reason } => {
            format!(
                "{}   waits for {}: {}",
                at(stage, node),
                sanitize::line(waiting_for),
                sanitize::line(reason)
            )
        }
        Event::StepLog { stage, node, text } => format!("{} | {}", at(stage, node), sanitize::line(text)),
        Event::StepFinished { stage, node, outcome, seconds } => {
            let line = format!("{} {} in {}", at(stage, node), word(*outcome), duration(*seconds));
            match outcome {
                Outcome::Failed => palette.bad(&line),
                Outcome::NotStarted => palette.change(&line),
                _ => palette.good(&line),
            }
        }
        Event::Diagnostic { severity, code, node, message, .. } => {
            let place = node.as_ref().map(|node| format!("[{node}] ")).unwrap_or_default();
            let line = format!("{place}{code}: {}", sanitize::line(message));
            if *severity == Severity::Error { palette.bad(&line) } else { palette.change(&line) }
        }
        Event::RunFinished { exit_code, seconds, .. } => {
            format!("run ended: exit code {exit_code} after {}", duration(*seconds))
        }
        Event::Version { .. }
        | Event::PhaseStarted { .. }
        | Event::PlanStep { .. }
        | Event::StepProgress { .. } => return None,
    })
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Changed => "changed",
        Outcome::Unchanged => "up to date",
        Outcome::Failed => "FAILED",
        Outcome::NotStarted => "not started",
    }
}

/// A bar for each step: where in the run it was and how long it took.
pub fn timings(events: &[Stamped], width: usize, symbols: Symbols, palette: Palette) -> String {
    let steps = timings::steps(events);
    let end = steps.iter().map(|step| step.start + step.seconds).fold(0.0, f64::max);
    if steps.is_empty() || end <= 0.0 {
        return "No step began.\n".to_owned();
    }
    let node = |step: &timings::StepTime| step.node.clone().unwrap_or_else(|| "cluster".to_owned());
    let stages = steps.iter().map(|step| step.stage.len()).max().unwrap_or(0);
    let nodes = steps.iter().map(|step| node(step).len()).max().unwrap_or(0);
    let room = width.saturating_sub(stages + nodes + 14).clamp(10, 100);
    let scale = room as f64 / end;
    let mut text = String::new();
    for step in &steps {
        let before = ((step.start * scale) as usize).min(room - 1);
        let long = ((step.seconds * scale).round() as usize).clamp(1, room - before);
        let bar = symbols.bar.repeat(long);
        let bar = match step.outcome {
            Some(Outcome::Failed) => palette.bad(&bar),
            None => palette.change(&bar),
            Some(_) => palette.good(&bar),
        };
        let bar = pad(&format!("{}{bar}", " ".repeat(before)), room);
        let note = match step.outcome {
            Some(Outcome::Failed) => format!(" {}", symbols.failed),
            None => " did not end".to_owned(),
            Some(_) => String::new(),
        };
        let (stage, node) = (pad(&step.stage, stages), pad(&node(step), nodes));
        let _ = writeln!(text, "{stage}  {node}  {bar}  {:>8}{note}", duration(step.seconds));
    }
    let _ = writeln!(text, "\n{} from the first step to the last", duration(end));
    text
}

#[cfg(test)]
mod tests;
