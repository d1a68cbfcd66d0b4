//! Stable codes and what to do about them. The table is `explain.txt`: a code, an indented cause, an indented cure after `>`.

use std::fmt::Write as _;

/// The table. A code that is no longer used is never given another meaning.
const TABLE: &str = include_str!("explain.txt");

/// One code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// "ksp::lease::held".
    pub code: &'a str,
    /// What it means.
    pub cause: &'a str,
    /// What to do.
    pub cure: &'a str,
}

/// What to do about any finding of the manifest's checks: each one says it better itself.
const MANIFEST_CURE: &str = "the finding points at the place and says what to write instead";

/// All codes, sorted. Those of the manifest's checks have a table of their own.
pub fn entries() -> Vec<Entry<'static>> {
    let mut entries: Vec<Entry<'static>> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        match (line.strip_prefix("  > "), line.strip_prefix("  "), entries.last_mut()) {
            (Some(cure), _, Some(entry)) => entry.cure = cure,
            (None, Some(cause), Some(entry)) => entry.cause = cause,
            _ => entries.push(Entry { code: line, cause: "", cure: "" }),
        }
    }
    let of_manifest = crate::manifest::codes::ALL.iter();
    entries.extend(of_manifest.map(|(code, cause)| Entry { code, cause, cure: MANIFEST_CURE }));
    entries.sort_by_key(|entry| entry.code);
    entries
}

/// Cause and cure of one code, given with or without `ksp::`.
pub fn find(code: &str) -> Option<String> {
    let short = |text: &str| text.trim_start_matches("ksp::").to_owned();
    let wanted = short(code.trim());
    let entry = entries().into_iter().find(|entry| short(entry.code) == wanted)?;
    Some(format!("{}\n  {}\n  What to do: {}\n", entry.code, entry.cause, entry.cure))
}

/// One line a code.
pub fn list() -> String {
    let entries = entries();
    let width = entries.iter().map(|entry| entry.code.len()).max().unwrap_or(0);
    let mut text = String::new();
    for entry in entries {
        let _ = writeln!(text, "{:width$}  {}", entry.code, entry.cause);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_entry_is_whole_and_sorted() {
        let entries = entries();
        for entry in &entries {
            assert!(!entry.cause.is_empty() && !entry.cure.is_empty(), "{entry:?}");
            assert_eq!(entry.code.split("::").count(), 3, "{entry:?}");
        }
        let codes: Vec<&str> = entries.iter().map(|entry| entry.code).collect();
        let mut sorted = codes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(codes, sorted);
    }

    #[test]
    fn a_code_is_found_with_and_without_its_prefix() {
        assert_eq!(find("lease::held"), find("ksp::lease::held"));
        assert!(find("ksp::lease::held").unwrap().contains("unlock"));
        assert_eq!(find("ksp::nothing::here"), None);
    }

    /// Reads the sources: a code that users can see and nobody explains is a defect.
    #[test]
    fn every_code_in_the_sources_is_explained() {
        let mut used = BTreeSet::new();
        collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut used);
        let known: BTreeSet<String> = entries().into_iter().map(|entry| entry.code.to_owned()).collect();
        let missing: Vec<_> = used.difference(&known).collect();
        assert!(missing.is_empty(), "add these to cli/explain.txt: {missing:#?}");
    }

    fn collect(folder: &Path, used: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "tests" {
                collect(&path, used);
            } else if name.ends_with(".rs") && name != "tests.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]").next().unwrap_or_default();
                used.extend(code.split('"').filter(|text| is_code(text)).map(str::to_owned));
            }
        }
    }

    fn is_code(text: &str) -> bool {
        let parts: Vec<&str> = text.split("::").collect();
        let word = |part: &&str| {
            !part.is_empty()
                && part.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-')
        };
        parts.len() == 3 && parts[0] == "ksp" && parts.iter().all(word)
    }
}
