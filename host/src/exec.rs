//! Runs a plan: exactly what is pending in it, in order, journal first. See `exec/README.md`.

pub mod access;
pub mod board;
pub mod budget;
pub mod cancel;
pub mod layout;
pub mod lease;
pub mod prelude;
pub mod report;

mod engine;
mod enroll;
mod op;
mod schedule;
mod step;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::diagnostic::Diagnostic;
use crate::event::Events;
use crate::facts::Facts;
use crate::ledger::Ledger;
use crate::node::{Node, NodeId, Role};
use crate::plan::pending::Leftovers;
use crate::plan::{Filter, Plan};
use crate::plugin::download::Downloads;
use crate::state::{ChainLink, ClusterState};
use crate::transport::Session;

pub use access::{Access, Callback, ClusterAccess};
pub use cancel::Cancel;
pub use layout::Layout;
pub use report::{RunReport, StepFailure, StepReport, Unreachable};

use engine::Engine;
use lease::{Claim, Holder, Lease, LeaseError};

/// A node that takes part in a run.
#[derive(Clone)]
pub struct Member {
    /// Which.
    pub node: Arc<Node>,
    /// What is known of it.
    pub facts: Arc<Facts>,
    /// The connection.
    pub session: Arc<dyn Session>,
    /// It runs workloads or the control plane already: disruptive ops go through the budget.
    pub serves: bool,
    /// What ksp created on it so far.
    pub ledger: Ledger,
    /// The generation of the cluster's state that it keeps; control planes only.
    pub generation: Option<u64>,
}

/// How a run behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// Workers on which ops take effect at a time.
    pub parallel: usize,
    /// Workers that already serve and may be interrupted at a time.
    pub max_unavailable: usize,
    /// How long to wait for a lease that another run holds.
    pub lock_timeout: Duration,
    /// Where things are on nodes.
    pub layout: Layout,
}

impl Default for Options {
    fn default() -> Self {
        Self { parallel: 32, max_unavailable: 1, lock_timeout: Duration::ZERO, layout: Layout::default() }
    }
}

/// Who runs what.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The run's id.
    pub run: String,
    /// The cluster's name.
    pub cluster: String,
    /// "ksp up".
    pub command: String,
    /// `user@machine`.
    pub who: String,
    /// "sha256:…" of the manifest's text.
    pub manifest: String,
}

/// Everything that a run works with.
pub struct Job {
    /// Who runs what.
    pub identity: Identity,
    /// What to do.
    pub plan: Arc<Plan>,
    /// Which steps may run.
    pub filter: Filter,
    /// All nodes of the manifest.
    pub nodes: Arc<Vec<Node>>,
    /// Those that were reached.
    pub members: BTreeMap<NodeId, Member>,
    /// Those that were not, and why.
    pub unreachable: BTreeMap<NodeId, String>,
    /// The highest fencing token that a node has seen.
    pub highest_token: u64,
    /// What earlier runs left undone.
    pub leftovers: Leftovers,
    /// The stages that the cluster is made by when the run has ended well.
    pub chain: Vec<ChainLink>,
    /// What the cluster remembers.
    pub state: Arc<Mutex<ClusterState>>,
    /// Calls plugins back, by stage.
    pub callbacks: BTreeMap<String, Arc<dyn Callback>>,
    /// Reaches the API.
    pub kubernetes: Arc<dyn ClusterAccess>,
    /// Brings release files.
    pub downloads: Arc<Downloads>,
    /// Who wants to know.
    pub events: Events,
    /// Stops the run.
    pub cancel: Cancel,
    /// How it behaves.
    pub options: Options,
}

/// Nobody who pressed Ctrl-C twice wants to wait.
const ABORT_WITHIN: Duration = Duration::from_secs(3);

/// Why a run did not begin; nothing was changed.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// Another run holds the cluster.
    Locked(Diagnostic),
    /// Too few control planes, or one that cannot be written to.
    Unreachable(Diagnostic),
    /// The user stopped it.
    Interrupted,
}

/// Runs a plan to its end, good or bad. Tells steps and ops to `job.events`; `RunStarted` and `RunFinished` are the caller's.
///
/// # Errors
/// Nothing was changed: see [`Refusal`].
pub async fn apply(job: Job) -> Result<RunReport, Refusal> {
    let started = Instant::now();
    let lease = lock(&job).await?;
    let engine = Arc::new(Engine::new(job, lease.token()));
    let lease = Arc::new(lease);
    engine.guard(Arc::clone(&lease));
    let refused = enroll::enroll(&engine).await;
    if refused.is_ok() {
        tokio::select! {
            () = schedule::run(&engine) => {}
            () = engine.job.cancel.aborting() => engine.close().await,
        }
    }
    let report = engine.report(started.elapsed());
    let good = refused.is_ok() && report.is_success();
    let aborted = engine.job.cancel.is_aborting();
    let end = async {
        enroll::leave(&engine, good).await;
        engine.unguard();
        lease.release().await;
    };
    // Scripts that still run after an abort are shut out by the next run's token, and the lease expires by itself.
    let _ = tokio::time::timeout(if aborted { ABORT_WITHIN } else { Duration::from_secs(60) }, end).await;
    refused.map(|()| report)
}

async fn lock(job: &Job) -> Result<Lease, Refusal> {
    let planes: Vec<&Node> = job.nodes.iter().filter(|node| node.is(Role::ControlPlane)).collect();
    let holders: Vec<Holder> = planes
        .iter()
        .filter_map(|node| job.members.get(&node.id))
        .map(|member| Holder { node: member.node.name.clone(), session: Arc::clone(&member.session) })
        .collect();
    let claim = Claim {
        cluster: job.identity.cluster.clone(),
        run: job.identity.run.clone(),
        who: job.identity.who.clone(),
        command: job.identity.command.clone(),
        since: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        highest_token: job.highest_token,
    };
    let (layout, patience) = (job.options.layout.clone(), (job.options.lock_timeout, &job.cancel));
    match Lease::wait(holders, planes.len(), claim, layout, patience).await {
        Ok(Some(lease)) => Ok(lease),
        Ok(None) => Err(Refusal::Interrupted),
        Err(error @ LeaseError::NoMajority { .. }) => Err(Refusal::Unreachable(error.into())),
        Err(error) => Err(Refusal::Locked(error.into())),
    }
}
