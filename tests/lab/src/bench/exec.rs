//! The library's own measurements: ignored tests called `measure…` that print `ratio N`.

use anyhow::{Result, bail};

use super::table::Table;
use crate::process::{Run, run};
use crate::{paths, tell};

/// Compiling the library's tests for the first time takes long.
const LONGEST: u64 = 3600;

/// The module that measures → what its ratio is.
const MODULES: &[(&str, &str)] = &[
    ("transport::", "scripts over one connection, ksp / raw shell"),
    ("runtime::", "plugins, warm loading"),
];

/// Adds a row for each; one that cannot be measured says why.
pub fn measure(table: &mut Table) {
    let listed = tell::timed("find the library's measurements", || tests(&["--list"]).output());
    for (module, what) in MODULES {
        let figure = match &listed {
            Ok(listed) => all_of(module, listed),
            Err(error) => Err(anyhow::anyhow!("{}", first_line(&format!("{error:#}")))),
        };
        match figure {
            Ok(ratio) => table.plain(what, format!("{ratio:.2}")),
            Err(error) => table.missing(what, &first_line(&format!("{error:#}"))),
        }
    }
}

/// The median of all ratios that a module's measurements print.
fn all_of(module: &str, listed: &str) -> Result<f64> {
    let names = names(module, listed);
    if names.is_empty() {
        bail!("no ignored test `measure…` below `{module}` in the library");
    }
    let mut ratios = Vec::new();
    for name in &names {
        let output = tell::timed(name, || tests(&["--nocapture", "--exact", name]).output())?;
        for line in output.lines().filter(|line| ratio(line).is_some()) {
            tell::say(format_args!("  {line}"));
        }
        ratios.extend(output.lines().filter_map(ratio));
    }
    ratios.sort_by(f64::total_cmp);
    match ratios.get(ratios.len() / 2) {
        Some(middle) => Ok(*middle),
        None => bail!("{} printed no `ratio N`", names.join(", ")),
    }
}

fn tests(arguments: &[&str]) -> Run {
    run("cargo")
        .args(["test", "--quiet", "--workspace", "--lib", "--", "--ignored"])
        .args(arguments)
        .dir(paths::root())
        .deadline(LONGEST)
}

fn names(module: &str, listed: &str) -> Vec<String> {
    let tests = listed.lines().filter_map(|line| line.trim().strip_suffix(": test"));
    let measures = |path: &str| path.rsplit("::").next().is_some_and(|name| name.starts_with("measure"));
    tests.filter(|path| path.starts_with(module) && measures(path)).map(str::to_owned).collect()
}

/// The number after the word `ratio`.
fn ratio(line: &str) -> Option<f64> {
    let mut words = line.split(|c: char| c.is_whitespace() || ",:=".contains(c)).filter(|w| !w.is_empty());
    words.find(|word| word.eq_ignore_ascii_case("ratio"))?;
    words.next()?.trim_end_matches(['.', ';', ')']).parse().ok()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests_of_parsing {
    use super::*;

    #[test]
    fn ratios_are_found_where_they_are() {
        assert_eq!(ratio("raw 1.2ms ours 1.3ms each, ratio 1.08"), Some(1.08));
        assert_eq!(ratio("test x ... Ratio: 0.5)"), Some(0.5));
        assert_eq!(ratio("ratio unknown"), None);
        assert_eq!(ratio("rational 3"), None);
    }

    #[test]
    fn measurements_are_found_by_module_and_name() {
        let listed = "transport::ssh::tests::measure_a: test\ntransport::other: test\nruntime::measure_b: test\n3 tests";
        assert_eq!(names("transport::", listed), ["transport::ssh::tests::measure_a"]);
        assert_eq!(names("runtime::", listed), ["runtime::measure_b"]);
        assert!(names("plugin::", listed).is_empty());
    }
}
