//! The raw events on standard output, one JSON object a line. A reader that went away ends the stream, not the run.

use std::io::{self, Write as _};

use crate::event::{Sink, Stamped};

/// Writes events to standard output.
pub struct Ndjson;

impl Sink for Ndjson {
    fn accept(&self, stamped: &Stamped, _durable: bool) -> io::Result<()> {
        let mut line = serde_json::to_vec(stamped)?;
        line.push(b'\n');
        let mut out = io::stdout().lock();
        let _ = out.write_all(&line).and_then(|()| out.flush());
        Ok(())
    }
}
