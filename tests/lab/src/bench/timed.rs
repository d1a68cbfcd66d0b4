//! Wall time of a program, finely enough for one that ends within milliseconds.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::process::{Run, run};

/// Lines of a failed program's output that are shown.
const LAST_WORDS: usize = 40;

/// The program under test.
pub fn ksp() -> Run {
    run(paths::ksp()).env("NO_COLOR", "1")
}

/// Runs it to its end; how long it took and what it wrote. An error when it fails or takes longer.
pub fn once(run: Run, longest: Duration) -> Result<(Duration, String)> {
    let mut command = run.into_command();
    let shown = command.get_program().to_string_lossy().into_owned();
    let mut output = tempfile::tempfile()?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    let start = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run `{shown}`"))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let elapsed = start.elapsed();
        if elapsed > longest {
            child.kill()?;
            child.wait()?;
            bail!("{shown} took more than {} s:\n{}", longest.as_secs(), last(&read(&mut output)?));
        }
        let fine = elapsed < Duration::from_secs(1);
        std::thread::sleep(if fine { Duration::from_micros(200) } else { Duration::from_millis(10) });
    };
    let took = start.elapsed();
    let words = read(&mut output)?;
    if !status.success() {
        bail!("{shown} failed ({status}):\n{}", last(&words));
    }
    Ok((took, words))
}

/// The median of so many runs.
pub fn median(runs: usize, command: impl Fn() -> Run, longest: Duration) -> Result<Duration> {
    let times: Result<Vec<Duration>> = (0..runs).map(|_| Ok(once(command(), longest)?.0)).collect();
    middle(times?).context("nothing was run")
}

fn middle(mut times: Vec<Duration>) -> Option<Duration> {
    times.sort_unstable();
    let upper = *times.get(times.len() / 2)?;
    let lower = times[(times.len() - 1) / 2];
    Some((lower + upper) / 2)
}

fn read(file: &mut File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn last(words: &str) -> String {
    let lines: Vec<&str> = words.lines().collect();
    lines[lines.len().saturating_sub(LAST_WORDS)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even() {
        let of = |millis: &[u64]| middle(millis.iter().copied().map(Duration::from_millis).collect());
        assert_eq!(of(&[9, 1, 5]), Some(Duration::from_millis(5)));
        assert_eq!(of(&[4, 1, 2, 9]), Some(Duration::from_millis(3)));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn failure_and_lateness_are_told_with_the_last_words() {
        let sh = |line: &str| run("sh").args(["-c", line]);
        let error = once(sh("echo why; exit 4"), Duration::from_secs(10)).unwrap_err().to_string();
        assert!(error.contains("why") && error.contains('4'), "{error}");
        let error = once(run("sleep").arg("30"), Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("took more than"), "{error}");
    }
}
