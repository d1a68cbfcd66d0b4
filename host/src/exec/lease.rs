//! The lease: at most one run changes a cluster. It is held on a majority of the control-plane nodes, expires by each node's own
//! monotonic clock, and carries a fencing token: a run that was overtaken while it slept is refused by every node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::diagnostic::Diagnostic;
use crate::exec::Cancel;
use crate::exec::layout::Layout;
use crate::transport::quote::quote;
use crate::transport::{Output, Script, Session};

/// How long a lease holds without renewal.
pub const TERM: Duration = Duration::from_secs(45);
/// How often it is renewed.
pub const RENEWAL: Duration = Duration::from_secs(10);
/// How often one that another run holds is asked for.
const ASKED_AGAIN: Duration = Duration::from_secs(2);
/// One question to one node.
const ANSWER_WITHIN: Duration = Duration::from_secs(8);
/// Two runs that start together can each get a part: both let go and try again.
const ATTEMPTS: u32 = 5;

/// A control-plane node that can hold a lease.
#[derive(Clone)]
pub struct Holder {
    /// Its name.
    pub node: String,
    /// The connection.
    pub session: Arc<dyn Session>,
}

/// Who wants the lease.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The cluster's name, for messages.
    pub cluster: String,
    /// The run's id: letters, digits and hyphens.
    pub run: String,
    /// `user@machine`.
    pub who: String,
    /// "ksp up".
    pub command: String,
    /// RFC 3339, by the workstation's clock.
    pub since: String,
    /// The highest fencing token that was seen on any node.
    pub highest_token: u64,
}

/// What `/var/lib/ksp/lease.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// The run's fencing token.
    pub token: u64,
    /// By the node's uptime, in seconds.
    pub expires: u64,
    /// The node's boot id when it was written.
    pub boot: String,
    /// The run that holds it.
    pub run: String,
    /// `user@machine`.
    pub who: String,
    /// "ksp up".
    pub command: String,
    /// RFC 3339, by that workstation's clock.
    pub since: String,
}

/// Why there is no lease.
#[derive(Debug, Clone)]
pub enum LeaseError {
    /// Another run holds it.
    Held {
        /// Which.
        held: Box<Held>,
        /// Since it was last renewed.
        silent: Duration,
        /// The cluster's name.
        cluster: String,
    },
    /// Too few control-plane nodes answered.
    NoMajority {
        /// How many would be enough.
        needed: usize,
        /// How many said yes.
        got: usize,
        /// What the others said.
        reasons: Vec<String>,
    },
}

impl From<LeaseError> for Diagnostic {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Held { held, silent, cluster } => {
                let Held { run, who, command, since, .. } = *held;
                let life = silent.as_secs();
                Diagnostic::error("ksp::lease::held", format!("cluster {cluster} is locked by run {run}"))
                    .note(format!("who: {who}, `{command}`, since {since}, last sign of life {life}s ago"))
                    .hint(format!(
                        "wait for it with `--lock-timeout 10m`; if that run is dead: `ksp unlock <manifest> {run}`"
                    ))
            }
            LeaseError::NoMajority { needed, got, reasons } => {
                let message =
                    format!("the cluster cannot be locked: {got} of {needed} needed control planes agreed");
                let mut finding = Diagnostic::error("ksp::lease::no-majority", message);
                finding.notes = reasons;
                finding.hint("a majority of the control-plane nodes must be reachable; `ksp status` shows which are not")
            }
        }
    }
}

/// A lease in force. It is renewed until it is released or dropped.
pub struct Lease {
    shared: Arc<Shared>,
    renewal: tokio::task::JoinHandle<()>,
}

struct Shared {
    holders: Vec<Holder>,
    majority: usize,
    layout: Layout,
    claim: Claim,
    token: u64,
    lost: AtomicBool,
    renewed: std::sync::Mutex<Instant>,
}

