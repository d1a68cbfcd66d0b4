//! The manifest's text with the place of every key and value, so that any later finding can point into the file.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tree::Item;
use crate::diagnostic::Span;

/// Text and places. Cheap to clone. The text is what may be shown: secrets that were written into it are masked.
#[derive(Clone, Default)]
pub struct Source {
    path: PathBuf,
    text: Arc<str>,
    root: Arc<Item>,
}

impl Source {
    /// Puts text and places together; `text` is masked already and has the byte positions of the file.
    pub(super) fn new(path: &Path, text: Arc<str>, root: Arc<Item>) -> Self {
        Self { path: path.to_owned(), text, root }
    }

    /// The parsed document.
    pub(super) fn root(&self) -> &Item {
        &self.root
    }

    /// A place given by bytes.
    pub fn range(&self, range: Range<usize>, label: impl Into<String>) -> Span {
        Span { path: self.path.clone(), text: self.text.clone(), range, label: label.into() }
    }

    /// The file as such, for what has no place in it.
    pub fn whole(&self) -> Span {
        Span { path: self.path.clone(), text: "".into(), range: 0..0, label: String::new() }
    }

    /// The value at a JSON pointer; when it does not exist, what is nearest to it: the list or table it would stand in, or
    /// the file as such.
    pub fn value(&self, pointer: &str, label: impl Into<String>) -> Span {
        let (item, _) = self.nearest(pointer);
        if std::ptr::eq(item, &*self.root) { self.whole() } else { self.range(item.span.clone(), label) }
    }

    /// The key at a JSON pointer; like [`Source::value`] for what has no key.
    pub fn key(&self, pointer: &str, label: impl Into<String>) -> Span {
        let (item, _) = self.nearest(pointer);
        self.range(item.key.clone().unwrap_or_else(|| item.span.clone()), label)
    }

    /// True when there is something at a JSON pointer.
    pub fn exists(&self, pointer: &str) -> bool {
        self.nearest(pointer).1
    }

    fn nearest(&self, pointer: &str) -> (&Item, bool) {
        let mut item = &*self.root;
        for segment in pointer.split('/').skip(1) {
            let segment = segment.replace("~1", "/").replace("~0", "~");
            match item.get(&segment) {
                Some(child) => item = child,
                None => return (item, false),
            }
        }
        (item, true)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.path.display())
    }
}

/// A key as a segment of a JSON pointer (RFC 6901).
pub fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
