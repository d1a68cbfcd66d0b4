//! TOML text to a tree with the place of every key and value, bounded in depth and unable to bring the program down.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// Deeper nesting is refused: everything behind this file may recurse.
pub const DEEPEST: usize = 32;

/// Dotted keys inside inline tables nest far deeper than the parser's own limit suggests, and dropping such a tree recurses.
const PARSER_STACK: usize = 64 << 20;

/// A value with its place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Item {
    /// Bytes of the key; none for elements of lists and for the document.
    pub key: Option<Range<usize>>,
    /// Bytes of the value; the header for tables that have one.
    pub span: Range<usize>,
    /// The value.
    pub node: Node,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Text.
    String(String),
    /// None when it does not fit.
    Integer(Option<i64>),
    /// May be infinite or not a number.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// A date, a time, or both, as in RFC 3339.
    Datetime(String),
    /// A list, or repeated `[[…]]`.
    Array(Vec<Item>),
    /// In the order of keys, so that looking one up in a huge table is quick.
    Table(Vec<(String, Item)>),
}

impl Default for Node {
    fn default() -> Self {
        Node::Table(Vec::new())
    }
}

impl Item {
    /// The value of a table's key, or of a list's index written as text.
    pub fn get(&self, key: &str) -> Option<&Item> {
        match &self.node {
            Node::Table(entries) => {
                let index = entries.binary_search_by(|(present, _)| present.as_str().cmp(key)).ok()?;
                entries.get(index).map(|(_, item)| item)
            }
            Node::Array(items) => items.get(key.parse::<usize>().ok()?),
            _ => None,
        }
    }

    /// The text, when it is one.
    pub fn as_str(&self) -> Option<&str> {
        match &self.node {
            Node::String(text) => Some(text),
            _ => None,
        }
    }
}

/// A table's entries in the order of the text.
pub fn in_text_order(entries: &[(String, Item)]) -> Vec<&(String, Item)> {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|(_, item)| item.key.as_ref().map_or(0, |key| key.start));
    entries
}

impl Node {
    /// What it is, as a noun with its article.
    pub fn kind(&self) -> &'static str {
        match self {
            Node::String(_) => "a string",
            Node::Integer(_) => "a whole number",
            Node::Float(_) => "a decimal number",
            Node::Boolean(_) => "a boolean",
            Node::Datetime(_) => "a date or time",
            Node::Array(_) => "a list",
            Node::Table(_) => "a table",
        }
    }
}

/// Something that is not TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// The parser's words.
    pub message: String,
    /// Where.
    pub range: Range<usize>,
    /// A key that stands twice: what follows can still be checked.
    pub duplicate: bool,
}

/// What became of a text.
#[derive(Debug)]
pub struct Parsed {
    /// As much as could be understood; none when nested too deeply.
    pub root: Option<Item>,
    /// In the order of the text.
    pub errors: Vec<SyntaxError>,
}

/// Parses on a thread of its own, with a stack that the deepest possible text fits into.
///
/// # Errors
/// Says why when the thread could not be started or ended by a panic.
pub fn parse(text: &str) -> Result<Parsed, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("ksp-manifest".into())
            .stack_size(PARSER_STACK)
            .spawn_scoped(scope, || parse_here(text))
            .map_err(|error| format!("no thread for the parser: {error}"))?;
        thread.join().map_err(|_| "the parser panicked".to_owned())
    })
}

fn parse_here(text: &str) -> Parsed {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut errors: Vec<SyntaxError> = errors
        .iter()
        .map(|error| SyntaxError {
            message: error.message().to_owned(),
            range: error.span().unwrap_or(0..0),
            duplicate: error.message() == "duplicate key",
        })
        .collect();
    errors.sort_by_key(|error| error.range.start);
    let table = document.get_ref();
    let root = (depth(table) <= DEEPEST).then(|| Item { key: None, span: 0..0, node: convert_table(table) });
    Parsed { root, errors }
}

/// Without recursion: this runs before the depth is known.
fn depth(table: &DeTable<'_>) -> usize {
    fn open<'t, 'i>(value: &'t DeValue<'i>, level: usize, todo: &mut Vec<(&'t DeValue<'i>, usize)>) {
        match value {
            DeValue::Table(table) => todo.extend(table.values().map(|value| (value.get_ref(), level + 1))),
            DeValue::Array(array) => todo.extend(array.iter().map(|value| (value.get_ref(), level + 1))),
            _ => {}
        }
    }
    let mut deepest = 0;
    let mut todo: Vec<_> = table.values().map(|value| (value.get_ref(), 1)).collect();
    while let Some((value, level)) = todo.pop() {
        deepest = deepest.max(level);
        open(value, level, &mut todo);
    }
    deepest
}

fn convert_table(table: &DeTable<'_>) -> Node {
    let entries = table.iter().map(|(key, value)| {
        let item = Item { key: Some(key.span()), span: value.span(), node: convert(value.get_ref()) };
        (key.get_ref().to_string(), item)
    });
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    Node::Table(entries)
}

fn convert(value: &DeValue<'_>) -> Node {
    match value {
        DeValue::String(text) => Node::String(text.to_string()),
        DeValue::Integer(number) => Node::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(number) => Node::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Node::Boolean(*value),
        DeValue::Datetime(time) => Node::Datetime(time.to_string()),
        DeValue::Array(items) => Node::Array(
            items
                .iter()
                .map(|item| Item { key: None, span: item.span(), node: convert(item.get_ref()) })
                .collect(),
        ),
        DeValue::Table(table) => convert_table(table),
    }
}
