//! Data flows one way through `host/src`: a module uses what stands above it in `lib.rs`, and nobody names a stage.

use super::{files, read, root, shown};

/// From the first to the last; modules of one line may use each other.
const LAYERS: &[&[&str]] = &[
    &["redact", "paths", "random", "diagnostic", "event"],
    &["node"],
    &["manifest"],
    &["state", "transport", "plugin", "ledger", "facts", "pki", "secrets", "kubernetes", "op"],
    &["plan"],
    &["runtime"],
    &["exec"],
    &["run"],
    &["operations"],
    &["cli"],
];

fn layer(module: &str) -> usize {
    LAYERS
        .iter()
        .position(|layer| layer.contains(&module))
        .unwrap_or_else(|| panic!("`{module}` has no layer"))
}

fn is_test(path: &str) -> bool {
    path.contains("test") || path.contains("fake") || path.contains("harness")
}

#[test]
fn modules_use_only_what_stands_above_them() {
    let source = root().join("host/src");
    let mut wrong = Vec::new();
    for file in files(&source, ".rs") {
        let relative = file.strip_prefix(&source).map(|path| path.display().to_string()).unwrap_or_default();
        let module = relative.split(['/', '.']).next().unwrap_or_default().to_owned();
        if module == "lib" || module == "main" || is_test(&relative) {
            continue;
        }
        let text = read(&file);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for used in code.lines().filter(|line| !line.trim_start().starts_with("//")).flat_map(uses) {
            if layer(&used) > layer(&module) {
                wrong.push(format!("{} uses crate::{used}", shown(&file)));
            }
        }
    }
    wrong.dedup();
    assert!(wrong.is_empty(), "against the direction of the layers:\n{}", wrong.join("\n"));
}

fn uses(line: &str) -> Vec<String> {
    let after = line.split("crate::").skip(1);
    let module =
        |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    after.map(module).filter(|name| !name.is_empty()).collect()
}

#[test]
fn the_host_names_no_stage() {
    let stages: Vec<String> = files(&root().join("plugins"), "plugin.toml")
        .iter()
        .filter_map(|manifest| Some(manifest.parent()?.file_name()?.to_string_lossy().into_owned()))
        .collect();
    assert!(stages.len() >= 10, "{stages:?}");
    let mut named = Vec::new();
    for file in files(&root().join("host/src"), ".rs") {
        if is_test(&shown(&file)) {
            continue;
        }
        let text = read(&file);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate() {
            let line = line.trim_start();
            let stage = stages.iter().find(|stage| line.contains(&format!("\"ksp/{stage}\"")));
            if let Some(stage) = stage
                && !line.starts_with("//")
            {
                named.push(format!("{}:{} names {stage}", shown(&file), number + 1));
            }
        }
    }
    assert!(named.is_empty(), "{}", named.join("\n"));
}
