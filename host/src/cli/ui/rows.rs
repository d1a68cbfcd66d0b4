//! The rows of a running command on a terminal: never more than fit, running ones never cut.

use jiff::Timestamp;

use super::board::{Board, Progress, Stage, StageState};
use super::style::{Palette, Symbols};
use super::text::{count, duration, pad, spread};
use crate::event::Outcome;

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    /// Columns.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// Colours.
    pub palette: Palette,
    /// Signs.
    pub symbols: Symbols,
}

/// The rows at this moment; empty when there is nothing to say.
pub fn rows(board: &Board, now: Timestamp, frame: &Frame, footer: &str) -> Vec<String> {
    if board.ended {
        return Vec::new();
    }
    let Some(began) = board.began else { return phases(board, now, frame) };
    let room = frame.height.saturating_sub(1).max(4);
    let mut rows = vec![header(board, now.duration_since(began).as_secs_f64(), frame)];
    // The header and the footer are always there; then what runs or failed, what is done, what waits, and output.
    let mut left = room - 2;
    let name_width = board.stages.iter().map(|stage| stage.name.len()).max().unwrap_or(0);
    let of = |state: StageState| board.stages.iter().filter(move |stage| stage.state() == state);
    let active: Vec<&Stage> = board
        .stages
        .iter()
        .filter(|it| matches!(it.state(), StageState::Running | StageState::Failed))
        .collect();
    let log = board.log.len().min(left.saturating_sub(active.len() + 2));
    let done: Vec<&Stage> = of(StageState::Done).collect();
    let waiting: Vec<&Stage> = of(StageState::Waiting).collect();
    left = left.saturating_sub(active.len() + log);
    let (done_rows, waiting_rows) = share(left, done.len(), waiting.len());

    if done_rows < done.len() {
        let hidden = done.len() - done_rows.saturating_sub(1);
        if done_rows > 0 {
            let line = format!(" {} {} done", frame.symbols.done, count(hidden as u64, "stage"));
            rows.push(frame.palette.good(&line));
        }
        rows.extend(done.iter().skip(hidden).map(|stage| row(stage, now, name_width, frame)));
    } else {
        rows.extend(done.iter().map(|stage| row(stage, now, name_width, frame)));
    }
    rows.extend(active.iter().take(room - 2).map(|stage| row(stage, now, name_width, frame)));
    let shown = if waiting_rows < waiting.len() { waiting_rows.saturating_sub(1) } else { waiting.len() };
    rows.extend(
        waiting
            .iter()
            .take(shown)
            .map(|stage| frame.palette.dim(&format!("   {}  waits", pad(&stage.name, name_width)))),
    );
    if shown < waiting.len() && waiting_rows > 0 {
        let more = waiting.len() - shown;
        let verb = if more == 1 { "waits" } else { "wait" };
        rows.push(frame.palette.dim(&format!(
            "   {} {verb}",
            count(more as u64, if shown == 0 { "stage" } else { "more stage" })
        )));
    }
    for (node, stage, text) in board.log.iter().skip(board.log.len() - log) {
        rows.push(frame.palette.dim(&cut(&format!("   {node} {stage} | {text}"), frame)));
    }
    rows.push(frame.palette.dim(&cut(footer, frame)));
    rows
}

/// How many rows each of two lists gets when there are not enough for both.
fn share(left: usize, done: usize, waiting: usize) -> (usize, usize) {
    if done + waiting <= left {
        return (done, waiting);
    }
    // What is done is dropped first.
    let waiting = waiting.min(3).min(left);
    (done.min(left - waiting), waiting)
}

fn phases(board: &Board, now: Timestamp, frame: &Frame) -> Vec<String> {
    let line = |(name, since): &(String, Timestamp)| {
        let age = duration(now.duration_since(*since).as_secs_f64());
        cut(&format!("[+] {name} {age}"), frame)
    };
    board.phases.iter().map(line).collect()
}

fn header(board: &Board, seconds: f64, frame: &Frame) -> String {
    let (ended, all) = board.counts();
    let running = board.running().count();
    let waiting = all.saturating_sub(ended + running);
    let title = frame.palette.strong(&board.title);
    let time = duration(seconds.floor());
    let time = time.strip_suffix(".0s").map_or(time.clone(), |whole| format!("{whole}s"));
    format!("[+] {title}  {time}  ({ended}/{all})  {running} running, {waiting} waiting")
}

fn row(stage: &Stage, now: Timestamp, name_width: usize, frame: &Frame) -> String {
    let state = stage.state();
    let sign = match state {
        StageState::Done => frame.palette.good(frame.symbols.done),
        StageState::Failed => frame.palette.bad(frame.symbols.failed),
        StageState::Running => frame.palette.change(">"),
        StageState::Waiting => " ".to_owned(),
    };
    let total = stage.steps.len();
    let amount = match (state, stage.steps.keys().all(Option::is_none)) {
        (_, true) => String::new(),
        (StageState::Done, _) => format!("{}/{}", stage.done(), count(total as u64, "node")),
        _ => format!("{}/{total}", stage.done()),
    };
    let left = format!(" {sign} {}  {amount}  {}", pad(&stage.name, name_width), activity(stage));
    let time = duration(stage.seconds(now));
    let room = frame.width.saturating_sub(time.len() + 2);
    let left = console::truncate_str(left.trim_end(), room, frame.symbols.ellipsis).into_owned();
    spread(&left, &time, frame.width.saturating_sub(1))
}

/// What the step that runs longest says of itself, and how many others there are; or who failed.
fn activity(stage: &Stage) -> String {
    let failed = stage.steps.iter().filter(|(_, step)| matches!(step, Progress::Ended(Outcome::Failed, _)));
    let failed: Vec<&str> = failed.map(|(node, _)| node.as_deref().unwrap_or("cluster")).collect();
    let mut running: Vec<(bool, Timestamp, &str, &str)> = stage
        .steps
        .iter()
        .filter_map(|(node, step)| match step {
            Progress::Running { since, activity } => {
                Some((activity.is_empty(), *since, node.as_deref().unwrap_or(""), activity.as_str()))
            }
            _ => None,
        })
        .collect();
    running.sort();
    let mut parts = Vec::new();
    if !failed.is_empty() {
        parts.push(format!("{} failed", failed.join(", ")));
    }
    if let Some((_, _, node, words)) = running.first() {
        let others =
            if running.len() > 1 { format!(" (and {} more)", running.len() - 1) } else { String::new() };
        parts.push(format!("{node}{others} {words}").trim().to_owned());
    }
    parts.join(", ")
}

fn cut(line: &str, frame: &Frame) -> String {
    console::truncate_str(line, frame.width.saturating_sub(1), frame.symbols.ellipsis).into_owned()
}

#[cfg(test)]
mod tests;
