//! Numbers, durations and columns as people read them.

use std::fmt::Write as _;

use console::measure_text_width;

/// "0.4s", "11.8s", "1m 42s", "2h 05m".
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 if seconds < 59.95 => format!("{:.1}s", seconds.max(0.0)),
        0..3600 => format!("{}m {:02}s", whole / 60, whole % 60),
        _ => format!("{}h {:02}m", whole / 3600, whole % 3600 / 60),
    }
}

/// "3s", "4m", "2h", "5d": an age, as coarse as people say it.
pub fn age(seconds: f64) -> String {
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..120 => format!("{whole}s"),
        120..7200 => format!("{}m", whole / 60),
        7200..172_800 => format!("{}h", whole / 3600),
        _ => format!("{}d", whole / 86_400),
    }
}

/// "1 step", "34 steps".
pub fn count(number: impl Into<u64>, noun: &str) -> String {
    let number = number.into();
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// "41.0 / 72.6 MiB" for bytes, "3 / 7 unit" for anything else.
pub fn progress(done: u64, total: u64, unit: &str) -> String {
    const MIB: f64 = 1_048_576.0;
    match (unit, total) {
        ("bytes", 0) => format!("{:.1} MiB", done as f64 / MIB),
        ("bytes", _) => format!("{:.1} / {:.1} MiB", done as f64 / MIB, total as f64 / MIB),
        (_, 0) => format!("{done} {unit}"),
        _ => format!("{done} / {total} {unit}"),
    }
}

/// The text with spaces up to a width; longer texts stay whole.
pub fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(measure_text_width(text));
    format!("{text}{}", " ".repeat(missing))
}

/// Text on the left, text at the right edge.
pub fn spread(left: &str, right: &str, width: usize) -> String {
    let room = width.saturating_sub(measure_text_width(left) + measure_text_width(right)).max(2);
    format!("{left}{}{right}", " ".repeat(room))
}

/// Rows of cells as columns, two spaces apart, without trailing spaces.
pub fn columns(rows: &[Vec<String>], indent: usize) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| measure_text_width(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = " ".repeat(indent);
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&pad(cell, width + 2));
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well_at_every_size() {
        let shown: Vec<String> = [0.04, 11.8, 59.97, 60.0, 102.4, 3599.0, 7500.0, -1.0].map(duration).into();
        assert_eq!(shown, ["0.0s", "11.8s", "1m 00s", "1m 00s", "1m 42s", "59m 59s", "2h 05m", "0.0s"]);
    }

    #[test]
    fn columns_are_aligned_whatever_their_colour() {
        let rows =
            vec![vec!["\u{1b}[32mgreen\u{1b}[0m".to_owned(), "x".into()], vec!["y".into(), "z".into()]];
        assert_eq!(console::strip_ansi_codes(&columns(&rows, 1)), " green  x\n y      z\n");
    }
}
