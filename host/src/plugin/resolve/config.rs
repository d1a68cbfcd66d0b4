//! A stage's config against the JSON Schema of its plugin: every finding, at its place in the manifest.

use jsonschema::error::{ValidationError, ValidationErrorKind};
use serde_json::Value;

use crate::diagnostic::Diagnostic;
use crate::manifest::{Manifest, StageEntry};
use crate::plugin::metadata::Metadata;

/// Findings about one config that are shown.
const MOST: usize = 50;

/// Checks the config of a stage.
pub fn check(manifest: &Manifest, entry: &StageEntry, metadata: &Metadata) -> Vec<Diagnostic> {
    let validator = match jsonschema::validator_for(&metadata.config_schema) {
        Ok(validator) => validator,
        Err(error) => {
            let message = format!("stage `{}`: the plugin's config schema is broken: {error}", entry.name);
            return vec![
                Diagnostic::error("ksp::plugin::manifest", message).hint("ask the plugin's publisher"),
            ];
        }
    };
    let errors = validator.iter_errors(&entry.config).take(MOST);
    errors.flat_map(|error| findings(manifest, entry, &metadata.config_schema, &error)).collect()
}

fn findings(
    manifest: &Manifest,
    entry: &StageEntry,
    schema: &Value,
    error: &ValidationError<'_>,
) -> Vec<Diagnostic> {
    let pointer = error.instance_path().to_string();
    let make = |code: &str, pointer: &str, message: String| {
        let place = if pointer.is_empty() { String::new() } else { format!(" at {pointer}") };
        let message = format!("config of stage `{}`{place}: {message}", entry.name);
        let finding = Diagnostic::error(code, message);
        match manifest.config_span(&entry.name, pointer) {
            Some(span) => finding.at(span),
            None => finding,
        }
    };
    let path = error.schema_path().to_string();
    let advised = |finding: Diagnostic| match advice(schema, &path, &pointer) {
        Some(advice) => finding.hint(advice),
        None => finding,
    };
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = siblings(schema, &error.schema_path().to_string(), "properties");
            let known: Vec<&str> = known
                .and_then(Value::as_object)
                .map(|keys| keys.keys().map(String::as_str).collect())
                .unwrap_or_default();
            let finding = |key: &String| {
                let pointer = format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1"));
                let finding = make("ksp::stage::unknown-key", &pointer, format!("unknown key `{key}`"));
                match closest(key, known.iter().copied()) {
                    Some(meant) => finding.hint(format!("did you mean `{meant}`?")),
                    None if known.is_empty() => finding.hint("the plugin takes no config there"),
                    None => finding.hint(format!("there are: {}", known.join(", "))),
                }
            };
            unexpected.iter().map(finding).collect()
        }
        ValidationErrorKind::Required { property } => {
            let key = property.as_str().unwrap_or_default();
            let object = path.strip_suffix("/required").unwrap_or_default();
            let place = format!("{object}/properties/{key}/type");
            let finding = make("ksp::stage::missing-key", &pointer, format!("`{key}` is missing"));
            let hint = advice(schema, &place, &format!("/{key}")).unwrap_or_else(|| format!("write `{key}`"));
            vec![finding.hint(hint)]
        }
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().map_or(&[][..], Vec::as_slice);
            vec![advised(make("ksp::stage::config", &pointer, expected(error.instance(), options)))]
        }
        ValidationErrorKind::OneOfNotValid { .. } | ValidationErrorKind::AnyOf { .. } => {
            let choices = choices(schema, &error.schema_path().to_string());
            let message =
                if choices.is_empty() { shortened(error) } else { expected(error.instance(), &choices) };
            vec![advised(make("ksp::stage::config", &pointer, message))]
        }
        _ => vec![advised(make("ksp::stage::config", &pointer, shortened(error)))],
    }
}

/// What a key means and what it is without being written, as the schema says beside the keyword that a path ends with.
fn advice(schema: &Value, path: &str, pointer: &str) -> Option<String> {
    // A reference may stand between the property and the keyword: the property says it best.
    let mut place = path.rsplit_once('/')?.0;
    while let Some(outer) = place.strip_suffix("/$ref") {
        place = outer;
    }
    let property = follow(schema, place)?;
    let key = pointer.rsplit('/').next()?;
    let meaning = property.get("description")?.as_str()?.trim_end_matches('.');
    Some(match property.get("default") {
        Some(default) => format!("`{key}`: {meaning}; the default is {default}"),
        None => format!("`{key}`: {meaning}"),
    })
}

fn expected(found: &Value, choices: &[Value]) -> String {
    let texts: Vec<String> = choices.iter().map(ToString::to_string).collect();
    format!("{found} is not one of {}", texts.join(", "))
}

/// Texts of the library quote the whole value, which can be long.
fn shortened(error: &ValidationError<'_>) -> String {
    let text = error.to_string();
    if text.chars().count() <= 300 {
        return text;
    }
    format!("{}…", text.chars().take(300).collect::<String>())
}

/// The constants of a documented enum: `oneOf: [{const: "a"}, …]`.
fn choices(schema: &Value, path: &str) -> Vec<Value> {
    let Some(options) = follow(schema, path).and_then(Value::as_array) else { return Vec::new() };
    let mut constants = Vec::new();
    for option in options {
        match (option.get("const"), option.get("enum").and_then(Value::as_array)) {
            (Some(constant), _) => constants.push(constant.clone()),
            (None, Some(many)) => constants.extend(many.iter().cloned()),
            (None, None) => return Vec::new(),
        }
    }
    constants
}

/// What stands beside the keyword that a schema path ends with.
fn siblings<'a>(schema: &'a Value, path: &str, keyword: &str) -> Option<&'a Value> {
    let (parent, _) = path.rsplit_once('/')?;
    follow(schema, parent)?.get(keyword)
}

/// Walks a schema path; `$ref` leads to another place of the same schema.
fn follow<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    let mut here = schema;
    for part in path.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        let next = match here {
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            other => other.get(&part)?,
        };
        here = match (part.as_str(), next.as_str()) {
            ("$ref", Some(reference)) => schema.pointer(reference.strip_prefix('#')?)?,
            _ => next,
        };
    }
    Some(here)
}

/// The candidate that was probably meant.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    crate::manifest::suggest::closest(word, candidates)
}
