//! Walks the document along the JSON Schema of the format: every unknown key, missing key and wrong type at once, where serde
//! would stop at the first. What it returns fits the structs: refused values are replaced by neutral ones and marked.

use serde_json::{Map, Value, json};

use super::codes;
use super::describe::{describe, section};
use super::findings::Findings;
use super::source::{Source, escape};
use super::suggest::closest;
use super::tree::{Item, Node, in_text_order};
use crate::diagnostic::Diagnostic;

/// The document as JSON that the structs can be read from.
pub fn walk(source: &Source, schema: &Value, findings: &mut Findings) -> Value {
    let mut walker = Walker { schema, source, findings, pointer: String::new() };
    walker.value(source.root(), schema).unwrap_or_else(|| walker.neutral(schema))
}

struct Walker<'a> {
    schema: &'a Value,
    source: &'a Source,
    findings: &'a mut Findings,
    pointer: String,
}

impl<'a> Walker<'a> {
    /// None when the value was refused.
    fn value(&mut self, item: &Item, schema: &'a Value) -> Option<Value> {
        if self.findings.is_broken(&self.pointer) {
            return None;
        }
        let schema = self.follow(schema);
        if let Some(words) = words(schema) {
            return self.word(item, &words);
        }
        match (kind(schema), &item.node) {
            ("string", Node::String(text)) => Some(Value::String(text.clone())),
            ("boolean", Node::Boolean(value)) => Some(Value::Bool(*value)),
            ("integer", Node::Integer(number)) => self.integer(*number, schema),
            ("array", Node::Array(items)) => Some(self.array(items, schema)),
            ("object", Node::Table(entries)) => Some(self.table(item, entries, schema)),
            ("any", _) => self.free(item),
            (expected, found) => {
                self.wrong_type(expected, found);
                None
            }
        }
    }

