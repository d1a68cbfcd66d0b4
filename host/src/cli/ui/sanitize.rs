//! Text from nodes and plugins, made harmless: no escape sequences, no control characters, nothing that reverses what is read.

/// One harmless line: escape sequences dropped, line ends and tabs turned into spaces, other control characters dropped.
pub fn line(text: &str) -> String {
    clean(text, |character| match character {
        '\n' | '\r' | '\t' => Some(' '),
        _ => None,
    })
}

/// Several harmless lines: as [`line`], but line ends stay.
pub fn block(text: &str) -> String {
    clean(text, |character| match character {
        '\n' => Some('\n'),
        '\r' | '\t' => Some(' '),
        _ => None,
    })
}

fn clean(text: &str, control: impl Fn(char) -> Option<char>) -> String {
    let plain = console::strip_ansi_codes(text);
    plain
        .chars()
        .filter_map(|character| match character {
            character if character.is_control() => control(character),
            // Bidirectional overrides and isolates, invisible joiners of a forged name, the byte order mark.
            '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' => None,
            // Line and paragraph separators.
            '\u{2028}' | '\u{2029}' => Some(' '),
            character => Some(character),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_would_obey_is_left() {
        let hostile = "a\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7}b\r\nc\u{8}\u{202e}d\u{9b}2Je\u{0}";
        let safe = line(hostile);
        assert!(safe.chars().all(|character| !character.is_control()), "{safe:?}");
        assert!(!safe.contains('\u{202e}') && safe.starts_with("ared"));
        assert_eq!(block("one\ntwo\u{1b}[2J\n"), "one\ntwo\n");
        assert_eq!(line("µ ✓ 漢字"), "µ ✓ 漢字");
    }
}
