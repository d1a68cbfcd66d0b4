//! Which ops a run executes. What probes found is the start; what watches or serves something that is executed follows; gates
//! come when anything at all does.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest as _, Sha256};

use crate::node::NodeId;
use crate::op::{Action, OpId, Recorded, Venue, Verdict};
use crate::plan::{Filter, Plan, StagePlan, Why};
use crate::plugin::resolve::slots;

/// What earlier runs left undone, as the nodes remember it.
#[derive(Debug, Clone, Default)]
pub struct Leftovers {
    /// Marker names in `/var/lib/ksp/pending`, by node.
    pub markers: BTreeMap<NodeId, BTreeSet<String>>,
    /// The last changing run did not end well.
    pub dirty: bool,
}

/// The name of the marker that says: what this op watches was changed, and the op has not run since. It is a file name on the
/// node; the op's key is hashed because it may hold anything.
pub fn marker(stage: &StagePlan, op: &Recorded) -> String {
    let key = op.key();
    let twins =
        stage.ops.iter().take_while(|other| other.id != op.id).filter(|other| other.key() == key).count();
    let hash = Sha256::digest(format!("{key}#{twins}"));
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    format!("{}.{}", stage.name.chars().map(safe).collect::<String>(), hex::encode(&hash[..8]))
}

/// Fills [`StagePlan::pending`] from the verdicts.
pub fn derive(plan: &mut Plan, leftovers: &Leftovers, filter: &Filter) {
    for stage in &mut plan.stages {
        let mut pending = seeds(stage, leftovers);
        while let Some(more) = follow(stage, &pending) {
            pending.extend(more);
        }
        pending.retain(|(_, venue), _| filter.allows(&stage.name, *venue));
        stage.pending = pending;
    }
    ask_new_runtimes(plan, filter);
    if leftovers.dirty || !plan.is_up_to_date() {
        plan.stages.iter_mut().for_each(|stage| add_gates(stage, filter));
    }
}

/// Whoever pulls an image asked the runtime that a node has now. Where it gets another one, nobody knows which images that has.
fn ask_new_runtimes(plan: &mut Plan, filter: &Filter) {
    let provides = |op: &&Recorded| op.modifiers.provides.iter().any(|slot| slot == slots::RUNTIME);
    let anew: BTreeSet<Venue> = plan
        .stages
        .iter()
        .flat_map(|stage| stage.ops.iter().filter(provides).map(move |op| (stage, op)))
        .flat_map(|(stage, op)| {
            op.venues().into_iter().filter(|at| stage.pending.contains_key(&(op.id, *at)))
        })
        .collect();
    for stage in &mut plan.stages {
        let images = stage.ops.iter().filter(|op| {
            matches!(&op.action, Action::Node(node_op) if node_op.kind() == "image") && !is_conditional(op)
        });
        let places = images.flat_map(|op| op.venues().into_iter().map(|venue| (op.id, venue)));
        let asked: Vec<(OpId, Venue)> = places
            .filter(|(id, venue)| anew.contains(venue) && stage.verdicts.contains_key(&(*id, *venue)))
            .filter(|(_, venue)| filter.allows(&stage.name, *venue))
            .collect();
        for at in asked {
            stage.pending.entry(at).or_insert(Why::Unknown);
        }
    }
}

fn is_conditional(op: &Recorded) -> bool {
    let modifiers = &op.modifiers;
    modifiers.gate || !modifiers.on_change.is_empty() || !modifiers.only_for.is_empty()
}

/// A guard that holds keeps even a watcher from running.
fn is_guarded(stage: &StagePlan, op: &Recorded, venue: Venue) -> bool {
    let guards = op.modifiers.creates.is_some() || op.modifiers.unless.is_some();
    guards && matches!(stage.verdicts.get(&(op.id, venue)), Some(Verdict::Satisfied))
}

fn seeds(stage: &StagePlan, leftovers: &Leftovers) -> BTreeMap<(OpId, Venue), Why> {
    let mut pending = BTreeMap::new();
    for op in &stage.ops {
        for venue in op.venues() {
            let why = if is_conditional(op) {
                let left = !op.modifiers.on_change.is_empty() && is_marked(stage, op, venue, leftovers);
                (left && stage.verdicts.contains_key(&(op.id, venue))).then_some(Why::Interrupted)
            } else {
                match stage.verdicts.get(&(op.id, venue)) {
                    Some(Verdict::Change(_)) => Some(Why::Change),
                    Some(Verdict::Unknown) => Some(Why::Unknown),
                    Some(Verdict::Satisfied) | None => None,
                }
            };
            pending.extend(why.map(|why| ((op.id, venue), why)));
        }
    }
    pending
}

