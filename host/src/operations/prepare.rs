//! Everything before the question: manifest, plugins, connections, facts, plan, probes. Changes nothing anywhere.
//!
//! What is wrong with manifest, plugins and configs is found before any node is contacted. See `prepare/README.md`.

mod api;
mod check;
mod identity;
mod nodes;
mod retired;
mod stages;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::context::Context;
use super::{Class, Failure, up};
use crate::diagnostic::Diagnostic;
use crate::event::Event;
use crate::exec::{self, Callback, ClusterAccess, Identity, Job, Member, Refusal, RunReport};
use crate::facts::{Gathered, Probe};
use crate::kubernetes::Kubernetes;
use crate::manifest::{self, Manifest};
use crate::node::{Node, NodeId, Role};
use crate::pki::{self, Pki};
use crate::plan::pending::{self, Leftovers};
use crate::plan::probe::{self, Target};
use crate::plan::{Filter, Plan, StageDraft};
use crate::plugin::download::Downloads;
use crate::transport::{self, ConnectOptions, Session};

pub use stages::Loaded;

/// What was found out.
pub struct Prepared {
    /// What is wanted.
    pub manifest: Arc<Manifest>,
    /// What would be done, and what refuses it.
    pub plan: Plan,
    /// Connections to the nodes that answered.
    pub sessions: BTreeMap<NodeId, Arc<dyn Session>>,
    /// Nodes that did not answer, and why.
    pub unreachable: BTreeMap<NodeId, String>,
    /// The API, when there is one.
    pub kubernetes: Option<Kubernetes>,
    /// How the run will behave.
    pub options: exec::Options,
    /// "ksp up".
    pub command: String,
    /// What the nodes answered.
    pub gathered: BTreeMap<NodeId, Gathered>,
    /// Certificates, and the state that they are kept in.
    pub pki: Pki,
    filter: Filter,
    leftovers: Leftovers,
    loaded: Loaded,
    running: Option<String>,
}

/// Loads a manifest.
///
/// # Errors
/// With all findings; nothing was contacted.
pub fn load(context: &Context) -> Result<(Arc<Manifest>, Vec<Diagnostic>), Failure> {
    let manifest::Loaded { manifest, findings, .. } = manifest::load(&context.manifest);
    match manifest {
        Some(manifest) => Ok((Arc::new(manifest), findings)),
        None => Err(Failure::all(Class::Invalid, findings)),
    }
}

/// Connects, reads facts, plans and probes. Findings that refuse a run but leave a plan to show are in the plan.
///
/// # Errors
/// There is no plan: the manifest or a plugin is not acceptable, or nodes contradict it.
pub async fn prepare(context: &Context, filter: Filter) -> Result<Prepared, Failure> {
    let check::Checked { manifest, loaded, probes, notes } = check::check(context).await?;
    let nodes::Reached { sessions, mut gathered, mut unreachable, stops } =
        reach(context, &manifest, &probes).await;
    refuse_without_nodes(&manifest, &sessions, &unreachable, stops)?;

    let state = identity::settle(&manifest, &gathered, &unreachable)?;
    let remembered = state.chain.clone();
    let fresh = state.generation == 0;
    let state = Arc::new(Mutex::new(state));
    let pki = Pki::new(Arc::clone(&state), context.redactor.clone());
    let mut loaded = loaded.with_inputs(context, &manifest, &gathered, &pki);
    let built = loaded.build(&manifest).await?;
    let mut plan = built.plan;
    plan.findings.splice(0..0, notes);
    plan.findings.extend(identity::unfinished_restore(&manifest, &gathered));

    let phase = Phase::begin(context, "probes");
    let access = api::Access::new(&plan, &manifest, &sessions, &pki);
    let (kubernetes, running) = match &access {
        Some(access) if !fresh && api::is_likely(&manifest, &gathered) => {
            access.ask(api::QUICK).await.ok().unzip()
        }
        _ => (None, None),
    };
    let situation = retired::Situation {
        manifest: &manifest,
        gathered: &gathered,
        kubernetes: kubernetes.as_ref(),
        may_interrupt: context.allow_network_rebuild,
    };
    retired::retire(&mut plan, &mut loaded, &remembered, &situation).await;
    let targets = targets(&manifest, &sessions, &gathered);
    for (node, error) in probe::probe(&mut plan, &built.checks, &targets, kubernetes.as_ref()).await {
        gathered.remove(&node);
        unreachable.insert(node, error.to_string());
    }
    let sessions: BTreeMap<_, _> =
        sessions.into_iter().filter(|(node, _)| !unreachable.contains_key(node)).collect();
    let leftovers = leftovers(&gathered);
    pending::derive(&mut plan, &leftovers, &filter);
    phase.end(context, format!("{} steps", plan.steps()));
    Ok(Prepared {
        options: exec::Options { lock_timeout: context.lock_timeout, ..exec::Options::default() },
        command: "ksp up".into(),
        manifest,
        plan,
        sessions,
        unreachable,
        kubernetes,
        gathered,
        pki,
        filter,
        leftovers,
        loaded,
        running,
    })
}

