//! The table at the end.

#![expect(clippy::print_stdout, reason = "the table is this command's result")]

use std::time::Duration;

/// Rows as they come.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
}

impl Table {
    /// A figure that has no target.
    pub fn plain(&mut self, what: &str, figure: impl Into<String>) {
        self.push(what, figure.into(), "", None);
    }

    /// A time that should be shorter than the target.
    pub fn below(&mut self, what: &str, figure: Duration, target: Duration) {
        self.push(what, time(figure), &format!("< {}", time(target)), Some(figure < target));
    }

    /// A ratio that should be at most the target.
    pub fn ratio(&mut self, what: &str, ratio: f64, target: f64, note: &str) {
        self.push(what, format!("{ratio:.2}"), &format!("<= {target}{note}"), Some(ratio <= target));
    }

    /// Something of which there should be none; the first few are named.
    pub fn nothing(&mut self, what: &str, found: &[String]) {
        self.push(what, found.len().to_string(), "0", Some(found.is_empty()));
        for one in found.iter().take(10) {
            self.plain("", one.as_str());
        }
    }

    /// What could not be measured, and why.
    pub fn missing(&mut self, what: &str, why: &str) {
        self.push(what, format!("not measured: {why}"), "", None);
    }

    /// Writes it to standard output; nothing when there are no rows.
    pub fn print(&self) {
        print!("{}", self.render());
    }

    fn push(&mut self, what: &str, figure: String, target: &str, met: Option<bool>) {
        let verdict = met.map_or("", |met| if met { "met" } else { "MISSED" });
        self.rows.push([what.to_owned(), figure, target.to_owned(), verdict.to_owned()]);
    }

    fn render(&self) -> String {
        let width = |column: usize| {
            let lengths = self.rows.iter().filter(|row| column == 0 || !row[2].is_empty());
            lengths.map(|row| row[column].chars().count()).max().unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2)];
        let line = |row: &[String; 4]| {
            let [what, figure, target, verdict] = row;
            let text =
                format!("{what:0$}  {figure:1$}  {target:2$}  {verdict}", widths[0], widths[1], widths[2]);
            format!("{}\n", text.trim_end())
        };
        self.rows.iter().map(line).collect()
    }
}

/// A duration in the unit that shows it best.
pub fn time(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 1.0 { format!("{:.1} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let mut table = Table::default();
        table.below("fast", Duration::from_millis(12), Duration::from_millis(20));
        table.ratio("against it", 1.25, 1.1, "");
        table.missing("other", "the compiler is gone and nobody knows where to");
        assert_eq!(
            table.render(),
            "fast        12.0 ms  < 20.0 ms  met\nagainst it  1.25     <= 1.1     MISSED\n\
             other       not measured: the compiler is gone and nobody knows where to\n"
        );
    }

    #[test]
    fn what_should_not_be_is_named() {
        let mut table = Table::default();
        table.nothing("files", &["w1 /etc/x".to_owned()]);
        assert!(table.render().contains("MISSED\n") && table.render().contains("w1 /etc/x"));
    }
}
