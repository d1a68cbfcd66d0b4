//! Reading a journal back. A run that was killed leaves a torn last record; a newer ksp leaves events this one does not know.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use crate::event::Stamped;

/// The longest line that is looked at: an event is a few kilobytes.
const LINE_LIMIT: usize = 1 << 20;

/// What a journal holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replay {
    /// In the order of writing.
    pub events: Vec<Stamped>,
    /// Lines that are not events of this version.
    pub skipped: usize,
}

/// Reads a journal.
///
/// # Errors
/// The file cannot be read. Lines that make no sense are counted, not errors.
pub fn read(path: &Path) -> io::Result<Replay> {
    let mut replay = Replay::default();
    for_each_line(path, |line| match serde_json::from_slice(line) {
        Ok(event) => replay.events.push(event),
        Err(_) => replay.skipped += 1,
    })?;
    Ok(replay)
}

/// The first event that is wanted, without reading further.
///
/// # Errors
/// The file cannot be read.
pub fn read_until(path: &Path, wanted: impl Fn(&Stamped) -> bool) -> io::Result<Option<Stamped>> {
    let mut found = None;
    visit(path, |line| {
        found = serde_json::from_slice::<Stamped>(line).ok().filter(|stamped| wanted(stamped));
        found.is_none()
    })?;
    Ok(found)
}

/// Hands over each line of a journal, raw; a torn last line is left out.
///
/// # Errors
/// The file cannot be read.
pub fn for_each_line(path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    visit(path, |line| {
        take(line);
        true
    })
}

/// Goes on as long as `take` says so.
fn visit(path: &Path, mut take: impl FnMut(&[u8]) -> bool) -> io::Result<()> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 || line.last() != Some(&b'\n') {
            return Ok(());
        }
        line.pop();
        if !line.is_empty() && line.len() <= LINE_LIMIT && !take(&line) {
            return Ok(());
        }
    }
}