fn is_marked(stage: &StagePlan, op: &Recorded, venue: Venue, leftovers: &Leftovers) -> bool {
    let name = marker(stage, op);
    match venue {
        Venue::Node(node) => leftovers.markers.get(&node).is_some_and(|markers| markers.contains(&name)),
        Venue::Cluster => leftovers.markers.values().any(|markers| markers.contains(&name)),
    }
}

/// Ops that become pending because others are; none when there are no more.
fn follow(stage: &StagePlan, pending: &BTreeMap<(OpId, Venue), Why>) -> Option<BTreeMap<(OpId, Venue), Why>> {
    let anywhere =
        |id: OpId| pending.range((id, Venue::Node(NodeId(0)))..).next().is_some_and(|((at, _), _)| *at == id);
    let mut more = BTreeMap::new();
    for op in stage.ops.iter().filter(|op| is_conditional(op) && !op.modifiers.gate) {
        for venue in op.venues() {
            let at = (op.id, venue);
            if pending.contains_key(&at) || !stage.verdicts.contains_key(&at) || is_guarded(stage, op, venue)
            {
                continue;
            }
            let watched = op.modifiers.on_change.iter().any(|id| watches(stage, *id, venue, pending));
            if watched || op.modifiers.only_for.iter().any(|id| anywhere(*id)) {
                more.insert(at, Why::Triggered);
            }
        }
    }
    (!more.is_empty()).then_some(more)
}

/// True when a watcher at `venue` looks at all places of what it watches, for one of the two is an op of the cluster.
pub fn is_across(watched: &Recorded, venue: Venue) -> bool {
    venue == Venue::Cluster || matches!(watched.action, Action::Cluster(_))
}

/// True when the watched op is pending where a watcher at `venue` looks: on the same node, or anywhere when one of the two is an
/// op of the cluster.
pub fn watches<T>(
    stage: &StagePlan,
    watched: OpId,
    venue: Venue,
    pending: &BTreeMap<(OpId, Venue), T>,
) -> bool {
    if stage.op(watched).is_some_and(|watched| is_across(watched, venue)) {
        pending.keys().any(|(id, _)| *id == watched)
    } else {
        pending.contains_key(&(watched, venue))
    }
}

