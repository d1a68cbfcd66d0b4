//! Where files and images come from instead of upstream.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::read::span_in;
use crate::manifest::source::escape;
use crate::manifest::{codes, syntax};

/// A file of checksums for every release of everything is far smaller.
const LARGEST: u64 = 16 << 20;

/// More than these lines are not reported.
const MOST_LINES: usize = 10;

/// What is wrong with a mirror's address.
fn address(text: &str) -> Option<Diagnostic> {
    let bad = |message: String| Diagnostic::error(codes::BAD_MIRROR_URL, message);
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Some(bad("the mirror's address contains blanks or control characters".into()));
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    if !matches!(scheme, Some("http" | "https")) {
        let finding = bad("the mirror's address is neither `http://…` nor `https://…`".into());
        let hint = scheme.is_none().then_some("write the scheme too, such as `https://mirror.example`");
        return Some(hint.map_or_else(|| finding.clone(), |hint| finding.clone().hint(hint)));
    }
    // The parser's own words could quote a password.
    let Ok(url) = reqwest::Url::parse(text) else {
        return Some(bad("the mirror's address cannot be understood".into()));
    };
    if !url.username().is_empty() || url.password().is_some() {
        let finding = Diagnostic::error(codes::MIRROR_CREDENTIALS, "a login stands in the mirror's address");
        return Some(finding.hint(
            "nodes would show it in process lists and logs; use a mirror that needs none inside the network",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Some(bad("the mirror's address has a `?` or `#`: nothing can be appended to it".into()));
    }
    None
}

/// The base address of files.
pub fn files(check: &mut Check<'_>) {
    if let Some(finding) = check.file.mirrors.files.as_deref().and_then(address) {
        check.report("/mirrors/files", finding);
    }
}

/// Registries and their mirrors.
pub fn images(check: &mut Check<'_>) {
    for (registry, mirror) in &check.file.mirrors.images {
        let pointer = format!("/mirrors/images/{}", escape(registry));
        let (host, port) =
            registry.rsplit_once(':').map_or((registry.as_str(), None), |(host, port)| (host, Some(port)));
        let known = if registry.contains("://") { Err("has a scheme".into()) } else { Ok(()) };
        let known = known.and_then(|()| syntax::host(host)).and_then(|()| port.map_or(Ok(0), syntax::port));
        if let Err(wrong) = known {
            let finding = Diagnostic::error(codes::BAD_REGISTRY, format!("the registry {wrong}"))
                .at(check.source.key(&pointer, ""))
                .hint("write the host of image names, such as `registry.k8s.io`, without scheme and path");
            check.report(&pointer, finding);
        }
        if let Some(finding) = address(mirror) {
            check.report(&pointer, finding);
        }
    }
}

/// A line of a checksum file that could not be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Bytes of the line.
    pub range: Range<usize>,
    /// `codes::BAD_CHECKSUM_LINE` or `codes::DUPLICATE_CHECKSUM`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
}

/// The format of `sha256sum`: 64 hex digits, blank, blank or `*`, address without scheme. Empty lines and `#` comments are
/// left out. Returns hex digits by address.
pub fn parse_checksums(text: &str) -> (BTreeMap<String, String>, Vec<BadLine>) {
    let (mut sums, mut bad): (BTreeMap<String, String>, Vec<BadLine>) = Default::default();
    let mut position = 0;
    for line in text.split_inclusive('\n') {
        let start = position;
        position += line.len();
        let line = line.trim_end_matches(['\n', '\r']);
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let range = start..start + line.len();
        match checksum(line) {
            Err(message) => bad.push(BadLine { range, code: codes::BAD_CHECKSUM_LINE, message }),
            Ok((name, sum)) => match sums.get(name) {
                Some(known) if *known != sum => {
                    let message = format!("a second, different checksum for {name}");
                    bad.push(BadLine { range, code: codes::DUPLICATE_CHECKSUM, message });
                }
                _ => {
                    sums.insert(name.to_owned(), sum);
                }
            },
        }
    }
    (sums, bad)
}

fn checksum(line: &str) -> Result<(&str, String), String> {
    let (sum, rest) = line.split_once(' ').ok_or("there is no blank between checksum and address")?;
    if sum.len() != 64 || !sum.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err("the line does not begin with the 64 hex digits of a SHA-256".into());
    }
    let name = rest.strip_prefix([' ', '*']).unwrap_or(rest);
    if name.contains("://") {
        return Err("the address has a scheme; write it without `https://`".into());
    }
    if name.is_empty()
        || !name.chars().all(|c| c.is_ascii_graphic())
        || name.split('/').any(|part| part == "..")
    {
        return Err("there is no address after the checksum".into());
    }
    Ok((name.strip_prefix("./").unwrap_or(name), sum.to_ascii_lowercase()))
}

