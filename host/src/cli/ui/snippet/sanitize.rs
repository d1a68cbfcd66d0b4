//! Makes text from outside harmless for a terminal: no control sequences, nothing invisible, no reordering.

use std::fmt::Write as _;

/// The text with everything escaped that a terminal would act on or that hides: control characters (ANSI sequences begin
/// with one), bidirectional overrides, invisible characters. Line breaks stay; a tab becomes blanks.
pub fn sanitize(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\n' => safe.push('\n'),
            '\r' if characters.peek() == Some(&'\n') => {}
            '\t' => safe.push_str("    "),
            _ => push(&mut safe, character),
        }
    }
    safe
}

/// Appends a character, escaped when it must not reach a terminal.
pub(super) fn push(safe: &mut String, character: char) {
    if is_harmful(character) {
        // Writing into a string cannot fail.
        let _ = write!(safe, "\\u{{{:x}}}", u32::from(character));
    } else {
        safe.push(character);
    }
}

fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::sanitize;

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_act_on() {
        assert_eq!(sanitize("\u{1b}[31mred\u{1b}[0m\u{7}"), "\\u{1b}[31mred\\u{1b}[0m\\u{7}");
        assert_eq!(sanitize("a\u{202e}b\u{2066}c\u{200b}d\u{9b}"), "a\\u{202e}b\\u{2066}c\\u{200b}d\\u{9b}");
        assert_eq!(sanitize("a\r\nb\tc\rd"), "a\nb    c\\u{d}d");
        assert_eq!(sanitize("größe ✓ 漢字"), "größe ✓ 漢字");
    }
}