fn add_gates(stage: &mut StagePlan, filter: &Filter) {
    let gates = stage.ops.iter().filter(|op| op.modifiers.gate);
    let places: Vec<(OpId, Venue)> =
        gates.flat_map(|op| op.venues().into_iter().map(|venue| (op.id, venue))).collect();
    for (id, venue) in places {
        if filter.allows(&stage.name, venue) && stage.verdicts.contains_key(&(id, venue)) {
            stage.pending.insert((id, venue), Why::Gate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{Change, Modifiers};
    use crate::plan::testing;

    fn custom(tag: &str, nodes: &[u32], modifiers: Modifiers) -> (Action, Vec<u32>, Modifiers) {
        (Action::Custom { tag: tag.into(), summary: tag.into() }, nodes.to_vec(), modifiers)
    }

    fn plan(ops: Vec<(Action, Vec<u32>, Modifiers)>, verdict: impl Fn(&str, u32) -> Option<Verdict>) -> Plan {
        let mut stage = testing::stage("s", "", ops);
        for op in &stage.ops {
            for node in &op.nodes {
                let key = op.key();
                if let Some(verdict) = verdict(key.trim_start_matches("custom:"), node.0) {
                    stage.verdicts.insert((op.id, Venue::Node(*node)), verdict);
                }
            }
        }
        Plan { stages: vec![stage], findings: Vec::new() }
    }

    fn shown(plan: &Plan) -> Vec<String> {
        let stage = &plan.stages[0];
        let line = |((id, venue), why): (&(OpId, Venue), &Why)| {
            let node = if let Venue::Node(node) = venue { node.0.to_string() } else { "cluster".into() };
            format!("{}@{node} {why:?}", stage.op(*id).unwrap().key().trim_start_matches("custom:"))
        };
        stage.pending.iter().map(line).collect()
    }

    fn on_change(id: u32) -> Modifiers {
        Modifiers { on_change: vec![OpId(id)], ..Modifiers::default() }
    }

    fn config_restart_wait_gate() -> Vec<(Action, Vec<u32>, Modifiers)> {
        vec![
            custom("config", &[0, 1], Modifiers::default()),
            custom("restart", &[0, 1], on_change(0)),
            custom("wait", &[0, 1], on_change(1)),
            custom("backup", &[0], Modifiers { only_for: vec![OpId(1)], ..Modifiers::default() }),
            custom("gate", &[0], Modifiers { gate: true, ..Modifiers::default() }),
        ]
    }

    fn changed_on(node: u32) -> impl Fn(&str, u32) -> Option<Verdict> {
        move |tag, at| {
            let change = tag == "config" && at == node;
            Some(if change { Verdict::Change(Change::default()) } else { Verdict::Satisfied })
        }
    }

    #[test]
    fn a_change_pulls_in_its_watchers_on_that_node_only() {
        let mut plan = plan(config_restart_wait_gate(), changed_on(1));
        derive(&mut plan, &Leftovers::default(), &Filter::default());
        assert_eq!(
            shown(&plan),
            [
                "config@1 Change",
                "restart@1 Triggered",
                "wait@1 Triggered",
                "backup@0 Triggered",
                "gate@0 Gate"
            ]
        );
    }

    #[test]
    fn nothing_changed_is_up_to_date_unless_the_last_run_ended_badly() {
        let mut plan = plan(config_restart_wait_gate(), changed_on(9));
        derive(&mut plan, &Leftovers::default(), &Filter::default());
        assert!(plan.is_up_to_date());
        derive(&mut plan, &Leftovers { dirty: true, ..Leftovers::default() }, &Filter::default());
        assert_eq!(shown(&plan), ["gate@0 Gate"]);
    }

    #[test]
    fn a_marker_of_an_interrupted_run_brings_the_watcher_back() {
        let mut plan = plan(config_restart_wait_gate(), changed_on(9));
        let name = marker(&plan.stages[0], &plan.stages[0].ops[1]);
        let leftovers = Leftovers { markers: [(NodeId(0), [name].into())].into(), dirty: true };
        derive(&mut plan, &leftovers, &Filter::default());
        assert_eq!(
            shown(&plan),
            ["restart@0 Interrupted", "wait@0 Triggered", "backup@0 Triggered", "gate@0 Gate"]
        );
    }

    #[test]
    fn a_node_that_was_not_probed_has_nothing_pending() {
        let mut plan = plan(config_restart_wait_gate(), |_, node| {
            (node == 0).then(|| Verdict::Change(Change::default()))
        });
        derive(&mut plan, &Leftovers { dirty: true, ..Leftovers::default() }, &Filter::default());
        assert!(plan.stages[0].pending.keys().all(|(_, venue)| *venue == Venue::Node(NodeId(0))));
    }

    #[test]
    fn naming_a_node_leaves_all_others_alone() {
        let mut plan = plan(config_restart_wait_gate(), |_, _| Some(Verdict::Change(Change::default())));
        let filter = Filter { nodes: Some([NodeId(1)].into()), stages: None };
        derive(&mut plan, &Leftovers::default(), &filter);
        assert!(plan.stages[0].pending.keys().all(|(_, venue)| *venue == Venue::Node(NodeId(1))));
        assert_eq!(plan.stages[0].pending.len(), 3);
    }

    #[test]
    fn a_node_that_gets_another_runtime_is_asked_for_its_images_anew() {
        let image = || Action::Node(std::sync::Arc::new(crate::op::image::Image { reference: "x:1".into() }));
        let provides = Modifiers { provides: vec!["runtime".into()], ..Modifiers::default() };
        let runtime = testing::stage("r", "gives-node:runtime", vec![custom("switch", &[0, 1], provides)]);
        let user = testing::stage("u", "", vec![(image(), vec![0, 1], Modifiers::default())]);
        let mut plan = Plan { stages: vec![runtime, user], findings: Vec::new() };
        for (stage, node, verdict) in [
            (0, 0, Verdict::Satisfied),
            (0, 1, Verdict::Change(Change::default())),
            (1, 0, Verdict::Satisfied),
            (1, 1, Verdict::Satisfied),
        ] {
            plan.stages[stage].verdicts.insert((OpId(0), Venue::Node(NodeId(node))), verdict);
        }
        derive(&mut plan, &Leftovers::default(), &Filter::default());
        let asked = [((OpId(0), Venue::Node(NodeId(1))), Why::Unknown)];
        assert_eq!(plan.stages[1].pending, asked.into());
    }

    #[test]
    fn markers_of_twins_differ_and_are_file_names() {
        let twins = vec![custom("a/b c", &[0], on_change(0)), custom("a/b c", &[0], on_change(0))];
        let stage = testing::stage("a/../b", "", twins);
        let (first, second) = (marker(&stage, &stage.ops[0]), marker(&stage, &stage.ops[1]));
        assert_ne!(first, second);
        assert!(first.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)), "{first}");
        assert!(!first.contains("..") && !first.contains('/'), "{first}");
    }
}
