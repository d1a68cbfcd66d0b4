//! The only shell quoting: turns any text into one word of a POSIX shell.

/// Words that mean something to the shell where a command is expected.
const RESERVED: [&str; 15] = [
    "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until", "for", "in",
    "function", "select",
];

/// One POSIX word that stands for exactly `text`. Plain words stay as they are, so that commands remain readable.
///
/// NUL cannot be part of a word and is left out; refuse it where the text comes from.
pub fn quote(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for character in text.chars() {
        match character {
            '\'' => quoted.push_str("'\\''"),
            '\0' => {}
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

/// A command line that runs exactly this argv.
pub fn command(argv: &[String]) -> String {
    argv.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" ")
}

fn is_plain(text: &str) -> bool {
    // No `=`: `a=b` in front of a command is an assignment. No `~`: a leading one is somebody's home.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+:,./-".contains(&byte);
    !text.is_empty() && text.bytes().all(plain) && !RESERVED.contains(&text)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    /// Prints its arguments, each ended by NUL, as a real shell sees them.
    fn seen_by(shell: &[&str], line: &str) -> Vec<String> {
        let out = Command::new(shell[0]).args(&shell[1..]).arg("-c").arg(line).output().unwrap();
        assert!(out.status.success(), "{line}: {}", String::from_utf8_lossy(&out.stderr));
        let mut words: Vec<String> = out
            .stdout
            .split(|byte| *byte == 0)
            .map(|word| String::from_utf8(word.to_vec()).unwrap())
            .collect();
        assert_eq!(words.pop().as_deref(), Some(""));
        words
    }

    fn shells() -> Vec<Vec<&'static str>> {
        let all: [&[&str]; 3] = [&["/bin/sh"], &["/bin/bash"], &["/bin/busybox", "sh"]];
        all.iter()
            .filter(|shell| std::path::Path::new(shell[0]).exists())
            .map(|shell| shell.to_vec())
            .collect()
    }

    fn survives(words: &[String]) {
        let line = format!("printf '%s\\0' {}", command(words));
        for shell in shells() {
            assert_eq!(seen_by(&shell, &line), words, "{shell:?} {line:?}");
        }
    }

    #[test]
    fn hostile_words_survive_every_shell() {
        let words = [
            "",
            " ",
            "a b",
            "'",
            "''",
            "\"",
            "\\",
            "\\'",
            "$(id)",
            "`id`",
            "${HOME}",
            "!",
            "!!",
            "~",
            "~root",
            "*",
            "?",
            "[a]",
            "a=b",
            "-n",
            "--",
            "#",
            ";",
            "&&",
            "|",
            ">x",
            "<x",
            "(",
            ")",
            "{",
            "}",
            "\n",
            "a\nb\n",
            "\t",
            "\r\n",
            "é",
            "\u{202e}",
            "%s",
            "\\n",
            "if",
            "in",
            "\u{1b}[31m",
            "\x01",
            "'\\''",
            "a'b\"c$d`e\\f",
        ];
        survives(&words.map(str::to_owned));
    }

    #[test]
    fn any_text_without_nul_is_one_word() {
        let mut random = StdRng::seed_from_u64(1);
        let words: Vec<String> = (0..400)
            .map(|_| {
                let length = random.random_range(0..40);
                (0..length)
                    .map(|_| match random.random_range(0..4) {
                        0 => char::from(*b"'\"\\$`!\n ".get(random.random_range(0..8)).unwrap()),
                        1 => char::from_u32(random.random_range(1..0x800)).unwrap(),
                        _ => char::from(random.random_range(1..0x7f_u8)),
                    })
                    .collect()
            })
            .collect();
        survives(&words);
    }

    #[test]
    fn reserved_words_and_assignments_are_commands() {
        for word in ["if", "for", "A=b", "{"] {
            let out = Command::new("/bin/sh").args(["-c", &command(&[word.to_owned()])]).output().unwrap();
            assert_eq!(out.status.code(), Some(127), "{word} is looked up as a command");
        }
    }

    #[test]
    fn plain_words_stay_readable() {
        let argv = ["systemctl", "is-active", "a b", "/etc/x.conf"].map(str::to_owned);
        assert_eq!(command(&argv), "systemctl is-active 'a b' /etc/x.conf");
    }

    #[test]
    fn nul_is_left_out() {
        assert_eq!(quote("a\0b"), "'ab'");
    }
}