    fn follow(&self, mut schema: &'a Value) -> &'a Value {
        // The schema is our own; the bound only guards against a circle by mistake.
        for _ in 0..8 {
            let target = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
            match target.and_then(|path| self.schema.pointer(path)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    fn refuse(&mut self, finding: impl FnOnce(&Self) -> Diagnostic) {
        // A document can be wrong in a million places; words are found for those that are shown.
        let finding =
            if self.findings.is_full() { Diagnostic::error(codes::TOO_MANY, "") } else { finding(self) };
        self.findings.about(&self.pointer, finding);
        self.findings.mark(&self.pointer);
    }

    fn within<T>(&mut self, segment: &str, action: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&escape(segment));
        let result = action(self);
        self.pointer.truncate(length);
        result
    }

    fn last_key(&self) -> String {
        let segment = self.pointer.rsplit('/').next().unwrap_or_default();
        segment.replace("~1", "/").replace("~0", "~")
    }

    fn word(&mut self, item: &Item, words: &[&str]) -> Option<Value> {
        let Node::String(text) = &item.node else {
            self.wrong_type("string", &item.node);
            return None;
        };
        if words.contains(&text.as_str()) {
            return Some(Value::String(text.clone()));
        }
        self.refuse(|walker| {
            let label = closest(text, words.iter().copied()).map(|word| format!("did you mean `{word}`?"));
            Diagnostic::error(codes::UNKNOWN_VALUE, format!("`{}` is not accepted here", shorten(text)))
                .at(walker.source.value(&walker.pointer, label.unwrap_or_default()))
                .hint(format!("accepted are {}", list(words)))
        });
        None
    }

    fn integer(&mut self, number: Option<i64>, schema: &Value) -> Option<Value> {
        let bound = |key: &str| schema.get(key).and_then(Value::as_i64);
        let (least, most) = (bound("minimum").unwrap_or(i64::MIN), bound("maximum").unwrap_or(i64::MAX));
        if let Some(number) = number.filter(|number| (least..=most).contains(number)) {
            return Some(json!(number));
        }
        self.refuse(|walker| {
            let message = format!("`{}` must be a number from {least} to {most}", walker.last_key());
            Diagnostic::error(codes::OUT_OF_RANGE, message).at(walker.source.value(&walker.pointer, ""))
        });
        None
    }

    fn array(&mut self, items: &[Item], schema: &'a Value) -> Value {
        let inner = schema.get("items").unwrap_or(&Value::Bool(true));
        let values = items.iter().enumerate().map(|(index, item)| {
            self.within(&index.to_string(), |walker| {
                walker.value(item, inner).unwrap_or_else(|| walker.neutral(inner))
            })
        });
        Value::Array(values.collect())
    }

    fn table(&mut self, item: &Item, entries: &[(String, Item)], schema: &'a Value) -> Value {
        let known = schema.get("properties").and_then(Value::as_object);
        let open = schema.get("additionalProperties").filter(|open| **open != Value::Bool(false));
        let mut object = Map::new();
        for (key, child) in in_text_order(entries) {
            let inner = known.and_then(|known| known.get(key)).or(open);
            let meant = self.within(key, |walker| match inner {
                Some(inner) => {
                    if let Some(value) = walker.value(child, inner) {
                        object.insert(key.clone(), value);
                    }
                    None
                }
                None => walker.unknown_key(key, known.into_iter().flat_map(|known| known.keys())),
            });
            // A misspelt key is not missing as well, and its default is not what was meant.
            if let Some(meant) = meant.filter(|meant| item.get(meant).is_none()) {
                self.within(&meant, |walker| walker.findings.mark(&walker.pointer));
            }
        }
        for key in
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        {
            if !object.contains_key(key) {
                if item.get(key).is_none() {
                    self.missing_key(item, key);
                }
                let neutral =
                    known.and_then(|known| known.get(key)).map_or(Value::Null, |inner| self.neutral(inner));
                object.insert(key.to_owned(), neutral);
            }
        }
        Value::Object(object)
    }

    /// Returns the key that was probably meant.
    fn unknown_key<'k>(&mut self, key: &str, known: impl Iterator<Item = &'k String>) -> Option<String> {
        // More than are shown cost nothing: finding what was meant is slow.
        if self.findings.is_broken(&self.pointer) || self.findings.is_full() {
            self.refuse(|_| Diagnostic::error(codes::UNKNOWN_KEY, ""));
            return None;
        }
        let known: Vec<&str> = known.map(String::as_str).collect();
        let meant = closest(key, known.iter().copied());
        self.refuse(|walker| {
            let label = meant.map(|word| format!("did you mean `{word}`?")).unwrap_or_default();
            let finding = Diagnostic::error(codes::UNKNOWN_KEY, format!("unknown key `{}`", shorten(key)))
                .at(walker.source.key(&walker.pointer, label));
            let (parent, _) = walker.pointer.rsplit_once('/').unwrap_or_default();
            match meant {
                Some(_) => finding,
                None => finding.hint(format!("{} can have {}", section(parent), list(&known))),
            }
        });
        meant.map(str::to_owned)
    }

    fn missing_key(&mut self, item: &Item, key: &str) {
        let table = self.pointer.clone();
        // Several keys can be missing in one table: each is refused by itself, the table is not.
        self.within(key, |walker| {
            walker.refuse(|walker| {
                let what = if table.is_empty() { format!("`[{key}]` section") } else { format!("`{key}`") };
                let place = match table.as_str() {
                    "" => walker.source.whole(),
                    _ => walker.source.range(item.span.clone(), ""),
                };
                let message = format!("{} has no {what}", describe(walker.source, &table));
                Diagnostic::error(codes::MISSING_KEY, message).at(place)
            });
        });
    }

    fn wrong_type(&mut self, expected: &str, found: &Node) {
        let key = self.last_key();
        let noun = match expected {
            "string" => "a string",
            "boolean" => "true or false",
            "integer" => "a whole number",
            "array" => "a list",
            _ => "a table",
        };
        let name = match key.parse::<usize>() {
            Ok(_) => "each entry".to_owned(),
            Err(_) => format!("`{}`", shorten(&key)),
        };
        self.refuse(|walker| {
            let finding =
                Diagnostic::error(codes::WRONG_TYPE, format!("{name} must be {noun}, not {}", found.kind()))
                    .at(walker.source.value(&walker.pointer, ""));
            match correction(&key, expected, found, walker.pointer.matches('/').count()) {
                Some(hint) => finding.hint(hint),
                None => finding,
            }
        });
    }

    /// Config of a plugin: anything that JSON can hold, checked by the plugin's own schema later.
    fn free(&mut self, item: &Item) -> Option<Value> {
        let value = match &item.node {
            Node::String(text) | Node::Datetime(text) => Some(Value::String(text.clone())),
            Node::Integer(number) => number.map(|number| json!(number)),
            Node::Float(number) => serde_json::Number::from_f64(*number).map(Value::Number),
            Node::Boolean(value) => Some(Value::Bool(*value)),
            Node::Array(items) => {
                let values = items.iter().enumerate().map(|(index, item)| {
                    self.within(&index.to_string(), |walker| walker.free(item).unwrap_or(Value::Null))
                });
                Some(Value::Array(values.collect()))
            }
            Node::Table(entries) => {
                let values = in_text_order(entries).into_iter().filter_map(|(key, item)| {
                    Some((key.clone(), self.within(key, |walker| walker.free(item))?))
                });
                Some(Value::Object(values.collect()))
            }
        };
        if value.is_none() {
            self.refuse(|walker| {
                let message = format!("`{}` has a value that JSON cannot hold", walker.last_key());
                Diagnostic::error(codes::NOT_JSON, message)
                    .at(walker.source.value(&walker.pointer, ""))
                    .hint("use an ordinary number, or a string")
            });
        }
        value
    }

    /// Stands in for a refused value: of the right type, and nothing is concluded from it.
    fn neutral(&self, schema: &'a Value) -> Value {
        let schema = self.follow(schema);
        if let Some(word) = words(schema).and_then(|words| words.first().copied()) {
            return Value::String(word.to_owned());
        }
        match kind(schema) {
            "string" => Value::String(String::new()),
            "boolean" => Value::Bool(false),
            "integer" => json!(0),
            "array" => Value::Array(Vec::new()),
            "object" => {
                let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
                let entries = required.filter_map(Value::as_str).filter_map(|key| {
                    Some((key.to_owned(), self.neutral(schema.get("properties")?.get(key)?)))
                });
                Value::Object(entries.collect())
            }
            _ => Value::Null,
        }
    }
}

/// The type that a schema asks for; "any" when it asks for none.
fn kind(schema: &Value) -> &str {
    match schema.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => {
            kinds.iter().filter_map(Value::as_str).find(|kind| *kind != "null").unwrap_or("any")
        }
        _ => "any",
    }
}

/// The words that a schema accepts, when it lists them.
fn words(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return Some(words.iter().filter_map(Value::as_str).collect());
    }
    let choices = schema.get("oneOf").and_then(Value::as_array)?;
    choices.iter().map(|choice| choice.get("const").and_then(Value::as_str)).collect()
}

/// What to write instead. Never quotes the value, which may be a secret.
fn correction(key: &str, expected: &str, found: &Node, level: usize) -> Option<String> {
    match (expected, found) {
        ("integer", Node::String(text)) if text.parse::<i64>().is_ok() => Some("remove the quotes".into()),
        ("boolean", Node::String(text)) if matches!(text.as_str(), "true" | "false") => {
            Some("remove the quotes".into())
        }
        ("integer", Node::Float(number)) if number.fract() == 0.0 => Some("remove the decimal point".into()),
        ("string", Node::Integer(_) | Node::Float(_) | Node::Boolean(_) | Node::Datetime(_)) => {
            Some("put it in quotes".into())
        }
        ("array", Node::Table(_)) if level == 1 => Some(format!("write `[[{key}]]`")),
        ("object", Node::Array(_)) if level == 1 => Some(format!("write `[{key}]`")),
        ("array", Node::String(_)) => Some(format!("put it in brackets: `{key} = [\"…\"]`")),
        _ => None,
    }
}

/// Words for a message: `a`, `b`, `c`.
fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    quoted.join(", ")
}

/// A word that a message quotes, cut to what fits into a line.
fn shorten(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
