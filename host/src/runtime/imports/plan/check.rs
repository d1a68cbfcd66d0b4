//! What cannot be right in an op, before any node is asked. Each function answers with phrases; none means fine.

use crate::kubernetes::wait::Wait;
use crate::plugin::capability::is_normal;

/// A day: no deadline of a plan is longer.
const LONGEST_MS: u32 = 24 * 60 * 60 * 1000;

/// Bytes of one argument.
const ARGUMENT_BYTES: usize = 128 << 10;

/// An absolute path that names one thing.
pub fn path(path: &str) -> Vec<String> {
    if is_normal(path) && path.len() < 4096 {
        return Vec::new();
    }
    vec![format!(
        "{path:?} is not an absolute path without `.`, `..`, `//`, a trailing slash or control characters"
    )]
}

/// A path inside an archive.
pub fn member(member: &str) -> Vec<String> {
    path(&format!("/{member}"))
}

/// A command.
pub fn argv(argv: &[String]) -> Vec<String> {
    let mut wrong = Vec::new();
    if argv.first().is_none_or(|program| program.is_empty()) {
        wrong.push("the command is empty".to_owned());
    }
    for word in argv {
        if word.contains(['\0', '\n', '\r']) {
            wrong.push(format!(
                "argument {:?} holds a line end or NUL; give such text as standard input",
                shortened(word)
            ));
        }
        if word.len() > ARGUMENT_BYTES {
            wrong.push(format!("an argument is longer than {} KiB", ARGUMENT_BYTES >> 10));
        }
    }
    wrong
}

/// One line of text.
pub fn text(what: &str, text: &str) -> Vec<String> {
    if text.chars().any(|c| c.is_control() && c != '\t') || text.len() > 4096 {
        return vec![format!("{what} {:?} holds control characters or is too long", shortened(text))];
    }
    Vec::new()
}

/// A name of letters, digits and some others, which cannot be taken for an option.
pub fn word(what: &str, word: &str, others: &str) -> Vec<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
    if !word.is_empty() && word.len() <= 512 && word.chars().all(good) && !word.starts_with('-') {
        return Vec::new();
    }
    vec![format!("{:?} is not the name of a {what}", shortened(word))]
}

/// A unit of systemd.
pub fn unit(unit: &str) -> Vec<String> {
    word("systemd unit", unit, ":_.\\@-")
}

/// "kind/name", "kind/*".
pub fn object(object: &str) -> Vec<String> {
    let parts: Vec<&str> = object.split('/').collect();
    let fine = parts.len() == 2
        && word("", parts[0], ".-").is_empty()
        && (parts[1] == "*" || word("", parts[1], ".-:").is_empty());
    if fine { Vec::new() } else { vec![format!("{:?} is not `kind/name`", shortened(object))] }
}

/// What can be waited for.
pub fn condition(condition: &str) -> Vec<String> {
    Wait::new("kind/name", "", condition).err().map(|error| error.message).into_iter().collect()
}

/// A time that ends.
pub fn duration(what: &str, ms: u32) -> Vec<String> {
    if (1..=LONGEST_MS).contains(&ms) {
        return Vec::new();
    }
    vec![format!("a {what} of {ms} ms is not between 1 ms and a day")]
}

/// A finding's dotted code.
pub fn code(code: &str) -> Option<String> {
    word("finding (dotted, such as `preflight.memory`)", code, ".-:").pop()
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_words_on_one_line() {
        assert!(argv(&["sh".into(), "-c".into(), "true".into()]).is_empty());
        assert!(!argv(&[]).is_empty());
        assert!(!argv(&[String::new()]).is_empty());
        assert!(!argv(&["a\0b".into()]).is_empty());
        assert!(!argv(&["echo".into(), "a\nb".into()]).is_empty());
    }

    #[test]
    fn names_cannot_be_options() {
        assert!(unit("systemd-fsck@dev-disk-by\\x2duuid.service").is_empty());
        for bad in ["", "--now", "a b", "a;b", "$(id)", "a/b"] {
            assert!(!unit(bad).is_empty(), "{bad}");
        }
    }

    #[test]
    fn objects_and_conditions_have_their_shape() {
        assert!(object("deployment/coredns").is_empty() && object("node/*").is_empty());
        assert!(!object("deployment").is_empty() && !object("a/b/c").is_empty());
        assert!(condition("condition=Ready").is_empty() && !condition("condition=").is_empty());
        assert!(!condition("ready").is_empty());
    }
}