impl Lease {
    /// Takes the lease. `total` counts all control-plane nodes, also those that cannot be reached.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub async fn acquire(
        holders: Vec<Holder>,
        total: usize,
        claim: Claim,
        layout: Layout,
    ) -> Result<Lease, LeaseError> {
        let majority = total / 2 + 1;
        let mut token = claim.highest_token + 1;
        let mut last = LeaseError::NoMajority { needed: majority, got: 0, reasons: Vec::new() };
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                let pause: u64 = rand::random_range(50..400);
                tokio::time::sleep(Duration::from_millis(pause * u64::from(attempt))).await;
            }
            let shared = Shared {
                holders: holders.clone(),
                majority,
                layout: layout.clone(),
                claim: claim.clone(),
                token,
                lost: AtomicBool::new(false),
                renewed: std::sync::Mutex::new(Instant::now()),
            };
            match shared.try_acquire().await {
                Ok(()) => return Ok(Self::keep(shared)),
                Err(Refused::Behind(seen)) => token = seen + 1,
                Err(Refused::Split(error)) => last = error,
                Err(Refused::Finally(error)) => return Err(error),
            }
        }
        Err(last)
    }

    /// Takes the lease, and waits for it while another run holds it, at most so long. None when the run is to end before.
    ///
    /// # Errors
    /// See [`LeaseError`].
    pub async fn wait(
        holders: Vec<Holder>,
        total: usize,
        claim: Claim,
        layout: Layout,
        patience: (Duration, &Cancel),
    ) -> Result<Option<Lease>, LeaseError> {
        let (at_most, cancel) = patience;
        let give_up = Instant::now() + at_most;
        loop {
            match Self::acquire(holders.clone(), total, claim.clone(), layout.clone()).await {
                Ok(lease) => return Ok(Some(lease)),
                Err(LeaseError::Held { .. }) if Instant::now() < give_up => {}
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = tokio::time::sleep(ASKED_AGAIN) => {}
                () = cancel.stopping() => return Ok(None),
            }
        }
    }

    fn keep(shared: Shared) -> Self {
        let shared = Arc::new(shared);
        let renewal = tokio::spawn(renew_forever(Arc::clone(&shared)));
        Self { shared, renewal }
    }

    /// The fencing token: higher than that of every earlier run.
    pub fn token(&self) -> u64 {
        self.shared.token
    }

    /// True as long as no other run can have it. Ask before each effect.
    pub fn holds(&self) -> bool {
        let renewed = *self.shared.renewed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        !self.shared.lost.load(Ordering::SeqCst) && renewed.elapsed() < TERM
    }

    /// Gives it back. Nodes that do not answer let it expire.
    pub async fn release(&self) {
        self.renewal.abort();
        self.shared.ask_all("release").await;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewal.abort();
    }
}

enum Refused {
    /// A node has seen this token or a higher one.
    Behind(u64),
    /// Another run has a part of the nodes.
    Split(LeaseError),
    Finally(LeaseError),
}

impl Shared {
    async fn try_acquire(&self) -> Result<(), Refused> {
        let mut got = 0;
        let mut held = Vec::new();
        let mut behind = None;
        let mut reasons = Vec::new();
        for (holder, answer) in self.holders.iter().zip(self.ask_all("acquire").await) {
            let text = answer.as_ref().map(Output::text).unwrap_or_default();
            match answer {
                Ok(output) if output.ok() => got += 1,
                Ok(output) if output.status == 75 => held.extend(parse_held(&text)),
                Ok(output) if output.status == 76 => {
                    let seen = text.trim().strip_prefix("behind ").and_then(|number| number.parse().ok());
                    behind = behind.max(seen);
                }
                Ok(output) => reasons.push(format!("{}: {}", holder.node, output.tail(3).join(" / "))),
                Err(reason) => reasons.push(format!("{}: {reason}", holder.node)),
            }
        }
        if got >= self.majority {
            return Ok(());
        }
        self.ask_all("release").await;
        if let Some(seen) = behind {
            return Err(Refused::Behind(seen));
        }
        let needed = self.majority;
        let Some((held_by, silent)) = held.iter().min_by_key(|(_, silent)| *silent).cloned() else {
            return Err(Refused::Finally(LeaseError::NoMajority { needed, got, reasons }));
        };
        let error = LeaseError::Held { held: Box::new(held_by), silent, cluster: self.claim.cluster.clone() };
        // Somebody who holds a majority keeps it; anybody else is as stuck as this run.
        Err(if held.len() >= needed { Refused::Finally(error) } else { Refused::Split(error) })
    }

