//! The order of a restore: one phase after another, the nodes of a phase beside each other. The first phase that fails ends it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use jiff::Timestamp;

use super::check;
use super::scripts;
use super::{Note, Place, Survey};
use crate::event::{Event, Outcome};
use crate::exec::lease::Lease;
use crate::exec::{RunReport, StepFailure, StepReport};
use crate::node::Node;
use crate::op::OpError;
use crate::operations::context::Context;
use crate::operations::plan::{
    DOCUMENT_VERSION, Document, NodeEntry, OpAction, OpEntry, StageEntry, StepEntry, StepState, Totals,
};
use crate::transport::Script;

/// For what is quick or waits with its own deadline.
const STEP_TIMEOUT: Duration = Duration::from_secs(600);

/// For a large snapshot over a slow line.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(3600);

/// What is done on each node of a phase.
enum Work<'a> {
    /// A script by node.
    Script(Box<dyn Fn(&Node) -> String + Send + Sync + 'a>),
    /// The snapshot as the input of a script.
    Receive(String),
    /// Looks at all members together.
    Check,
}

/// One phase.
struct Phase<'a> {
    name: &'static str,
    /// One line for people, the same for every node.
    summary: String,
    places: Vec<&'a Place>,
    work: Work<'a>,
}

/// What a phase left on a node, or why it failed there.
type Answer<'a> = (Option<&'a Place>, Result<String, OpError>, f64);

/// All phases. Up to `make-data` nothing that runs is touched.
fn phases(survey: &Survey) -> Vec<Phase<'_>> {
    let Survey { etcd, id, archive, .. } = survey;
    let about = &archive.about;
    let cluster = scripts::initial_cluster(survey.members.iter().map(|place| &place.node));
    let note = Note { id: id.clone(), sha256: about.sha256.clone(), since: Timestamp::now() };
    let note = serde_json::to_string(&note).unwrap_or_default();
    let members: Vec<&Place> = survey.members.iter().collect();
    let planes: Vec<&Place> = survey.planes.iter().collect();
    let kubelets: Vec<&Place> = survey.kubelets.iter().collect();
    let mut all = members.clone();
    all.extend(planes.iter().copied().filter(|place| members.iter().all(|it| it.node.id != place.node.id)));
    let first: Vec<&Place> = planes.iter().copied().take(1).collect();
    let waited: Vec<&str> = kubelets.iter().map(|place| place.node.name.as_str()).collect();
    let ready = first.first().map(|place| scripts::nodes_ready(&server(survey, &place.node), &waited));
    let make = move |node: &Node| scripts::make(etcd, node, id, about.size, &cluster);
    let start = move |node: &Node| scripts::start_api(&server(survey, node));
    vec![
        phase("begin", "note that a restore is under way", all.clone(), same(scripts::begin(&note))),
        phase(
            "upload",
            "put the snapshot on the node",
            members.clone(),
            Work::Receive(scripts::receive(id, &about.sha256, about.size)),
        ),
        phase(
            "make-data",
            "make new data of the snapshot, beside the old",
            members.clone(),
            Work::Script(Box::new(make)),
        ),
        phase(
            "stop-api",
            "stop API server, controller manager and scheduler",
            planes.clone(),
            same(scripts::stop_api()),
        ),
        phase("stop-etcd", "stop the member", members.clone(), same(scripts::stop_member(etcd))),
        phase(
            "swap-data",
            "put the new data in the place of the old, which is kept",
            members.clone(),
            same(scripts::swap(etcd, id)),
        ),
        phase("kubelets", "restart the kubelet", kubelets, same(scripts::restart_kubelet())),
        phase(
            "start-etcd",
            "start the member and wait until it answers",
            members.clone(),
            same(scripts::start_member(etcd)),
        ),
        phase("check-etcd", "compare all members", Vec::new(), Work::Check),
        phase(
            "start-api",
            "start the API server and wait until it is ready",
            planes,
            Work::Script(Box::new(start)),
        ),
        phase("nodes", "wait until every node is ready", first, same(ready.unwrap_or_default())),
        phase("end", "remove what only the restore needed", all, same(scripts::end(etcd, id))),
    ]
}

