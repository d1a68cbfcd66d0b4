//! What can become the content of a file or of an object manifest.

use serde::Serialize;
use serde_json::Value;

use crate::bindings::ksp::plugin::blobs;
use crate::{Blob, Error};

/// Bytes for the host: text, bytes, JSON, or a [`Blob`] that the host already holds.
pub enum Content<'a> {
    /// Held by the host already.
    Held(&'a Blob),
    /// Handed over now.
    Fresh(Blob),
}

impl Content<'_> {
    /// The host's handle.
    pub fn blob(&self) -> &Blob {
        match self {
            Content::Held(blob) => blob,
            Content::Fresh(blob) => blob,
        }
    }
}

impl<'a> From<&'a Blob> for Content<'a> {
    fn from(blob: &'a Blob) -> Self {
        Self::Held(blob)
    }
}

impl From<Blob> for Content<'_> {
    fn from(blob: Blob) -> Self {
        Self::Fresh(blob)
    }
}

impl From<&[u8]> for Content<'_> {
    fn from(bytes: &[u8]) -> Self {
        Self::Fresh(blobs::of_bytes(bytes))
    }
}

impl From<Vec<u8>> for Content<'_> {
    fn from(bytes: Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl From<&str> for Content<'_> {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for Content<'_> {
    fn from(text: String) -> Self {
        text.as_bytes().into()
    }
}

impl From<&String> for Content<'_> {
    fn from(text: &String) -> Self {
        text.as_bytes().into()
    }
}

/// One object.
impl From<&Value> for Content<'_> {
    fn from(value: &Value) -> Self {
        format!("{value:#}\n").into()
    }
}

/// One object.
impl From<Value> for Content<'_> {
    fn from(value: Value) -> Self {
        (&value).into()
    }
}

/// Several objects as one multi-document YAML text (JSON is YAML).
impl From<&[Value]> for Content<'_> {
    fn from(values: &[Value]) -> Self {
        values.iter().map(|value| format!("---\n{value:#}\n")).collect::<String>().into()
    }
}

/// Several objects as one multi-document YAML text (JSON is YAML).
impl From<Vec<Value>> for Content<'_> {
    fn from(values: Vec<Value>) -> Self {
        values.as_slice().into()
    }
}

impl Blob {
    /// All of it, as text.
    ///
    /// # Errors
    /// It is no UTF-8.
    pub fn text(&self) -> Result<String, Error> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < self.size() {
            bytes.extend(self.read(bytes.len() as u64, 1 << 20)?);
        }
        String::from_utf8(bytes).map_err(|error| Error::invalid("blob", error.to_string()))
    }
}

/// Anything serialisable as indented JSON text with a line end, keys in the order of the struct.
///
/// # Errors
/// The value cannot be JSON.
pub fn render_json<T: Serialize>(value: &T) -> Result<String, Error> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

/// Anything serialisable as TOML text.
///
/// # Errors
/// The value cannot be TOML, such as a null or a list of mixed tables and numbers.
pub fn render_toml<T: Serialize>(value: &T) -> Result<String, Error> {
    toml::to_string(value).map_err(|error| Error::invalid("toml", error.to_string()))
}
