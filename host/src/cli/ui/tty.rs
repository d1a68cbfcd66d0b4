//! Live rows on a terminal: a thread redraws at most ten times a second, first after a quarter of a second.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;

use super::board::Board;
use super::rows::{Frame, rows};
use super::style::{Palette, Symbols};
use super::{sanitize, text};
use crate::event::{Event, Sink, Stamped};

/// Between two drawings.
const REDRAW: Duration = Duration::from_millis(100);

/// What takes less is not worth a flicker.
const FIRST_DRAW: Duration = Duration::from_millis(250);

const FOOTER: &str = "Ctrl-C: finish running steps, then stop";

/// Live rows; clones draw the same.
#[derive(Clone)]
pub struct Tty(Arc<Mutex<Screen>>);

struct Screen {
    board: Board,
    bar: Option<ProgressBar>,
    shown: bool,
    footer: String,
    palette: Palette,
    symbols: Symbols,
}

/// Ends the drawing thread and leaves a clean line when dropped.
pub struct Drawing {
    tty: Tty,
    stop: std::sync::mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Tty {
    /// Starts the drawing thread.
    pub fn start(palette: Palette, symbols: Symbols) -> (Self, Drawing) {
        let screen = Screen {
            board: Board::default(),
            bar: None,
            shown: true,
            footer: FOOTER.to_owned(),
            palette,
            symbols,
        };
        let tty = Self(Arc::new(Mutex::new(screen)));
        let (stop, stopped) = std::sync::mpsc::channel();
        let drawn = tty.clone();
        let thread = std::thread::spawn(move || {
            let mut pause = FIRST_DRAW;
            while stopped.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                drawn.screen().draw();
                pause = REDRAW;
            }
        });
        (tty.clone(), Drawing { tty, stop, thread: Some(thread) })
    }

    /// Takes the rows away, as long as something else is printed or asked.
    pub fn hide(&self) {
        let mut screen = self.screen();
        screen.shown = false;
        screen.clear();
    }

    /// Lets them come back.
    pub fn show(&self) {
        self.screen().shown = true;
    }

    /// Prints a line above the rows.
    pub fn above(&self, line: &str) {
        self.screen().above(line);
    }

    /// Replaces the last row.
    pub fn footer(&self, line: &str) {
        self.screen().footer = line.to_owned();
    }

    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Screen {
    fn draw(&mut self) {
        let (height, width) = console::Term::stderr().size();
        let frame = Frame {
            width: usize::from(width).max(20),
            height: usize::from(height).max(6),
            palette: self.palette,
            symbols: self.symbols,
        };
        let rows =
            if self.shown { rows(&self.board, Timestamp::now(), &frame, &self.footer) } else { Vec::new() };
        if rows.is_empty() {
            return self.clear();
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(20));
            bar.set_style(
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        });
        bar.set_message(rows.join("\n"));
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn above(&mut self, line: &str) {
        // What is drawn again below the line must not be what the line has just ended.
        if self.bar.is_some() {
            self.draw();
        }
        match &self.bar {
            Some(bar) => bar.suspend(|| super::error_line(line)),
            None => super::error_line(line),
        }
    }
}

impl Sink for Tty {
    fn accept(&self, stamped: &Stamped, _durable: bool) -> io::Result<()> {
        let mut screen = self.screen();
        screen.board.apply(stamped);
        match &stamped.event {
            Event::PhaseFinished { phase, detail, seconds } => {
                let dots = ".".repeat(28_usize.saturating_sub(phase.len()));
                let time = text::duration(*seconds);
                let line =
                    format!("{phase} {} {} in {time}", screen.palette.dim(&dots), sanitize::line(detail));
                screen.above(&line);
            }
            Event::NodeUnreachable { node, reason } => {
                let line = screen.palette.bad(&format!(
                    "{} {node}  {}",
                    screen.symbols.failed,
                    sanitize::line(reason)
                ));
                screen.above(&line);
            }
            Event::RunFinished { .. } => screen.clear(),
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Drawing {
    fn drop(&mut self) {
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        self.tty.screen().clear();
    }
}
