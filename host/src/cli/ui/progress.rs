//! Which of the four ways of showing progress is used, and the switch between showing and asking.

use std::io;
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::plain::{HEARTBEAT_SECONDS, Plain};
use super::tty::{Drawing, Tty};
use super::{Ui, error_line};
use crate::event::{Sink, Stamped};

/// How progress is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Rows on a terminal, lines elsewhere.
    #[default]
    Auto,
    /// Live rows; needs a terminal.
    Tty,
    /// One line a change of state.
    Plain,
    /// Nothing but the result.
    Quiet,
}

/// The way that was chosen, running.
pub enum Progress {
    /// Live rows.
    Tty(Tty, Drawing),
    /// Lines, with a heartbeat that ends when this is dropped.
    Plain(Arc<Mutex<Plain>>, mpsc::Sender<()>),
    /// Nothing.
    Quiet,
}

impl Progress {
    /// Starts what was chosen; `Auto` must have been resolved before.
    pub fn start(mode: Mode, ui: &Ui) -> Self {
        match mode {
            Mode::Tty => {
                let (tty, drawing) = Tty::start(ui.err_palette, ui.symbols);
                Self::Tty(tty, drawing)
            }
            Mode::Plain | Mode::Auto => {
                let plain =
                    Arc::new(Mutex::new(Plain::new(TimeZone::system(), ui.verbosity, ui.err_palette)));
                let (stop, stopped) = mpsc::channel::<()>();
                let beating = plain.clone();
                std::thread::spawn(move || {
                    let pause = Duration::from_secs_f64(HEARTBEAT_SECONDS);
                    while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                        let plain = beating.lock().unwrap_or_else(PoisonError::into_inner);
                        plain.heartbeat(Timestamp::now()).iter().for_each(|line| error_line(line));
                    }
                });
                Self::Plain(plain, stop)
            }
            Mode::Quiet => Self::Quiet,
        }
    }

    /// What takes the events.
    pub fn sink(&self) -> Option<Box<dyn Sink>> {
        match self {
            Self::Tty(tty, _) => Some(Box::new(tty.clone())),
            Self::Plain(plain, _) => Some(Box::new(Lines(plain.clone()))),
            Self::Quiet => None,
        }
    }

    /// Takes rows away while something is printed or asked.
    pub fn hide(&self) {
        if let Self::Tty(tty, _) = self {
            tty.hide();
        }
    }

    /// Lets them come back.
    pub fn show(&self) {
        if let Self::Tty(tty, _) = self {
            tty.show();
        }
    }

    /// Says something that must be seen now, beside the rows: `footer` stays, where there is one.
    pub fn announce(&self, line: &str) {
        match self {
            Self::Tty(tty, _) => {
                tty.above(line);
                tty.footer("");
            }
            Self::Plain(..) | Self::Quiet => error_line(line),
        }
    }
}

/// Lines on standard error.
struct Lines(Arc<Mutex<Plain>>);

impl Sink for Lines {
    fn accept(&self, stamped: &Stamped, _durable: bool) -> io::Result<()> {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner).line(stamped);
        line.iter().for_each(|line| error_line(line));
        Ok(())
    }
}