/// Reads a checksum file, bounded.
pub fn read(path: &Path) -> Result<String, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(LARGEST + 1).read_to_string(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > LARGEST { Err(format!("larger than {} MiB", LARGEST >> 20)) } else { Ok(text) }
}

/// The file of checksums and each of its lines.
pub fn checksums(check: &mut Check<'_>) {
    const POINTER: &str = "/mirrors/checksums";
    let Some(name) = &check.file.mirrors.checksums else { return };
    let Some(path) = check.path(POINTER, name) else { return };
    let text: Arc<str> = match read(&path) {
        Ok(text) => text.into(),
        Err(error) => {
            let message = format!("cannot read the checksums {}: {error}", path.display());
            return check.report(POINTER, Diagnostic::error(codes::CHECKSUMS_MISSING, message));
        }
    };
    let (_, bad) = parse_checksums(&text);
    for line in bad.iter().take(MOST_LINES) {
        let finding = Diagnostic::error(line.code, line.message.clone())
            .at(span_in(Path::new(name), &text, line.range.clone()))
            .hint("a line is what `sha256sum` prints, with the upstream address as the name: `<64 hex digits>  dl.k8s.io/…`");
        check.report(POINTER, finding);
    }
    if bad.len() > MOST_LINES {
        let message = format!("{} more lines of {name} cannot be used", bad.len() - MOST_LINES);
        check.report(POINTER, Diagnostic::error(codes::BAD_CHECKSUM_LINE, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_files() {
        let (a, b) = ("a".repeat(64), "B".repeat(64));
        let text = format!(
            "# made by hand\r\n\r\n{a}  dl.k8s.io/x\r\n{b} *./y\n{a}  dl.k8s.io/x\n{b}  dl.k8s.io/x\nzz  x\n{a}\n{a}  https://x\n{a}  ../x"
        );
        let (sums, bad) = parse_checksums(&text);
        assert_eq!(
            sums.into_iter().collect::<Vec<_>>(),
            [("dl.k8s.io/x".into(), a), ("y".to_owned(), b.to_lowercase())]
        );
        assert_eq!(bad.len(), 5);
        assert!(bad.iter().all(|line| text.get(line.range.clone()).is_some_and(|line| !line.contains('\n'))));
        assert_eq!(bad[0].code, codes::DUPLICATE_CHECKSUM);
    }

    #[test]
    fn mirror_addresses() {
        for good in ["http://mirror.example/files", "https://10.0.0.1:5000", "http://[fd00::1]:5000/x/"] {
            assert_eq!(address(good), None, "{good}");
        }
        for bad in [
            "mirror.example",
            "ftp://x",
            "file:///etc",
            "http://",
            "http://a b",
            "http://u:p@x",
            "http://x/?a",
            "http://x\n",
            "javascript:x",
        ] {
            assert!(address(bad).is_some(), "{bad}");
        }
        assert_eq!(
            address("http://u:hunter2@x").map(|finding| format!("{finding:?}").contains("hunter2")),
            Some(false)
        );
    }
}
