//! What all tasks of a run share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OnceCell, Semaphore};
use tokio::time::Instant;

use crate::event::Outcome;
use crate::exec::budget::Budget;
use crate::exec::lease::Lease;
use crate::exec::report::{RunReport, StepFailure, StepReport, Unreachable};
use crate::exec::{Job, Member, enroll, prelude};
use crate::kubernetes::Kubernetes;
use crate::ledger::Book;
use crate::node::{Node, NodeId, Role};
use crate::op::{OpError, Venue};
use crate::plan::StagePlan;
use crate::transport::Session;

/// A run in progress.
pub struct Engine {
    pub(super) job: Job,
    pub(super) sessions: Arc<BTreeMap<NodeId, Arc<dyn Session>>>,
    /// In front of every script that changes something.
    pub(super) fence: String,
    pub(super) ledgers: BTreeMap<NodeId, Book>,
    /// Bounds the workers on which something takes effect at a time. Control planes never queue behind workers.
    pub(super) workers: Semaphore,
    critical_budget: Arc<Budget>,
    worker_budget: Arc<Budget>,
    lease: Mutex<Option<Arc<Lease>>>,
    kubernetes: OnceCell<Kubernetes>,
    /// A stage has failed as a whole.
    impatient: AtomicBool,
    /// Serialises writes of the cluster's state.
    keeping: tokio::sync::Mutex<()>,
    /// The control planes that were reached have the state.
    kept: AtomicBool,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    steps: Vec<StepReport>,
    failures: Vec<StepFailure>,
    ops: u32,
    stopped: Option<String>,
}

impl Engine {
    pub(super) fn new(job: Job, token: u64) -> Self {
        let sessions = job.members.iter().map(|(id, member)| (*id, Arc::clone(&member.session))).collect();
        let books = job.members.iter().map(|(id, member)| (*id, Book::new(member.ledger.clone(), token)));
        // External etcd and control planes are two quorums; one at a time over both is safe for each of them.
        let quorum: Vec<&Node> = job.nodes.iter().filter(|node| is_critical(node)).collect();
        let down = quorum.iter().filter(|node| job.unreachable.contains_key(&node.id)).count();
        Self {
            sessions: Arc::new(sessions),
            fence: prelude::fence(&job.options.layout, token),
            ledgers: books.collect(),
            workers: Semaphore::new(job.options.parallel.max(1)),
            critical_budget: Budget::quorum(quorum.len(), down),
            worker_budget: Budget::new("worker", job.options.max_unavailable.max(1)),
            lease: Mutex::default(),
            kubernetes: OnceCell::new(),
            impatient: AtomicBool::new(false),
            keeping: tokio::sync::Mutex::default(),
            kept: AtomicBool::new(false),
            progress: Mutex::default(),
            job,
        }
    }

    /// From now on effects depend on the lease.
    pub(super) fn guard(&self, lease: Arc<Lease>) {
        *lock(&self.lease) = Some(lease);
    }

    /// Lets go of the lease.
    pub(super) fn unguard(&self) {
        *lock(&self.lease) = None;
    }

    /// The node behind a venue, when it was reached.
    pub(super) fn member(&self, venue: Venue) -> Option<&Member> {
        match venue {
            Venue::Node(node) => self.job.members.get(&node),
            Venue::Cluster => None,
        }
    }

    /// A node of the manifest.
    pub(super) fn node(&self, venue: Venue) -> Option<&Node> {
        match venue {
            Venue::Node(id) => self.job.nodes.iter().find(|node| node.id == id),
            Venue::Cluster => None,
        }
    }

    /// How a step is called in events.
    pub(super) fn names(&self, stage: &StagePlan, venue: Venue) -> (String, Option<String>) {
        (stage.name.clone(), self.node(venue).map(|node| node.name.clone()))
    }

    /// True when a failure there stops everybody who needs it.
    pub(super) fn is_critical(&self, venue: Venue) -> bool {
        self.node(venue).is_none_or(is_critical)
    }

    /// The budget for interrupting a node; none when it serves nothing yet.
    pub(super) fn budget(&self, venue: Venue) -> Option<&Arc<Budget>> {
        let serves = self.member(venue).is_some_and(|member| member.serves);
        serves.then(|| if self.is_critical(venue) { &self.critical_budget } else { &self.worker_budget })
    }