fn phase<'a>(name: &'static str, summary: &str, places: Vec<&'a Place>, work: Work<'a>) -> Phase<'a> {
    Phase { name, summary: summary.to_owned(), places, work }
}

fn same<'a>(script: String) -> Work<'a> {
    Work::Script(Box::new(move |_| script.clone()))
}

/// Where a control plane's own API server listens, as the stage says.
fn server(survey: &Survey, node: &Node) -> String {
    let own = |port: &str| {
        let host = port.rsplit_once(':').map_or(port, |(host, _)| host);
        host.trim_matches(['[', ']']).parse() == Ok(node.address)
    };
    let known = survey.ports.iter().find(|port| own(port)).cloned();
    let usual = || std::net::SocketAddr::new(node.address, 6443).to_string();
    format!("https://{}", known.unwrap_or_else(usual))
}

/// The restore as a plan: one stage a phase.
pub fn document(survey: &Survey) -> Document {
    let phases = phases(survey);
    let stages: Vec<StageEntry> = phases.iter().map(stage).collect();
    let steps =
        u32::try_from(stages.iter().map(|stage| stage.steps.len()).sum::<usize>()).unwrap_or(u32::MAX);
    let manifest = survey.manifest();
    let entry = |node: &Node| NodeEntry {
        name: node.name.clone(),
        address: node.address.to_string(),
        roles: node.roles.clone(),
        reachable: survey.left_out.iter().all(|(name, _)| *name != node.name),
        known: true,
    };
    let nodes: Vec<NodeEntry> = manifest.nodes.iter().map(entry).collect();
    let totals = Totals {
        steps,
        change: steps,
        nodes: u32::try_from(nodes.len()).unwrap_or(u32::MAX),
        ..Totals::default()
    };
    Document {
        schema: DOCUMENT_VERSION,
        cluster: survey.cluster.clone(),
        kubernetes: manifest.cluster.kubernetes.to_string(),
        running: None,
        nodes,
        findings: Vec::new(),
        stages,
        totals,
    }
}

fn stage(phase: &Phase<'_>) -> StageEntry {
    let names: Vec<Option<String>> = match phase.work {
        Work::Check => vec![None],
        _ => phase.places.iter().map(|place| Some(place.node.name.clone())).collect(),
    };
    let op = OpEntry {
        key: phase.name.to_owned(),
        summary: phase.summary.clone(),
        action: OpAction::Run,
        diff: Vec::new(),
        disruptive: None,
    };
    let step = |node| StepEntry {
        node,
        state: StepState::Change,
        pending: 1,
        partly_unknown: false,
        ops: vec![op.clone()],
    };
    StageEntry {
        name: phase.name.to_owned(),
        plugin: "ksp".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        digest: String::new(),
        steps: names.into_iter().map(step).collect(),
    }
}

/// Runs the phases. Where each member's old data is kept comes with the report.
pub async fn run(
    context: &Context,
    survey: &Survey,
    lease: &Lease,
    fence: &str,
) -> (RunReport, BTreeMap<String, String>) {
    let began = Instant::now();
    let mut report = RunReport::default();
    let mut kept = BTreeMap::new();
    for phase in phases(survey) {
        if !lease.holds() {
            report.stopped.get_or_insert_with(|| {
                "the lease was lost: another run took over, or a majority of control planes does not answer".into()
            });
        }
        let why = match (&report.stopped, report.failed) {
            (Some(why), _) => Some(why.clone()),
            (None, 1..) => Some("an earlier phase failed".to_owned()),
            (None, 0) => context.cancel.is_stopping().then(|| "the run was interrupted".to_owned()),
        };
        if let Some(why) = why {
            let entry = stage(&phase);
            report.not_started += u32::try_from(entry.steps.len()).unwrap_or(u32::MAX);
            report.steps.extend(entry.steps.into_iter().map(|step| StepReport {
                stage: entry.name.clone(),
                node: step.node,
                outcome: Outcome::NotStarted,
                seconds: 0.0,
                reason: Some(why.clone()),
            }));
            continue;
        }
        for (place, result, seconds) in one(context, survey, &phase, fence).await {
            let node = place.map(|place| place.node.name.clone());
            let outcome = if result.is_ok() { Outcome::Changed } else { Outcome::Failed };
            report.steps.push(StepReport {
                stage: phase.name.to_owned(),
                node: node.clone(),
                outcome,
                seconds,
                reason: None,
            });
            report.ops += 1;
            match result {
                Ok(said) => {
                    report.changed += 1;
                    if let (Some(node), Some(path)) = (node, said.trim().strip_prefix("kept ")) {
                        kept.insert(node, path.to_owned());
                    }
                }
                Err(error) => {
                    report.failed += 1;
                    report.failures.push(failure(&phase, place, error));
                }
            }
        }
    }
    report.interrupted = context.cancel.is_stopping() && report.stopped.is_none();
    report.seconds = began.elapsed().as_secs_f64();
    (report, kept)
}

