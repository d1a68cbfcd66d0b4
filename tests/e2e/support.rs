//! Runs `ksp` against a scenario's nodes.

pub mod footprint;
pub mod workload;

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use ksp_lab::scenario::Scenario;

/// Longest run of `ksp`; a fresh cluster takes about a minute.
const LONGEST: Duration = Duration::from_secs(600);

/// A scenario's nodes, fresh from the start and removed at the end.
pub struct Lab {
    pub scenario: Scenario,
    state: tempfile::TempDir,
}

/// `etcdctl` about the member on a control plane.
pub const STACKED: &str = "etcdctl --cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt \
    --key=/etc/kubernetes/pki/etcd/healthcheck-client.key --endpoints=https://127.0.0.1:2379 --dial-timeout=2s --command-timeout=3s";

/// `etcdctl` about the member on an etcd node.
pub const EXTERNAL: &str = "etcdctl --cacert=/etc/etcd/pki/ca.crt --cert=/etc/etcd/pki/admin.crt --key=/etc/etcd/pki/admin.key \
    --endpoints=https://127.0.0.1:2379 --dial-timeout=2s --command-timeout=3s";

/// A run that goes on.
struct Up {
    child: Child,
    events: Lines<BufReader<ChildStdout>>,
    run: String,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Fails unless it ended with this code.
    pub fn expect(self, code: i32) -> Result<Self> {
        ensure!(
            self.code == Some(code),
            "exit {:?} and not {code}\n{}\n{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }

    /// Fails unless it said this.
    pub fn says(self, text: &str) -> Result<Self> {
        ensure!(
            self.stdout.contains(text) || self.stderr.contains(text),
            "{text:?} was not said\n{}\n{}",
            self.stdout,
            self.stderr
        );
        Ok(self)
    }
}

impl Lab {
    /// Fresh nodes.
    pub fn fresh(scenario: &str) -> Result<Self> {
        ksp_lab::scenario::down(scenario)?;
        Ok(Self { scenario: Scenario::load(scenario)?.up()?, state: tempfile::tempdir()? })
    }

    /// Everything that ksp kept on this machine is lost: another one goes on with the manifest, its lock file and the SSH key.
    pub fn another_workstation(&mut self) -> Result<()> {
        self.state = tempfile::tempdir()?;
        Ok(())
    }

    /// Changes the manifest.
    pub fn edit(&self, change: impl FnOnce(&str) -> String) -> Result<()> {
        let path = self.scenario.manifest_path();
        let before = std::fs::read_to_string(&path)?;
        let after = change(&before);
        ensure!(before != after, "the manifest is as it was");
        std::fs::write(&path, after).context("cannot write the manifest")
    }

    /// Fails unless exactly these members of etcd vote, as the one on this node says (in the order of their names).
    pub fn expect_voters(&self, etcdctl: &str, on: &str, names: &[&str]) -> Result<()> {
        let list = self.on(on, &format!("{etcdctl} member list"))?;
        let fields = list.lines().map(|line| line.split(", ").collect::<Vec<_>>());
        let voting =
            fields.filter(|fields| fields.get(1) == Some(&"started") && fields.last() == Some(&"false"));
        let mut found: Vec<&str> = voting.filter_map(|fields| fields.get(2).copied()).collect();
        found.sort_unstable();
        ensure!(found == names, "{found:?} vote and not {names:?}");
        Ok(())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(ksp_lab::paths::ksp());
        // Groups have commands of their own; the manifest comes behind the command.
        let grouped = matches!(arguments.first(), Some(&("etcd" | "node")));
        let words = if grouped { 2 } else { 1 };
        let (verbs, rest) = arguments.split_at(words.min(arguments.len()));
        command.args(verbs).arg(self.scenario.manifest_path()).args(rest);
        command.env("KSP_STATE_DIR", self.state.path()).env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Runs `ksp VERB MANIFEST …` to its end.
    pub fn ksp(&self, arguments: &[&str]) -> Result<Ended> {
        let output = tempfile::NamedTempFile::new()?;
        let errors = tempfile::NamedTempFile::new()?;
        let mut child = self
            .command(arguments)
            .stdout(output.reopen()?)
            .stderr(errors.reopen()?)
            .spawn()
            .context("cannot start ksp: `cargo build -p ksp` makes it")?;
        let code = wait(&mut child, LONGEST)?;
        Ok(Ended {
            code,
            stdout: std::fs::read_to_string(output.path())?,
            stderr: std::fs::read_to_string(errors.path())?,
        })
    }

    /// Starts `ksp up` and kills it (-9) a moment after an op of this stage has started. The id of the run, which still holds the
    /// lock.
    pub fn kill_in(&self, stage: &str, op: &str, moment: Duration) -> Result<String> {
        let mut up = self.up_until(stage, op)?;
        std::thread::sleep(moment);
        up.child.kill()?;
        up.child.wait()?;
        Ok(up.run)
    }

    /// Starts `ksp up` and kills it (-9) as soon as something is so after an op of this stage has started. The id of the run, which
    /// still holds the lock.
    pub fn kill_when(&self, stage: &str, op: &str, so: impl Fn() -> Result<()>) -> Result<String> {
        let mut up = self.up_until(stage, op)?;
        let end = Instant::now() + Duration::from_secs(180);
        while let Err(why) = so() {
            let over = up.child.try_wait()?.is_some();
            if over || Instant::now() > end {
                let _ = up.child.kill();
                up.child.wait()?;
                return Err(why.context("it did not come to that"));
            }
        }
        up.child.kill()?;
        up.child.wait()?;
        Ok(up.run)
    }

    /// Starts a command that changes the cluster and kills it (-9) as soon as something is so.
    pub fn kill_command_when(&self, arguments: &[&str], so: impl Fn() -> Result<()>) -> Result<()> {
        let said = tempfile::NamedTempFile::new()?;
        let file = said.reopen()?;
        let mut child = self.command(arguments).stdout(file.try_clone()?).stderr(file).spawn()?;
        let came = ksp_lab::wait::until("the moment to kill it", Duration::from_secs(120), so);
        child.kill()?;
        let ended = child.wait()?.code();
        let said = std::fs::read_to_string(said.path())?;
        ensure!(ended.is_none(), "it had ended before: {said}");
        came.with_context(|| format!("it said: {said}"))
    }

    /// Starts `ksp up` with further arguments and kills it (-9) as soon as an op of this stage has started.
    pub fn kill_with(&self, arguments: &[&str], stage: &str, op: &str) -> Result<()> {
        let mut up = self.up_until_with(arguments, stage, op)?;
        up.child.kill()?;
        up.child.wait()?;
        Ok(())
    }

    /// Starts `ksp up`, asks it to end as soon as an op of this stage has started, and waits until it has. Its exit code.
    pub fn terminate_in(&self, stage: &str, op: &str) -> Result<Option<i32>> {
        let mut up = self.up_until(stage, op)?;
        let sent = Command::new("kill").args(["-TERM", &up.child.id().to_string()]).status()?;
        ensure!(sent.success(), "ksp had ended before it was asked to");
        // It goes on writing events until then.
        for line in up.events {
            line?;
        }
        wait(&mut up.child, LONGEST)
    }

    /// Starts `ksp up` and reads its events until an op of this stage has started that has this in its key.
    fn up_until(&self, stage: &str, op: &str) -> Result<Up> {
        self.up_until_with(&[], stage, op)
    }

    fn up_until_with(&self, arguments: &[&str], stage: &str, op: &str) -> Result<Up> {
        let mut child = self
            .command(&["up", "--yes", "-o", "ndjson"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut events = BufReader::new(child.stdout.take().context("no output")?).lines();
        let mut seen = Vec::new();
        let mut run = String::new();
        while let Some(line) = events.next() {
            let line = line?;
            let Ok(event) = serde_json::from_str::<serde_json::Value>(&line) else {
                child.kill()?;
                child.wait()?;
                bail!("this is no event: {line}");
            };
            if event["type"] == "run_started" {
                run = event["run"].as_str().unwrap_or_default().to_owned();
            }
            let started = event["type"] == "op_started" && event["stage"] == stage;
            if started && event["op"].as_str().is_some_and(|key| key.contains(op)) {
                return Ok(Up { child, events, run });
            }
            seen.push(line);
        }
        child.wait()?;
        bail!("{stage} never started {op:?}:\n{}", seen.join("\n"))
    }

    /// Two runs at the same time: the second one is refused, and leaves the first in peace.
    pub fn only_one_of_two_runs_goes_on(&self) -> Result<()> {
        let said = self.state.path().join("first-run");
        let output = std::fs::File::create(&said)?;
        let mut first = self.command(&["up", "--yes"]).stdout(output.try_clone()?).stderr(output).spawn()?;
        let locked = ksp_lab::wait::until("the first run holds the lock", Duration::from_secs(60), || {
            self.on("cp1", "test -e /var/lib/ksp/lease.json")
        });
        let second = locked.and_then(|_| self.ksp(&["up", "--yes"]));
        let code = wait(&mut first, LONGEST)?;
        second?.expect(5)?.says("locked")?;
        let said = std::fs::read_to_string(&said)?;
        ensure!(code == Some(0), "the first run ended with {code:?}:\n{said}");
        Ok(())
    }

    /// The output of a shell line on a node.
    pub fn on(&self, node: &str, line: &str) -> Result<String> {
        self.scenario.node(node)?.exec(line)
    }

    /// The output of `kubectl` with these words.
    pub fn kubectl(&self, words: &str) -> Result<String> {
        ksp_lab::proof::Kubectl::of(&self.scenario)?.run(words).output()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os("KSP_LAB_KEEP").is_none() {
            let _ = self.scenario.down();
        }
    }
}

/// Waits for a program, within a deadline.
fn wait(child: &mut Child, longest: Duration) -> Result<Option<i32>> {
    let end = Instant::now() + longest;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            bail!("ksp took more than {} s", longest.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