    /// True when no new effect may begin. Looks at the lease too.
    pub(super) fn must_stop(&self) -> bool {
        if self.job.cancel.is_stopping() {
            return true;
        }
        let lost = lock(&self.lease).as_ref().is_some_and(|lease| !lease.holds());
        if lost {
            self.stop(
                "the lease was lost: another run took over, or a majority of control planes does not answer",
            );
        }
        lost
    }

    /// Ends the run as the first Ctrl-C does, and says why.
    pub(super) fn stop(&self, why: impl Into<String>) {
        lock(&self.progress).stopped.get_or_insert_with(|| why.into());
        self.job.cancel.graceful();
    }

    /// Why new effects may not begin, for steps that are not started.
    pub(super) fn why_stopped(&self) -> String {
        lock(&self.progress).stopped.clone().unwrap_or_else(|| "the run was interrupted".into())
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        futures_util::future::join_all(self.sessions.values().map(|session| session.close())).await;
    }

    /// The API; waits for it, because stages before say that it is there.
    pub(super) async fn kubernetes(
        &self,
        within: Duration,
        lines: &UnboundedSender<String>,
    ) -> Result<Kubernetes, OpError> {
        let give_up = Instant::now() + within;
        let connect = || async {
            loop {
                match self.job.kubernetes.connect().await {
                    Ok(kubernetes) => return Ok(kubernetes),
                    Err(error) if error.retryable && Instant::now() < give_up && !self.must_stop() => {
                        let _ = lines.send(error.message);
                    }
                    Err(error) => return Err(error),
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let kubernetes = self.kubernetes.get_or_try_init(connect).await?;
        if self.impatient.load(Ordering::SeqCst) {
            kubernetes.patience.lose();
        }
        Ok(kubernetes.clone())
    }

    /// A stage has failed as a whole: what still waits for the cluster may wait in vain.
    pub(super) fn lose_patience(&self) {
        self.impatient.store(true, Ordering::SeqCst);
        if let Some(kubernetes) = self.kubernetes.get() {
            kubernetes.patience.lose();
        }
    }

    /// Writes the cluster's state to the control planes when it changed.
    pub(super) async fn keep_state(&self) -> Result<(), OpError> {
        let _one_at_a_time = self.keeping.lock().await;
        enroll::keep_state(self).await
    }

    /// True when this run has brought the member up to date already.
    pub(super) fn is_kept(&self) -> bool {
        self.kept.load(Ordering::SeqCst)
    }

    pub(super) fn note_kept(&self) {
        self.kept.store(true, Ordering::SeqCst);
    }

    pub(super) fn note_op(&self) {
        lock(&self.progress).ops += 1;
    }

    pub(super) fn note_step(&self, step: StepReport) {
        lock(&self.progress).steps.push(step);
    }

    pub(super) fn note_failure(&self, failure: StepFailure) {
        lock(&self.progress).failures.push(failure);
    }

    /// What became of the run so far.
    pub(super) fn report(&self, took: Duration) -> RunReport {
        let progress = lock(&self.progress);
        let mut steps = progress.steps.clone();
        let place = |step: &StepReport| {
            let stage = self.job.plan.stages.iter().position(|stage| stage.name == step.stage);
            let node = self.job.nodes.iter().position(|node| Some(&node.name) == step.node.as_ref());
            (stage, node)
        };
        steps.sort_by_key(place);
        let count = |outcome| {
            u32::try_from(steps.iter().filter(|step| step.outcome == outcome).count()).unwrap_or(u32::MAX)
        };
        let missing = self.job.unreachable.iter().filter(|(node, _)| self.job.filter.allows_node(**node));
        let unreachable = missing.map(|(id, reason)| Unreachable {
            node: self.node(Venue::Node(*id)).map(|node| node.name.clone()).unwrap_or_default(),
            reason: reason.clone(),
        });
        RunReport {
            unreachable: unreachable.collect(),
            changed: count(Outcome::Changed),
            failed: count(Outcome::Failed),
            not_started: count(Outcome::NotStarted),
            failures: progress.failures.clone(),
            ops: progress.ops,
            seconds: took.as_secs_f64(),
            interrupted: self.job.cancel.is_stopping() && progress.stopped.is_none(),
            stopped: progress.stopped.clone(),
            steps,
        }
    }
}

/// Part of a quorum: the whole cluster depends on it.
pub(super) fn is_critical(node: &Node) -> bool {
    node.is(Role::ControlPlane) || node.is(Role::Etcd)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
