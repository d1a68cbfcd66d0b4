//! A manifest's bytes: a regular file, bounded, UTF-8 text.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::codes;
use crate::diagnostic::{Diagnostic, Span};

/// A manifest of 5,000 nodes has less than 1 MiB.
pub const LARGEST: u64 = 4 << 20;

/// A manifest as read.
#[derive(Debug)]
pub struct Text {
    /// Without a byte order mark.
    pub text: String,
    /// "sha256:…" of the file's bytes.
    pub digest: String,
}

/// Reads it whole.
///
/// # Errors
/// One finding that says why it is not a text that can be parsed.
pub fn read(path: &Path) -> Result<Text, Diagnostic> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| {
        let finding = Diagnostic::error(codes::UNREADABLE, format!("cannot read {shown}: {error}"));
        match error.kind() {
            std::io::ErrorKind::NotFound => {
                finding.hint("`ksp init <cluster name>` writes a complete manifest")
            }
            _ => finding,
        }
    };
    // Before opening: a pipe without a writer would block for ever.
    let metadata = std::fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(Diagnostic::error(codes::NOT_A_FILE, format!("{shown} is not a regular file")));
    }
    let mut bytes = Vec::new();
    // Files below /proc and /sys have no honest length: what counts is what comes out.
    File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes)).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST {
        return Err(Diagnostic::error(
            codes::TOO_LARGE,
            format!("{shown} is larger than {} MiB", LARGEST >> 20),
        )
        .hint("is this the right file?"));
    }
    decode(path, bytes)
}

fn decode(path: &Path, bytes: Vec<u8>) -> Result<Text, Diagnostic> {
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
    let text = String::from_utf8(bytes).map_err(|error| {
        let bad = error.utf8_error().valid_up_to();
        let line = 1 + error.as_bytes()[..bad].iter().filter(|byte| **byte == b'\n').count();
        let finding =
            Diagnostic::error(codes::NOT_UTF8, format!("{} is not UTF-8 text (line {line})", path.display()));
        match error.as_bytes() {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => finding.hint("it is UTF-16: save it as UTF-8"),
            _ => finding.hint("save it as UTF-8"),
        }
    })?;
    if let Some(at) = text.find('\0') {
        let line = 1 + text[..at].matches('\n').count();
        let message = format!("{} contains a NUL byte (line {line})", path.display());
        return Err(
            Diagnostic::error(codes::NUL_BYTE, message).hint("the file was cut or is not a text file")
        );
    }
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(Text { text, digest })
}

/// A place in another text than the manifest.
pub fn span_in(path: &Path, text: &std::sync::Arc<str>, range: std::ops::Range<usize>) -> Span {
    Span { path: path.to_owned(), text: text.clone(), range, label: String::new() }
}
