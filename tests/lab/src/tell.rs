//! What the lab says while it works: one line an event, with the seconds since it started.

#![expect(clippy::print_stderr, reason = "telling the person at the terminal is this module's purpose")]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static START: OnceLock<Instant> = OnceLock::new();

/// One line of progress.
pub fn say(line: impl std::fmt::Display) {
    let elapsed = START.get_or_init(Instant::now).elapsed().as_secs_f64();
    eprintln!("[{elapsed:7.1}s] {line}");
}

/// Says what begins, does it, and says how long it took.
pub fn timed<T>(what: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    say(format_args!("{what} …"));
    let start = Instant::now();
    let result = work()?;
    say(format_args!("{what}: done in {}", seconds(start.elapsed())));
    Ok(result)
}

/// A duration for people.
pub fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