/// Does what is pending.
///
/// # Errors
/// Nothing was changed: the cluster is locked, or cannot be.
pub async fn apply(context: &Context, prepared: &mut Prepared, run: &str) -> Result<RunReport, Failure> {
    let job = prepared.job(context, run);
    exec::apply(job).await.map_err(|refusal| match refusal {
        Refusal::Locked(finding) => Failure::new(Class::Locked, finding),
        Refusal::Unreachable(finding) => Failure::new(Class::Unreachable, finding),
        Refusal::Interrupted => Failure::interrupted(),
    })
}

async fn reach(context: &Context, manifest: &Manifest, probes: &[Probe]) -> nodes::Reached {
    let phase = Phase::begin(context, "facts");
    let options = ConnectOptions { accept_new: context.accept_new, ..ConnectOptions::default() };
    let reached = nodes::reach(transport::connector(options), &manifest.nodes, probes).await;
    for (node, reason) in &reached.unreachable {
        let node = name_of(&manifest.nodes, *node);
        context.events.emit(Event::NodeUnreachable { node, reason: reason.clone() });
    }
    phase.end(context, format!("{}/{} nodes", reached.sessions.len(), manifest.nodes.len()));
    reached
}

fn refuse_without_nodes(
    manifest: &Manifest,
    sessions: &BTreeMap<NodeId, Arc<dyn Session>>,
    unreachable: &BTreeMap<NodeId, String>,
    stops: Vec<Diagnostic>,
) -> Result<(), Failure> {
    if !stops.is_empty() {
        return Err(Failure::all(Class::Unreachable, stops));
    }
    let reached = |node: &Node| sessions.contains_key(&node.id);
    let planes = || manifest.nodes.iter().filter(|node| node.is(Role::ControlPlane));
    if planes().any(reached) || planes().next().is_none() && manifest.nodes.iter().any(reached) {
        return Ok(());
    }
    let findings = unreachable.iter().map(|(node, reason)| {
        Diagnostic::error("ksp::node::unreachable", reason.clone())
            .on_node(name_of(&manifest.nodes, *node))
            .hint("check that the machine is on and that `ssh` reaches it with the same user and key")
    });
    Err(Failure::all(Class::Unreachable, findings.collect()))
}

fn targets(
    manifest: &Manifest,
    sessions: &BTreeMap<NodeId, Arc<dyn Session>>,
    gathered: &BTreeMap<NodeId, Gathered>,
) -> Vec<Target> {
    let target = |node: &Node| {
        Some(Target {
            node: Arc::new(node.clone()),
            facts: Arc::new(gathered.get(&node.id)?.facts.clone()),
            session: Arc::clone(sessions.get(&node.id)?),
        })
    };
    manifest.nodes.iter().filter_map(target).collect()
}

fn leftovers(gathered: &BTreeMap<NodeId, Gathered>) -> Leftovers {
    let markers = |it: &Gathered| it.marks.pending.iter().cloned().collect::<BTreeSet<String>>();
    Leftovers {
        markers: gathered.iter().map(|(node, it)| (*node, markers(it))).collect(),
        dirty: gathered.values().any(|it| it.marks.dirty),
    }
}

impl Prepared {
    fn job(&self, context: &Context, run: &str) -> Job {
        let manifest = &self.manifest;
        let member = |node: &Node| {
            let gathered = self.gathered.get(&node.id)?;
            let member = Member {
                node: Arc::new(node.clone()),
                facts: Arc::new(gathered.facts.clone()),
                session: Arc::clone(self.sessions.get(&node.id)?),
                serves: gathered.marks.identity.is_some() && nodes::serves(&gathered.facts),
                ledger: gathered.ledger.clone(),
                generation: gathered.state.as_ref().map(|state| state.generation),
            };
            Some((node.id, member))
        };
        let kubernetes: Arc<dyn ClusterAccess> =
            match api::Access::new(&self.plan, manifest, &self.sessions, &self.pki) {
                Some(access) => Arc::new(access),
                None => Arc::new(api::Nowhere),
            };
        let callbacks: BTreeMap<String, Arc<dyn Callback>> = self.loaded.callbacks(&self.plan);
        let tokens = self.gathered.values().filter_map(|it| it.marks.fence);
        Job {
            identity: Identity {
                run: run.to_owned(),
                cluster: manifest.cluster.name.clone(),
                command: self.command.clone(),
                who: who(),
                manifest: manifest.digest.clone(),
            },
            plan: Arc::new(self.plan.clone()),
            filter: self.filter.clone(),
            members: manifest.nodes.iter().filter_map(member).collect(),
            nodes: Arc::new(manifest.nodes.clone()),
            unreachable: self.unreachable.clone(),
            highest_token: tokens.max().unwrap_or(0),
            leftovers: self.leftovers.clone(),
            chain: self.loaded.chain(manifest),
            state: Arc::clone(&self.pki.state),
            callbacks,
            kubernetes,
            downloads: Arc::new(Downloads::new(context.paths.cache.join("files"), manifest.mirrors.push)),
            events: context.events.clone(),
            cancel: context.cancel.clone(),
            options: self.options.clone(),
        }
    }

