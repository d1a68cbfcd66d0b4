//! Running other programs: every one with a deadline, and its last words when it fails.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How much of a failed program's output is shown.
const LAST_WORDS: usize = 4000;

/// A command to be run; the deadline is a minute unless said otherwise.
#[must_use]
pub struct Run {
    command: Command,
    shown: String,
    deadline: Duration,
    input: Option<Vec<u8>>,
}

/// A program by name or path.
pub fn run(program: impl AsRef<OsStr>) -> Run {
    let shown = program.as_ref().to_string_lossy().into_owned();
    Run { command: Command::new(program), shown, deadline: Duration::from_secs(60), input: None }
}

/// cargo as its user's shell would start it, in the checkout. What the lab itself was started by cargo with is not handed on: build
/// scripts watch it, and everything would be built twice.
pub fn cargo() -> Run {
    let mut run = run("cargo").dir(crate::paths::root());
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            run.command.env_remove(name);
        }
    }
    run
}

impl Run {
    /// One more argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(' ');
        self.shown.push_str(&arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    /// More arguments.
    pub fn args<A: AsRef<OsStr>>(self, args: impl IntoIterator<Item = A>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Its working folder.
    pub fn dir(mut self, dir: impl AsRef<Path>) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// What it reads.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = Some(bytes.into());
        self
    }

    /// How long it may take.
    pub fn deadline(mut self, seconds: u64) -> Self {
        self.deadline = Duration::from_secs(seconds);
        self
    }

    /// Runs it; its standard output when it succeeds, its last words when it does not.
    pub fn output(self) -> Result<String> {
        let shown = self.shown.clone();
        let (status, stdout, stderr) = self.collect()?;
        if !status.success() {
            let words = format!("{stdout}{stderr}");
            bail!("`{shown}` failed ({status}):\n{}", tail(words.trim_end()));
        }
        Ok(stdout)
    }

    /// Runs it; whether it succeeded.
    pub fn succeeds(self) -> Result<bool> {
        Ok(self.collect()?.0.success())
    }

    /// Runs it with this terminal as its input and output.
    pub fn shown(mut self) -> Result<()> {
        let mut child = self.command.spawn().with_context(|| format!("cannot run `{}`", self.shown))?;
        let status = finish(&mut child, self.deadline, &self.shown)?;
        if !status.success() {
            bail!("`{}` failed ({status})", self.shown);
        }
        Ok(())
    }

    /// The bare command, for who wants to become it.
    pub fn into_command(self) -> Command {
        self.command
    }

    fn collect(mut self) -> Result<(ExitStatus, String, String)> {
        // Files, not pipes: nothing can block on a full one, and no threads are needed.
        let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        self.command.stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        match &self.input {
            Some(bytes) => {
                let mut file = tempfile::tempfile()?;
                file.write_all(bytes)?;
                file.rewind()?;
                self.command.stdin(file)
            }
            None => self.command.stdin(Stdio::null()),
        };
        let mut child = self.command.spawn().with_context(|| format!("cannot run `{}`", self.shown))?;
        let status = match finish(&mut child, self.deadline, &self.shown) {
            Ok(status) => status,
            Err(late) => bail!("{late}; its last words:\n{}", tail(read(&mut stderr)?.trim_end())),
        };
        Ok((status, read(&mut stdout)?, read(&mut stderr)?))
    }
}

fn finish(child: &mut Child, deadline: Duration, shown: &str) -> Result<ExitStatus> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            bail!("`{shown}` was stopped: it took more than {} s", deadline.as_secs());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

fn read(file: &mut File) -> Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn tail(words: &str) -> &str {
    let mut start = words.len().saturating_sub(LAST_WORDS);
    while !words.is_char_boundary(start) {
        start += 1;
    }
    &words[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_output_and_failure() {
        assert_eq!(run("cat").input("hello").output().unwrap(), "hello");
        let error = run("sh").args(["-c", "echo why >&2; exit 3"]).output().unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("why"), "{error}");
    }

    #[test]
    fn a_deadline_ends_it() {
        let start = Instant::now();
        let error = run("sleep").arg("30").deadline(1).output().unwrap_err().to_string();
        assert!(error.contains("more than 1 s"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
