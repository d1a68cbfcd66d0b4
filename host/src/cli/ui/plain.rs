//! One line a change of state, for logs and CI. Nothing is ever rewritten; a heartbeat says what takes long.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::board::{Board, OTHERS};
use super::sanitize;
use super::style::Palette;
use super::text::{count, duration, pad};
use crate::diagnostic::Severity;
use crate::event::{Event, Outcome, Stamped};

/// Seconds between two words about the same running step.
pub const HEARTBEAT_SECONDS: f64 = 10.0;

/// Turns events into lines.
pub struct Plain {
    board: Board,
    changes: BTreeMap<(String, Option<String>), u32>,
    widths: (usize, usize),
    zone: TimeZone,
    verbosity: i8,
    palette: Palette,
}

impl Plain {
    /// Times are shown in this zone; `verbosity` 1 adds ops, 2 adds output.
    pub fn new(zone: TimeZone, verbosity: i8, palette: Palette) -> Self {
        Self { board: Board::default(), changes: BTreeMap::new(), widths: (0, 0), zone, verbosity, palette }
    }

    /// The line for an event, when it deserves one.
    pub fn line(&mut self, stamped: &Stamped) -> Option<String> {
        self.board.apply(stamped);
        let words = match &stamped.event {
            Event::RunStarted { run, cluster, nodes, .. } => {
                format!("run {run} started on cluster {cluster}: {}", count(*nodes, "node"))
            }
            Event::PhaseFinished { phase, detail, seconds } => {
                let detail = sanitize::line(detail);
                format!(
                    "{phase}: {detail}{}in {}",
                    if detail.is_empty() { "" } else { " " },
                    duration(*seconds)
                )
            }
            Event::NodeUnreachable { node, reason } => {
                let reason = sanitize::line(reason);
                format!("[{node}] {}", self.palette.bad(&format!("not reached, left out: {reason}")))
            }
            Event::PlanStep { stage, node, changes } => {
                let (nodes, stages) = &mut self.widths;
                *nodes = (*nodes).max(node.as_deref().map_or(0, str::len));
                *stages = (*stages).max(stage.len());
                self.changes.insert((stage.clone(), node.clone()), *changes);
                return None;
            }
            Event::StepStarted { stage, node } if self.verbosity > 0 => {
                format!("{} started", self.prefix(node, stage))
            }
            Event::OpStarted { stage, node, summary, .. } if self.verbosity > 0 => {
                format!("{}   {}", self.prefix(node, stage), sanitize::line(summary))
            }
            Event::OpFinished { stage, node, op, outcome: Outcome::Failed, seconds } => {
                let words = format!("failed  {} after {}", sanitize::line(op), duration(*seconds));
                format!("{} {}", self.prefix(node, stage), self.palette.bad(&words))
            }
            Event::StepLog { stage, node, text } if self.verbosity > 1 => {
                format!("{} | {}", self.prefix(node, stage), sanitize::line(text))
            }
            Event::StepFinished { stage, node, outcome, seconds } => {
                self.finished(stage, node, *outcome, *seconds)?
            }
            Event::Diagnostic {
                severity: severity @ (Severity::Warning | Severity::Error),
                node,
                stage,
                message,
                ..
            } => {
                let word = if *severity == Severity::Error {
                    self.palette.bad("error")
                } else {
                    self.palette.change("warning")
                };
                let place =
                    [node.as_deref(), stage.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(" ");
                let place = if place.is_empty() { String::new() } else { format!("[{place}] ") };
                format!("{place}{word}: {}", sanitize::line(message))
            }
            _ => return None,
        };
        Some(format!("{} {words}", self.clock(stamped.time)))
    }

    /// Lines about steps that have been running for a while, called every [`HEARTBEAT_SECONDS`].
    pub fn heartbeat(&self, now: Timestamp) -> Vec<String> {
        let slow = |since: Timestamp| now.duration_since(since).as_secs_f64() >= HEARTBEAT_SECONDS;
        // What only waits for another step is not what a reader waits for.
        let running =
            self.board.running().filter(|(_, _, since, activity)| slow(*since) && *activity != OTHERS);
        let line = |(stage, node, since, activity): (&str, Option<&str>, Timestamp, &str)| {
            let age = now.duration_since(since).as_secs_f64();
            let activity = if activity.is_empty() { String::new() } else { format!(": {activity}") };
            let prefix = self.prefix(&node.map(str::to_owned), stage);
            format!("{} {prefix} still running{activity} ({})", self.clock(now), duration(age))
        };
        running.map(line).collect()
    }

    fn finished(&self, stage: &str, node: &Option<String>, outcome: Outcome, seconds: f64) -> Option<String> {
        let items = self.changes.get(&(stage.to_owned(), node.clone())).copied().unwrap_or(0);
        let words = match outcome {
            Outcome::Changed => self.palette.good(&pad(&format!("changed  {}", count(items, "item")), 28)),
            Outcome::Unchanged if self.verbosity > 0 => pad("up to date", 28),
            Outcome::Unchanged => return None,
            Outcome::Failed => self.palette.bad(&pad("FAILED", 28)),
            Outcome::NotStarted => self.palette.change("not started"),
        };
        let time =
            if outcome == Outcome::NotStarted { String::new() } else { format!(" {}", duration(seconds)) };
        Some(format!("{} {words}{time}", self.prefix(node, stage)))
    }

    fn prefix(&self, node: &Option<String>, stage: &str) -> String {
        let node = node.as_deref().unwrap_or("-");
        format!("[{} {}]", pad(node, self.widths.0), pad(stage, self.widths.1))
    }

    fn clock(&self, time: Timestamp) -> String {
        time.to_zoned_datetime(self.zone.clone()).strftime("%H:%M:%S").to_string()
    }
}

#[cfg(test)]
mod tests;
