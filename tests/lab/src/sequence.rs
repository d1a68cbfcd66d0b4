//! A client of the cluster that nothing may fool: it writes numbers while faults happen and remembers which were acknowledged.
//! Each number is written with retries for as long as the checker runs; at the end all are read back.
//!
//! ```no_run
//! # let scenario = ksp_lab::scenario::Scenario::load("ha")?;
//! let sequence = ksp_lab::sequence::Sequence::start(&scenario, "w1", "https://127.0.0.1:7443")?;
//! scenario.node("cp1")?.kill()?;
//! let seen = sequence.finish()?; // fails when an acknowledged number is gone
//! assert!(seen.longest_gap.as_secs() < 15);
//! # Ok::<(), anyhow::Error>(())
//! ```

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::node::Node;
use crate::scenario::Scenario;
use crate::tell;
use anyhow::{Context, Result, bail, ensure};

/// The administrator's kubeconfig on the node that writes.
const KUBECONFIG: &str = "/tmp/sequence.conf";
/// The same where kubeadm has put it, on a control plane.
const ADMIN: &str = "/etc/kubernetes/admin.conf";
/// A request that takes longer has failed.
const REQUEST: u64 = 2;
/// Between two numbers, seconds.
const PAUSE: &str = "0.2";
/// How long the last number may take after the fault is over.
const LAST: Duration = Duration::from_secs(60);

/// Runs until [`Sequence::finish`].
pub struct Sequence<'a> {
    node: &'a Node,
    kubectl: String,
    writer: Child,
    reader: Option<JoinHandle<()>>,
    seen: Arc<Mutex<Seen>>,
}

/// What the client has seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Numbers whose write was acknowledged, as one range from 1.
    pub acknowledged: u32,
    /// Requests that failed and were made again.
    pub failed: u32,
    /// Most failures in a row: 1 when one retry cured each.
    pub in_a_row: u32,
    /// The longest time between two acknowledged writes, each read back.
    pub longest_gap: Duration,
    /// What the failed requests said, each once.
    pub reasons: BTreeSet<String>,
    last: Option<Instant>,
    failing: u32,
}

impl Seen {
    fn read(&mut self, line: &str) {
        if let Some(number) = line.strip_prefix("ok ").and_then(|number| number.parse().ok()) {
            let now = Instant::now();
            if let Some(last) = self.last.replace(now) {
                self.longest_gap = self.longest_gap.max(now - last);
            }
            self.acknowledged = number;
            self.failing = 0;
        } else if let Some(reason) = line.strip_prefix("failed ") {
            self.failed += 1;
            self.failing += 1;
            self.in_a_row = self.in_a_row.max(self.failing);
            self.reasons.insert(reason.to_owned());
        }
    }
}

/// Writes a number, reads it back, says `ok N`. One ConfigMap a number, so that none hides the loss of another; one whose write
/// happened before its answer was lost is there already, with the same value.
fn script(kubectl: &str) -> String {
    format!(
        "n=1
        while :; do
            if said=$({kubectl} create configmap n$n --from-literal=n=$n 2>&1) || case $said in *'already exists'*) true;; *) false;; esac; then
                if said=$({kubectl} get configmap n$n -o 'jsonpath={{.data.n}}' 2>&1) && [ \"$said\" = $n ]; then
                    echo ok $n; n=$((n + 1)); sleep {PAUSE}; continue
                fi
            fi
            echo failed $said | tr '\\n' ' '; echo
            sleep 0.1
        done"
    )
}

impl<'a> Sequence<'a> {
    /// Begins to write from a node through a server ("https://127.0.0.1:7443"), with the administrator's certificate; returns when the
    /// first numbers are written.
    pub fn start(scenario: &'a Scenario, node: &str, server: &str) -> Result<Self> {
        let node = scenario.node(node)?;
        let kubeconfig = std::fs::read(scenario.kubeconfig())?;
        node.ssh("root").arg(format!("umask 077; cat > {KUBECONFIG}")).input(kubeconfig).output()?;
        Self::begin(node, KUBECONFIG, server)
    }

    /// Begins to write on a control plane through its own API server, while the cluster is still being made.
    pub fn beside(scenario: &'a Scenario, control_plane: &str) -> Result<Self> {
        let node = scenario.node(control_plane)?;
        Self::begin(node, ADMIN, &format!("https://{}:6443", node.address))
    }

    fn begin(node: &'a Node, kubeconfig: &str, server: &str) -> Result<Self> {
        // A namespace of its own: one that is going away takes nothing new.
        let namespace = format!("sequence-{}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis());
        let kubectl = format!(
            "kubectl --kubeconfig={kubeconfig} --server={server} --request-timeout={REQUEST}s --namespace={namespace}"
        );
        node.exec(&format!("{kubectl} create namespace {namespace}"))?;
        let mut writer = node
            .ssh("root")
            .arg(script(&kubectl))
            .into_command()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start the writer")?;
        let seen = Arc::new(Mutex::new(Seen::default()));
        let output = BufReader::new(writer.stdout.take().context("no output")?);
        let reader = {
            let seen = Arc::clone(&seen);
            std::thread::spawn(move || {
                for line in output.lines().map_while(std::io::Result::ok) {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).read(&line);
                }
            })
        };
        let sequence = Self { node, kubectl, writer, reader: Some(reader), seen };
        sequence.passes(3)?;
        Ok(sequence)
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until this many further numbers are written.
    pub fn passes(&self, numbers: u32) -> Result<()> {
        let wanted = self.seen().acknowledged + numbers;
        let end = Instant::now() + LAST;
        while self.seen().acknowledged < wanted {
            let seen = self.seen();
            ensure!(
                Instant::now() < end,
                "no more than {} of {wanted} numbers are written: {:?}",
                seen.acknowledged,
                seen.reasons
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Waits for one more number, ends the writer, and reads all numbers back.
    pub fn finish(mut self) -> Result<Seen> {
        self.passes(1)?;
        self.stop()?;
        let seen = self.seen();
        let listed = self.node.exec(&format!(
            "{} get configmaps -o 'jsonpath={{range .items[*]}}{{.metadata.name}}={{.data.n}}{{\"\\n\"}}{{end}}'",
            self.kubectl
        ))?;
        let listed: BTreeSet<&str> = listed.lines().collect();
        let lost: Vec<u32> = (1..=seen.acknowledged)
            .filter(|number| !listed.contains(format!("n{number}={number}").as_str()))
            .collect();
        if !lost.is_empty() {
            bail!("{} of {} acknowledged writes are lost: {lost:?}", lost.len(), seen.acknowledged);
        }
        tell::say(format_args!(
            "sequence: {} numbers written and read back; {} requests failed, at most {} in a row; longest gap {:.1} s",
            seen.acknowledged,
            seen.failed,
            seen.in_a_row,
            seen.longest_gap.as_secs_f64()
        ));
        Ok(seen)
    }

    fn stop(&mut self) -> Result<()> {
        self.writer.kill()?;
        self.writer.wait()?;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        Ok(())
    }
}

impl Drop for Sequence<'_> {
    fn drop(&mut self) {
        let _ = self.stop();
    }
}