async fn one<'a>(context: &Context, survey: &Survey, phase: &Phase<'a>, fence: &str) -> Vec<Answer<'a>> {
    if let Work::Check = phase.work {
        let began = Instant::now();
        let result = tell(context, phase, None, check::check(survey)).await;
        return vec![(None, result.map(|()| String::new()), began.elapsed().as_secs_f64())];
    }
    let work = phase.places.iter().map(|place| async {
        let began = Instant::now();
        let result = tell(context, phase, Some(place), on_node(context, survey, phase, place, fence)).await;
        (Some(*place), result, began.elapsed().as_secs_f64())
    });
    join_all(work).await
}

/// Events around a step; the one before its effect is on the disk before the effect.
async fn tell<T>(
    context: &Context,
    phase: &Phase<'_>,
    place: Option<&Place>,
    work: impl Future<Output = Result<T, OpError>>,
) -> Result<T, OpError> {
    let (stage, op) = (phase.name.to_owned(), phase.name.to_owned());
    let node = place.map(|place| place.node.name.clone());
    let events = &context.events;
    let began = Instant::now();
    events.emit(Event::StepStarted { stage: stage.clone(), node: node.clone() });
    let announced = Event::OpStarted {
        stage: stage.clone(),
        node: node.clone(),
        op: op.clone(),
        summary: phase.summary.clone(),
    };
    let result = match events.emit_durably(announced) {
        Ok(()) => work.await,
        Err(error) => {
            Err(OpError::new("ksp::run::journal", format!("the journal cannot be written: {error}")))
        }
    };
    let outcome = if result.is_ok() { Outcome::Changed } else { Outcome::Failed };
    let seconds = began.elapsed().as_secs_f64();
    events.emit(Event::OpFinished { stage: stage.clone(), node: node.clone(), op, outcome, seconds });
    events.emit(Event::StepFinished { stage, node, outcome, seconds });
    result
}

async fn on_node(
    context: &Context,
    survey: &Survey,
    phase: &Phase<'_>,
    place: &Place,
    fence: &str,
) -> Result<String, OpError> {
    let script = |text: &str, timeout| Script::new(format!("{fence}\n{text}")).with_timeout(timeout);
    let mut snapshot = survey.archive.snapshot();
    let ran = async {
        match &phase.work {
            Work::Receive(text) => place.session.feed(script(text, TRANSFER_TIMEOUT), &mut snapshot).await,
            Work::Script(text) => place.session.run_aside(script(&text(&place.node), STEP_TIMEOUT)).await,
            Work::Check => Ok(Default::default()),
        }
    };
    let output = tokio::select! {
        output = ran => output?,
        () = context.cancel.aborting() => return Err(OpError::new("ksp::run::aborted", "aborted")),
    };
    if output.ok() {
        Ok(output.text())
    } else {
        Err(OpError::from_output(format!("cannot {}", phase.summary), &output))
    }
}

fn failure(phase: &Phase<'_>, place: Option<&Place>, error: OpError) -> StepFailure {
    let mut hints = error.hints;
    hints.push(
        "run the same command again: it goes on where this one ended; API servers stay down until then"
            .into(),
    );
    StepFailure {
        stage: phase.name.to_owned(),
        node: place.map(|place| place.node.name.clone()),
        address: place.map(|place| place.node.address.to_string()),
        plugin: concat!("ksp ", env!("CARGO_PKG_VERSION")).to_owned(),
        op: phase.name.to_owned(),
        summary: phase.summary.clone(),
        command: error.command,
        code: error.code.to_owned(),
        message: error.message,
        tail: error.tail,
        hints,
    }
}