    /// What plugins have to do on nodes that are about to be reset, by stage.
    ///
    /// # Errors
    /// A plugin failed.
    pub async fn teardown(&self, nodes: &[NodeId]) -> Result<BTreeMap<String, StageDraft>, Failure> {
        self.loaded.teardown(&self.plan, nodes).await
    }

    /// Why nodes did not answer, by name.
    pub fn unreachable_reasons(&self) -> BTreeMap<String, String> {
        let named =
            |(node, reason): (&NodeId, &String)| (name_of(&self.manifest.nodes, *node), reason.clone());
        self.unreachable.iter().map(named).collect()
    }

    /// The version of the API server that answers, without a leading `v`.
    pub fn running_version(&self) -> Option<String> {
        self.running.clone()
    }

    /// Certificates and their days, the one that ends first in front.
    pub fn certificates(&self) -> Vec<super::status::Certificate> {
        let state = self.pki.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let kept = state.authorities.iter().chain(&state.credentials);
        let certificate = |(name, pair): (&String, &crate::state::KeyAndCertificate)| {
            let seconds = pki::seconds_left(&pair.certificate).ok()?;
            Some(super::status::Certificate { name: name.clone(), days_left: seconds.div_euclid(86_400) })
        };
        let mut found: Vec<_> = kept.filter_map(certificate).collect();
        found.sort_by(|a, b| (a.days_left, &a.name).cmp(&(b.days_left, &b.name)));
        found
    }

    /// Writes the kubeconfig beside the manifest, unless the one that is there is still good. Its path; none when no stage provides
    /// an API.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub async fn write_kubeconfig(&self) -> Result<Option<PathBuf>, Failure> {
        self.put_kubeconfig().await.map(|put| put.map(|(path, _)| path))
    }

    /// As [`Self::write_kubeconfig`]; the path only when the file was lost, has come to its end, or names a control plane that no
    /// longer answers. Not the first one of a cluster that is not `complete`.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub async fn mend_kubeconfig(&self, complete: bool) -> Result<Option<PathBuf>, Failure> {
        let path = up::kubeconfig_path(&self.manifest.path, &self.manifest.cluster.name);
        if !complete && !path.exists() {
            return Ok(None);
        }
        self.put_kubeconfig().await.map(|put| put.filter(|(_, written)| *written).map(|(path, _)| path))
    }

    async fn put_kubeconfig(&self) -> Result<Option<(PathBuf, bool)>, Failure> {
        let path = up::kubeconfig_path(&self.manifest.path, &self.manifest.cluster.name);
        let Some(access) = api::Access::new(&self.plan, &self.manifest, &self.sessions, &self.pki) else {
            return Ok(None);
        };
        let existing = std::fs::read_to_string(&path).unwrap_or_default();
        let Some(content) = access.kubeconfig(&self.manifest, &existing).await? else {
            return Ok(Some((path, false)));
        };
        up::write_kubeconfig(&path, content.expose())?;
        Ok(Some((path, true)))
    }
}

/// `user@machine` of whoever runs this.
pub fn who() -> String {
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME")).unwrap_or_else(|| "unknown".into());
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = if machine.trim().is_empty() { "unknown" } else { machine.trim() };
    format!("{user}@{machine}")
}

fn name_of(nodes: &[Node], id: NodeId) -> String {
    nodes.iter().find(|node| node.id == id).map(|node| node.name.clone()).unwrap_or_default()
}

/// Runs what blocks away from the network.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        Failure::new(
            Class::Internal,
            Diagnostic::error("ksp::internal::panic", format!("a defect of ksp: {error}")),
        )
    })
}

/// Work before the plan, as it is told.
struct Phase {
    name: &'static str,
    started: Instant,
}

impl Phase {
    fn begin(context: &Context, name: &'static str) -> Self {
        context.events.emit(Event::PhaseStarted { phase: name.into() });
        Self { name, started: Instant::now() }
    }

    fn end(self, context: &Context, detail: String) {
        let seconds = self.started.elapsed().as_secs_f64();
        context.events.emit(Event::PhaseFinished { phase: self.name.into(), detail, seconds });
    }
}
