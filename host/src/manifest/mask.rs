//! Hides secrets in the text that findings quote. Byte positions stay as they are.

use std::ops::Range;

use super::tree::{Item, Node};

/// Last parts of keys whose string values are not shown.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "token",
    "secret",
    "credential",
    "credentials",
    "privatekey",
    "apikey",
    "secretkey",
    "accesskey",
    "encryptionkey",
];

/// True when a key by this name usually holds a secret: `password`, `registry-token`, `secretKey`.
pub fn sounds_secret(key: &str) -> bool {
    let plain: String = key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    SECRET_WORDS.iter().any(|word| plain.ends_with(word))
}

/// The text with every inline secret overwritten. Without a tree, because the text is no TOML, whole lines of `[secrets]` and
/// of keys that sound secret are.
pub fn mask(text: &str, root: Option<&Item>) -> String {
    let mut ranges = Vec::new();
    match root {
        Some(root) => collect(root, &mut Vec::new(), text, &mut ranges),
        None => collect_lines(text, &mut ranges),
    }
    let mut bytes = text.as_bytes().to_vec();
    for range in ranges {
        for byte in bytes.get_mut(range).unwrap_or_default() {
            if !matches!(byte, b'\n' | b'\r') {
                *byte = b'*';
            }
        }
    }
    // Ranges of values begin and end between characters, so this is valid; if not, nothing is shown at all.
    String::from_utf8(bytes).unwrap_or_default()
}

fn collect<'i>(item: &'i Item, path: &mut Vec<&'i str>, text: &str, ranges: &mut Vec<Range<usize>>) {
    match &item.node {
        Node::Table(entries) => {
            for (key, child) in entries {
                path.push(key);
                collect(child, path, text, ranges);
                path.pop();
            }
        }
        Node::Array(items) => items.iter().for_each(|child| collect(child, path, text, ranges)),
        Node::String(value) => match path.as_slice() {
            ["secrets", _] => ranges.push(item.span.clone()),
            ["secrets", _, key, ..] if !matches!(*key, "file" | "env") => ranges.push(item.span.clone()),
            [.., key] if sounds_secret(key) => ranges.push(item.span.clone()),
            _ if value.contains("://") => ranges.extend(credentials(text, &item.span)),
            _ => {}
        },
        _ => {}
    }
}

/// What stands between `://` and `@` in the quoted text of an address.
fn credentials(text: &str, span: &Range<usize>) -> Option<Range<usize>> {
    let quoted = text.get(span.clone())?;
    let start = quoted.find("://")? + 3;
    let authority = quoted[start..].split(['/', '"', '\'', '?']).next()?;
    let end = start + authority.rfind('@')?;
    Some(span.start + start..span.start + end)
}

fn collect_lines(text: &str, ranges: &mut Vec<Range<usize>>) {
    let (mut position, mut in_secrets) = (0, false);
    for line in text.split_inclusive('\n') {
        let trimmed = line.trim_start();
        if trimmed.starts_with('[') {
            in_secrets = trimmed.trim_start_matches(['[', ' ', '"']).starts_with("secrets");
        }
        let equals = line.find('=');
        let key = line[..equals.unwrap_or(line.len())].trim();
        let last = key.rsplit('.').next().unwrap_or_default().trim().trim_matches(['"', '\'']);
        let hidden = in_secrets || key.starts_with("secrets") || sounds_secret(last);
        if hidden && !trimmed.starts_with('[') && !matches!(last, "file" | "env") {
            ranges.push(position + equals.map_or(0, |at| at + 1)..position + line.len());
        } else {
            ranges.extend(credentials(text, &(position..position + line.len())));
        }
        position += line.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tree;

    #[test]
    fn inline_secrets_are_hidden_and_positions_stay() {
        let text = "[secrets]\na = \"hünter2\"\nb = { value = 'x1' }\nc = { file = \"f\" }\n[mirrors]\nfiles = \"http://u:p@h/x\"\n[ssh]\npassword = \"p2\"\n";
        let root = tree::parse(text).unwrap().root;
        let masked = mask(text, root.as_ref());
        assert_eq!(masked.len(), text.len());
        for secret in ["nter2", "x1", "u:p", "p2"] {
            assert!(!masked.contains(secret), "{masked}");
        }
        assert!(masked.contains("file = \"f\"") && masked.contains("@h/x"));
    }

    #[test]
    fn a_text_that_is_no_toml_is_hidden_by_lines() {
        let masked =
            mask("[secrets]\na = \"hunter2\nb.file = \"f\"\n[x]\npassword = 'p2\nname = \"shown\"\n", None);
        assert!(!masked.contains("hunter2") && !masked.contains("p2"), "{masked}");
        assert!(masked.contains("shown") && masked.contains("b.file = \"f\""), "{masked}");
    }
}
