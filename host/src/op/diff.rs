//! Differences as people read them: lines, each with its sign in front.

use similar::{ChangeTag, TextDiff};

/// Longer differences are cut: nobody reads them in a terminal.
const MOST_LINES: usize = 400;

/// What stands for content that must not be shown.
pub const SENSITIVE: &str = "(sensitive)";

/// The text of a file, when it is one.
pub fn as_text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// A unified diff with three lines of context; ` ...` stands between its parts.
pub fn unified(old: &str, new: &str) -> Vec<String> {
    let diff = TextDiff::from_lines(old, new);
    let mut lines = Vec::new();
    for (nth, group) in diff.grouped_ops(3).iter().enumerate() {
        if nth > 0 {
            lines.push(" ...".to_owned());
        }
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            let end = if change.missing_newline() { " (no newline at the end)" } else { "" };
            lines.push(format!("{sign}{}{end}", printable(change.value().trim_end_matches('\n'))));
        }
    }
    cut(lines)
}

/// All lines of something new.
pub fn added(text: &str) -> Vec<String> {
    cut(text.lines().map(|line| format!("+{}", printable(line))).collect())
}

/// Content that cannot be shown as lines.
pub fn binary(sign: char, bytes: u64, sha256: &str) -> String {
    format!("{sign}({bytes} bytes, sha256:{sha256})")
}

fn cut(mut lines: Vec<String>) -> Vec<String> {
    if lines.len() > MOST_LINES {
        let rest = lines.len() - MOST_LINES;
        lines.truncate(MOST_LINES);
        lines.push(format!(" ... {rest} more lines"));
    }
    lines
}

/// What comes from a node must not move the cursor or change colours.
fn printable(line: &str) -> String {
    line.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_signs_context_and_gaps() {
        let old: String = (1..=30).map(|n| format!("line {n}\n")).collect();
        let new = old.replace("line 2\n", "line two\n").replace("line 29\n", "line 29\nand more\n");
        insta::assert_snapshot!(unified(&old, &new).join("\n"), @r"
         line 1
        -line 2
        +line two
         line 3
         line 4
         line 5
         ...
         line 27
         line 28
         line 29
        +and more
         line 30
        ");
    }

    #[test]
    fn escapes_of_a_terminal_do_not_pass() {
        assert_eq!(added("a\u{1b}[31mb\n"), ["+a\u{fffd}[31mb"]);
        assert!(unified("same\n", "same\n").is_empty());
    }

    #[test]
    fn a_long_diff_is_cut() {
        let lines = added(&"x\n".repeat(1000));
        assert_eq!((lines.len(), lines[400].as_str()), (401, " ... 600 more lines"));
    }
}
