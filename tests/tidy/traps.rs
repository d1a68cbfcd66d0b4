//! Every trap of high availability, and of runtimes and networks, is named by the tests that `tests/traps.md` gives.

use super::{read, root};

/// "T6b" as a word of a comment, or `t6b` at the end of a test's name.
fn names(text: &str, trap: &str) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    let found = |sign: &str| text.match_indices(sign).any(|(at, sign)| ends(&text[at + sign.len()..]));
    found(trap) || found(&format!("_{}", trap.to_lowercase()))
}

#[test]
fn every_trap_is_named_by_a_test() {
    let table = read(&root().join("tests/traps.md"));
    let mut traps = Vec::new();
    let mut wrong = Vec::new();
    for row in table.lines().filter(|line| line.starts_with("| T")) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let (trap, files) = (cells[0].trim_start_matches("| "), cells[cells.len() - 1]);
        let files: Vec<&str> = files.split('`').skip(1).step_by(2).collect();
        assert!(!files.is_empty(), "{row}");
        let unnamed = files.iter().filter(|file| !names(&read(&root().join(file)), trap));
        wrong.extend(unnamed.map(|file| format!("{file} does not name {trap}")));
        traps.push(trap.to_owned());
    }
    let all: Vec<String> = (1..=27).chain([30]).chain(43..=56).map(|number| format!("T{number}")).collect();
    wrong.extend(all.iter().filter(|trap| !traps.contains(trap)).map(|trap| format!("{trap} has no row")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_name_is_a_whole_one() {
    assert!(names("/// T6b: `cp1`", "T6b") && names("fn joins_t12()", "T12"));
    assert!(!names("T60 T6b fn joins_t61()", "T6"));
}
