//! How far the node's clock is from the workstation's, without the time that the question took.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::sheet::Sheet;

/// Runs first and last, so that the time the node spent between is known.
pub(crate) const SCRIPT: &str = "date +%s.%N;[ -e /run/systemd/timesync/synchronized ] && echo synchronized;chronyc -n waitsync 1 0 0 0 >/dev/null && echo synchronized;:";

/// Measures a round trip.
pub(crate) struct Watch(SystemTime, Instant);

/// A round trip.
pub(crate) struct Watched {
    /// When the question was sent, as time since 1970.
    pub asked: Duration,
    /// Until the answer was here.
    pub took: Duration,
}

impl Watch {
    pub fn start() -> Self {
        Self(SystemTime::now(), Instant::now())
    }

    pub fn stop(self) -> Watched {
        Watched { asked: self.0.duration_since(UNIX_EPOCH).unwrap_or_default(), took: self.1.elapsed() }
    }
}

/// The node read its clock half a round trip after it was asked.
pub(crate) fn read(watched: &Watched, first: &str, last: &str, sheet: &mut Sheet) {
    if first.contains("synchronized") {
        sheet.set("time.synchronized", true);
    }
    let (Some(first), Some(last)) = (clock(first), clock(last)) else { return };
    let travelled = watched.took.as_secs_f64() - (last - first).max(0.0);
    let expected = watched.asked.as_secs_f64() + travelled.max(0.0) / 2.0;
    sheet.set("time.offset-ms", ((first - expected) * 1000.0).round() as i64);
}

/// Seconds since 1970. A `date` without nanoseconds answers "1700000000.N" or the like.
fn clock(text: &str) -> Option<f64> {
    let line = text.lines().next()?;
    line.parse().ok().or_else(|| line.split('.').next()?.parse().ok())
}