    async fn renew(&self) {
        let asked = Instant::now();
        let answers = self.ask_all("renew").await;
        let ok = answers.iter().filter(|answer| matches!(answer, Ok(output) if output.ok())).count();
        let refused =
            answers.iter().filter(|answer| matches!(answer, Ok(output) if output.status == 78)).count();
        if ok >= self.majority {
            *self.renewed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = asked;
        } else if refused > 0 {
            // Somebody else was let in, or the operator shut this run out.
            self.lost.store(true, Ordering::SeqCst);
        }
    }

    async fn ask_all(&self, verb: &str) -> Vec<Result<Output, String>> {
        let script = script(&self.layout, &self.claim, self.token, verb);
        join_all(self.holders.iter().map(|holder| ask(holder, &script))).await
    }
}

async fn ask(holder: &Holder, script: &str) -> Result<Output, String> {
    let script = Script::new(script).with_timeout(ANSWER_WITHIN);
    // Beside the persistent shell: that one may be busy with an op for longer than the lease lasts.
    let answer = tokio::time::timeout(ANSWER_WITHIN * 2, holder.session.run_aside(script)).await;
    match answer {
        Ok(Ok(output)) => Ok(output),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {}s", (ANSWER_WITHIN * 2).as_secs())),
    }
}

async fn renew_forever(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        shared.renew().await;
    }
}

fn parse_held(answer: &str) -> Option<(Held, Duration)> {
    let (left, json) = answer.trim().strip_prefix("held ")?.split_once(' ')?;
    let silent = TERM.saturating_sub(Duration::from_secs(left.parse().ok()?));
    Some((serde_json::from_str(json).ok()?, silent))
}

/// Takes the lease away from a run that is dead, on every node that it holds. Returns the nodes where it did, and for the
/// others what they said.
pub async fn unlock(holders: &[Holder], run: &str, layout: &Layout) -> Vec<(String, Result<(), String>)> {
    let claim = Claim {
        cluster: String::new(),
        run: run.to_owned(),
        who: String::new(),
        command: String::new(),
        since: String::new(),
        highest_token: 0,
    };
    let script = script(layout, &claim, 0, "unlock");
    let asked = holders.iter().map(|holder| async {
        let answer = match ask(holder, &script).await {
            Ok(output) if output.ok() => Ok(()),
            Ok(output) if output.status == 77 => Err(match output.text().trim().strip_prefix("other ") {
                Some(line) => format!("held by another run: {line}"),
                None => "not locked".to_owned(),
            }),
            Ok(output) => Err(output.tail(3).join(" / ")),
            Err(reason) => Err(reason),
        };
        (holder.node.clone(), answer)
    });
    join_all(asked).await
}

fn script(layout: &Layout, claim: &Claim, token: u64, verb: &str) -> String {
    let json = |text: &str| serde_json::Value::from(text).to_string();
    let rest = format!(
        r#""who":{},"command":{},"since":{}"#,
        json(&claim.who),
        json(&claim.command),
        json(&claim.since)
    );
    let run: String = claim.run.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    format!(
        "base={} proc={} verb={verb} run={run} token={token} term={} rest={}\n{}",
        quote(&layout.base),
        quote(&layout.proc),
        TERM.as_secs(),
        quote(&rest),
        include_str!("lease.sh")
    )
}
