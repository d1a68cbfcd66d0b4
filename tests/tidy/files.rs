//! One file, one job: lengths, names, README files.

use super::{files, read, root, shown};

/// No file may be longer, in lines.
const LONGEST: usize = 800;

/// How many files may be longer than [`SOFT`].
const SOFT: usize = 400;

#[test]
fn no_file_is_too_long() {
    let mut long = Vec::new();
    for file in files(&root(), ".rs") {
        let lines = read(&file).lines().count();
        assert!(
            lines <= LONGEST,
            "{} has {lines} lines, at most {LONGEST}: split it by what it does",
            shown(&file)
        );
        if lines > SOFT {
            long.push(format!("{} ({lines})", shown(&file)));
        }
    }
    assert!(long.len() <= 12, "too many files have more than {SOFT} lines: {}", long.join(", "));
}

#[test]
fn modules_are_named_after_what_they_hold() {
    let nameless: Vec<String> = files(&root(), "/mod.rs").iter().map(|file| shown(file)).collect();
    assert!(nameless.is_empty(), "use `foo.rs` beside `foo/`: {nameless:?}");
}

#[test]
fn plugins_describe_themselves() {
    for manifest in files(&root().join("plugins"), "plugin.toml") {
        let folder = manifest.parent().unwrap_or(&manifest);
        for file in ["README.md", "config.schema.json", "Cargo.toml", "src/lib.rs"] {
            assert!(folder.join(file).is_file(), "{} has no {file}", shown(folder));
        }
    }
}
