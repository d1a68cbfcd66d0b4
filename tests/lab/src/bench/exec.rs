//! The library's own measurements: ignored tests called `measure…` that print `ratio N` or `took N ms`.

use std::time::Duration;

use anyhow::{Result, bail};

use super::table::Table;
use crate::process::{self, Run};
use crate::tell;

/// Compiling the library's tests for the first time takes long.
const LONGEST: u64 = 3600;

/// What is measured, and what it should be at most.
enum Wanted {
    /// Printed as `ratio N`.
    Ratio(f64),
    /// Printed as `took N ms`.
    Millis(u64),
}

/// The module that measures, what its figure is, what it should be.
const MODULES: &[(&str, &str, Wanted)] = &[
    ("transport::", "scripts over one connection, ksp / raw shell", Wanted::Ratio(1.3)),
    ("runtime::", "all plugins of a cluster, warm loading", Wanted::Millis(20)),
];

/// Adds a row for each; one that cannot be measured says why.
pub fn measure(table: &mut Table) {
    let listed = tell::timed("find the library's measurements", || tests(&["--list"]).output());
    for (module, what, wanted) in MODULES {
        let word = match wanted {
            Wanted::Ratio(_) => "ratio",
            Wanted::Millis(_) => "took",
        };
        let figure = match &listed {
            Ok(listed) => all_of(module, word, listed),
            Err(error) => Err(anyhow::anyhow!("{}", first_line(&format!("{error:#}")))),
        };
        match (figure, wanted) {
            (Ok(ratio), Wanted::Ratio(most)) => table.ratio(what, ratio, *most, ""),
            (Ok(millis), Wanted::Millis(most)) => {
                table.below(what, Duration::from_secs_f64(millis / 1e3), Duration::from_millis(*most));
            }
            (Err(error), _) => table.missing(what, &first_line(&format!("{error:#}"))),
        }
    }
}

/// The median of all figures that a module's measurements print after this word.
fn all_of(module: &str, word: &str, listed: &str) -> Result<f64> {
    let names = names(module, listed);
    if names.is_empty() {
        bail!("no ignored test `measure…` below `{module}` in the library");
    }
    let mut figures = Vec::new();
    for name in &names {
        let output = tell::timed(name, || tests(&["--nocapture", "--exact", name]).output())?;
        for line in output.lines().filter(|line| figure(word, line).is_some()) {
            tell::say(format_args!("  {line}"));
        }
        figures.extend(output.lines().filter_map(|line| figure(word, line)));
    }
    figures.sort_by(f64::total_cmp);
    match figures.get(figures.len() / 2) {
        Some(middle) => Ok(*middle),
        None => bail!("{} printed no `{word} N`", names.join(", ")),
    }
}

fn tests(arguments: &[&str]) -> Run {
    process::cargo()
        .args(["test", "--quiet", "--workspace", "--lib", "--", "--ignored"])
        .args(arguments)
        .deadline(LONGEST)
}

fn names(module: &str, listed: &str) -> Vec<String> {
    let tests = listed.lines().filter_map(|line| line.trim().strip_suffix(": test"));
    let measures = |path: &str| path.rsplit("::").next().is_some_and(|name| name.starts_with("measure"));
    tests.filter(|path| path.starts_with(module) && measures(path)).map(str::to_owned).collect()
}

/// The number after the word.
fn figure(word: &str, line: &str) -> Option<f64> {
    let mut words = line.split(|c: char| c.is_whitespace() || ",:=".contains(c)).filter(|w| !w.is_empty());
    words.find(|found| found.eq_ignore_ascii_case(word))?;
    words.next()?.trim_end_matches(['.', ';', ')']).parse().ok()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests_of_parsing {
    use super::*;

    #[test]
    fn figures_are_found_where_they_are() {
        assert_eq!(figure("ratio", "raw 1.2ms ours 1.3ms each, ratio 1.08"), Some(1.08));
        assert_eq!(figure("ratio", "test x ... Ratio: 0.5)"), Some(0.5));
        assert_eq!(figure("ratio", "ratio unknown"), None);
        assert_eq!(figure("ratio", "rational 3"), None);
        assert_eq!(figure("took", "ten plugins, took 12.5 ms"), Some(12.5));
    }

    #[test]
    fn measurements_are_found_by_module_and_name() {
        let listed = "transport::ssh::tests::measure_a: test\ntransport::other: test\nruntime::measure_b: test\n3 tests";
        assert_eq!(names("transport::", listed), ["transport::ssh::tests::measure_a"]);
        assert_eq!(names("runtime::", listed), ["runtime::measure_b"]);
        assert!(names("plugin::", listed).is_empty());
    }
}
