//! The tests with real nodes: which of them run, and how they went.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::process::{self, Run};
use crate::{mirror, tell};

/// The test program. Its tests are `#[ignore]`d, so that nobody needs nodes who does not ask for them.
const PROGRAM: &str = "e2e";

/// Modules of the test program that cover most. Of the others one a day runs: all of them would take longer than people wait.
const ALWAYS: [&str; 4] = ["converge", "high_availability", "interrupted", "refused"];

/// For one test, seconds.
const LONGEST: u64 = 1800;

/// Which tests run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// [`ALWAYS`], and the one whose day it is.
    Today,
    /// Every one.
    All,
    /// Those with one of these words in their name.
    Named(Vec<String>),
}

/// Runs them one at a time, and shows a table of all at the end.
pub(super) fn run(choice: &Choice) -> Result<()> {
    mirror::ensure()?;
    super::demo::build_ksp()?;
    let all = list()?;
    let day = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / 86_400;
    let chosen = choose(&all, choice, day);
    ensure!(!chosen.is_empty(), "no test has this name; there are:\n{}", all.join("\n"));
    let mut results = Vec::new();
    for name in chosen {
        let start = Instant::now();
        let passed = cargo(&["--exact", name]).deadline(LONGEST).shown().is_ok();
        results.push((name, passed, start.elapsed()));
    }
    tell::say(format_args!("tests with real nodes:\n{}", table(&all, &results)));
    let failed: Vec<&str> = results.iter().filter(|(_, passed, _)| !passed).map(|(name, ..)| *name).collect();
    if !failed.is_empty() {
        bail!("failed: {}; again: `cargo lab test {}`", failed.join(", "), failed.join(" "));
    }
    Ok(())
}

fn cargo(words: &[&str]) -> Run {
    let test = ["test", "--workspace", "--test", PROGRAM, "--", "--ignored", "--test-threads=1"];
    process::cargo().args(test).args(words)
}

/// The names of all of them, sorted.
fn list() -> Result<Vec<String>> {
    let text =
        cargo(&["--list", "--format=terse"]).deadline(3600).output().context("the tests do not build")?;
    let mut names: Vec<String> =
        text.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect();
    names.sort();
    Ok(names)
}

fn choose<'a>(all: &'a [String], choice: &Choice, day: u64) -> Vec<&'a str> {
    let names = all.iter().map(String::as_str);
    match choice {
        Choice::All => names.collect(),
        Choice::Named(words) => {
            names.filter(|name| words.iter().any(|word| name.contains(word.as_str()))).collect()
        }
        Choice::Today => {
            let always =
                |name: &&str| name.split_once("::").is_some_and(|(module, _)| ALWAYS.contains(&module));
            let (mut chosen, others): (Vec<&str>, Vec<&str>) = names.partition(always);
            if !others.is_empty() {
                chosen.push(others[(day % others.len() as u64) as usize]);
            }
            chosen
        }
    }
}

fn table(all: &[String], results: &[(&str, bool, Duration)]) -> String {
    let width = all.iter().map(String::len).max().unwrap_or(0);
    let row = |name: &String| {
        let result = results.iter().find(|(ran, ..)| ran == name);
        let said = match result {
            Some((_, passed, time)) => {
                format!("{}  {}", if *passed { "passed" } else { "FAILED" }, tell::seconds(*time))
            }
            None => "not run".to_owned(),
        };
        format!("  {name:width$}  {said}")
    };
    all.iter().map(row).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<String> {
        ["converge::a", "etcd::b", "members::c", "refused::d"].map(str::to_owned).to_vec()
    }

    #[test]
    fn each_has_its_day_and_some_have_every_day() {
        let all = all();
        let on = |day| choose(&all, &Choice::Today, day);
        assert_eq!(on(0), ["converge::a", "refused::d", "etcd::b"]);
        assert_eq!(on(1), ["converge::a", "refused::d", "members::c"]);
        assert_eq!(on(2), on(0));
        assert_eq!(choose(&all, &Choice::All, 1).len(), 4);
        assert_eq!(choose(&all, &Choice::Named(vec!["etcd".into(), "none".into()]), 1), ["etcd::b"]);
    }

    #[test]
    fn the_table_tells_of_those_that_did_not_run_too() {
        let all = all();
        let results =
            [("converge::a", true, Duration::from_secs(9)), ("etcd::b", false, Duration::from_millis(1500))];
        assert_eq!(
            table(&all, &results),
            "  converge::a  passed  9.0 s\n  etcd::b      FAILED  1.5 s\n  members::c   not run\n  refused::d   not run"
        );
    }
}
