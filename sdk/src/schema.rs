//! Keeps a plugin's `config.schema.json` in step with its config struct. Called by the test that `register!` adds.

use std::path::Path;

use schemars::JsonSchema;

/// The JSON Schema of a config as text, with a line end.
pub fn text<T: JsonSchema>() -> String {
    let schema =
        schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>();
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}

/// Compares with the file in `folder`, or writes it when `KSP_UPDATE=1`.
///
/// # Panics
/// They differ.
pub fn check<T: JsonSchema>(folder: &str, package: &str) {
    let path = Path::new(folder).join("config.schema.json");
    let wanted = text::<T>();
    if std::env::var_os("KSP_UPDATE").is_some_and(|value| value == "1") {
        if let Err(error) = std::fs::write(&path, &wanted) {
            panic!("{} cannot be written: {error}", path.display());
        }
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} does not match the config struct; rewrite it with `KSP_UPDATE=1 cargo test -p {package}`",
        path.display()
    );
}
