//! Framing: finds where a script's output ends in a stream that carries many.
//!
//! The shell prints a *mark* after each script: SOH, a random nonce that only this connection knows, a number, a text, a newline.
//! SOH starts it so that ordinary output is never held back while waiting for the rest of a mark.

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use super::OUTPUT_LIMIT;

/// A line that never ends is handed on in pieces of this size.
const LINE_LIMIT: usize = 64 << 10;

/// Unguessable for whoever prints into the stream.
#[derive(Debug, Clone)]
pub(crate) struct Nonce(String);

impl Nonce {
    /// 128 random bits.
    pub fn new() -> Self {
        Self(hex::encode(rand::random::<[u8; 16]>()))
    }

    /// Shell words that print the mark with this number and text: a `printf` command without redirection.
    pub fn print(&self, number: u64, text: &str) -> String {
        format!("printf '\\001{}:{number}:%s\\n' {text}", self.0)
    }

    /// What a mark looks like up to its text.
    pub fn mark(&self, number: u64) -> Vec<u8> {
        format!("\x01{}:{number}:", self.0).into_bytes()
    }

    /// Hexadecimal.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Collects one stream up to its mark.
pub(crate) struct Collector {
    mark: Vec<u8>,
    held: Vec<u8>,
    kept: Vec<u8>,
    limit: usize,
    truncated: bool,
    text: Option<String>,
    lines: Option<Lines>,
}

impl Collector {
    /// Waits for the mark; sends lines on while it does.
    pub fn new(mark: Vec<u8>, lines: Option<UnboundedSender<String>>) -> Self {
        Self {
            mark,
            held: Vec::new(),
            kept: Vec::new(),
            limit: OUTPUT_LIMIT,
            truncated: false,
            text: None,
            lines: lines.map(Lines::new),
        }
    }

    /// Takes the next bytes. Those after the mark belong to nobody and are dropped.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.text.is_some() {
            return;
        }
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut rest = held.as_slice();
        while let Some(at) = rest.iter().position(|byte| *byte == 1) {
            let (before, from) = rest.split_at(at);
            self.release(before);
            rest = from;
            if let Some(after) = rest.strip_prefix(self.mark.as_slice()) {
                if let Some(end) = after.iter().position(|byte| *byte == b'\n') {
                    self.text = Some(String::from_utf8_lossy(&after[..end]).into_owned());
                    if let Some(lines) = &mut self.lines {
                        lines.end();
                    }
                    return;
                }
                self.held = rest.to_vec();
                return;
            }
            if self.mark.starts_with(rest) {
                self.held = rest.to_vec();
                return;
            }
            self.release(&rest[..1]);
            rest = &rest[1..];
        }
        self.release(rest);
    }

    /// The mark's text, once it has come.
    pub fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// What came before the mark, and whether some of it was dropped.
    pub fn finish(self) -> (Bytes, bool) {
        (self.kept.into(), self.truncated)
    }

    /// What has come so far.
    pub fn so_far(&self) -> &[u8] {
        &self.kept
    }

    fn release(&mut self, bytes: &[u8]) {
        keep(&mut self.kept, bytes, self.limit, &mut self.truncated);
        if let Some(lines) = &mut self.lines {
            lines.push(bytes);
        }
    }
}

/// Appends up to the limit.
pub(crate) fn keep(kept: &mut Vec<u8>, bytes: &[u8], limit: usize, truncated: &mut bool) {
    let room = limit - kept.len().min(limit);
    *truncated |= bytes.len() > room;
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Cuts a stream into lines for those who watch.
pub(crate) struct Lines {
    sender: UnboundedSender<String>,
    line: Vec<u8>,
}

impl Lines {
    pub fn new(sender: UnboundedSender<String>) -> Self {
        Self { sender, line: Vec::new() }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.line.len() >= LINE_LIMIT {
                self.send();
            }
        }
    }

    /// Sends what has no newline at its end.
    pub fn end(&mut self) {
        if !self.line.is_empty() {
            self.send();
        }
    }

    fn send(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line))
            .trim_end_matches(['\n', '\r'])
            .to_owned();
        // Nobody may be watching any more.
        let _ = self.sender.send(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(stream: &[u8], piece: usize, nonce: &Nonce) -> Collector {
        let mut collector = Collector::new(nonce.mark(7), None);
        for piece in stream.chunks(piece) {
            collector.push(piece);
        }
        collector
    }

    #[test]
    fn the_mark_is_found_however_the_stream_is_cut() {
        let nonce = Nonce::new();
        let mut payload = b"\x01 binary \x00\xff no newline".to_vec();
        payload.extend_from_slice(&nonce.mark(6));
        payload.extend_from_slice(&nonce.mark(7)[..20]);
        let mut stream = payload.clone();
        stream.extend_from_slice(&nonce.mark(7));
        stream.extend_from_slice(b"42\nstray output of somebody else");
        for piece in 1..stream.len() {
            let collector = collect(&stream, piece, &nonce);
            assert_eq!(collector.text(), Some("42"), "in pieces of {piece}");
            assert_eq!(collector.finish(), (payload.clone().into(), false));
        }
    }

    #[test]
    fn a_guessed_mark_is_output() {
        let nonce = Nonce::new();
        let mut stream = Nonce::new().mark(7);
        stream.extend_from_slice(b"0\n");
        let collector = collect(&stream, 5, &nonce);
        assert_eq!((collector.text(), collector.so_far()), (None, stream.as_slice()));
    }

    #[test]
    fn output_is_bounded() {
        let nonce = Nonce::new();
        let mut collector = Collector::new(nonce.mark(1), None);
        for _ in 0..9 {
            collector.push(&vec![b'x'; 1 << 20]);
        }
        collector.push(&nonce.mark(1));
        collector.push(b"0\n");
        assert_eq!(collector.text(), Some("0"));
        let (bytes, truncated) = collector.finish();
        assert_eq!((bytes.len(), truncated), (OUTPUT_LIMIT, true));
    }

    #[test]
    fn lines_come_as_soon_as_they_end_and_without_the_mark() {
        let nonce = Nonce::new();
        let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
        let mut collector = Collector::new(nonce.mark(1), Some(sender));
        collector.push(b"one\ntw");
        assert_eq!(lines.try_recv().unwrap(), "one");
        assert!(lines.try_recv().is_err());
        collector.push(b"o\n\nend");
        collector.push(&nonce.mark(1));
        collector.push(b"0\n");
        let rest: Vec<String> = std::iter::from_fn(|| lines.try_recv().ok()).collect();
        assert_eq!(rest, ["two", "", "end"]);
    }

    #[test]
    fn a_line_without_end_is_handed_on_in_pieces() {
        let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
        let mut lines = Lines::new(sender);
        for _ in 0..3 {
            lines.push(&vec![b'x'; LINE_LIMIT]);
        }
        assert_eq!(received.try_recv().unwrap().len(), LINE_LIMIT);
    }
}
