//! Where detectors write what they read.

use serde_json::{Map, Value};

/// A shell fragment and what reads its standard output. It must cope with any output, none included.
#[derive(Clone, Copy)]
pub(crate) struct Detector {
    /// Its subject, for tests.
    #[cfg_attr(not(test), allow(dead_code))]
    pub name: &'static str,
    /// POSIX sh and coreutils; nothing else may be missed.
    pub script: &'static str,
    /// Writes what it understands.
    pub read: fn(&str, &mut Sheet),
}

/// Facts in the making.
#[derive(Debug, Default)]
pub(crate) struct Sheet(Map<String, Value>);

impl Sheet {
    /// Puts a fact under a dotted key.
    pub fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.set_at(&key.split('.').collect::<Vec<_>>(), value);
    }

    /// Puts a fact under a path whose parts may hold dots.
    pub fn set_at(&mut self, path: &[&str], value: impl Into<Value>) {
        let Some((last, folders)) = path.split_last() else { return };
        let mut at = &mut self.0;
        for folder in folders {
            let next = at.entry((*folder).to_owned()).or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(object) = next else { return };
            at = object;
        }
        at.insert((*last).to_owned(), value.into());
    }

    /// Puts a text unless it is empty.
    pub fn set_text(&mut self, key: &str, text: &str) {
        let text = text.trim();
        if !text.is_empty() {
            self.set(key, text);
        }
    }

    /// Puts a whole number when it is one.
    pub fn set_number(&mut self, key: &str, text: &str) {
        if let Ok(number) = text.trim().parse::<u64>() {
            self.set(key, number);
        }
    }

    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// Lines of the form "key<separator>value".
pub(crate) fn pairs(text: &str, separator: char) -> impl Iterator<Item = (&str, &str)> {
    text.lines()
        .filter_map(move |line| line.split_once(separator))
        .map(|(key, value)| (key.trim(), value.trim()))
}
