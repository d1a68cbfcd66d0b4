//! Slots: every one that a stage needs is provided, once on each node, and nobody waits for themselves.
//!
//! Two slots have a meaning here: an endpoint of the API that is loopback works only when a stage makes it work on every node, and nodes
//! with the role `etcd` need a stage that runs it.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Diagnostic;
use crate::manifest::Manifest;
use crate::node::{NodeId, Role};
use crate::plugin::embedded;
use crate::plugin::metadata::Scope;
use crate::plugin::resolve::ResolvedStage;

/// Whoever provides it makes the cluster's endpoint reachable from every node.
pub const ENDPOINT: &str = "endpoint";

/// The slot of a node's container runtime: images are pulled through it.
pub const RUNTIME: &str = "runtime";

/// The slot of those who run etcd on nodes of its own.
const ETCD: &str = "etcd";

/// Checks the slots of a whole chain.
pub fn check(manifest: &Manifest, stages: &[ResolvedStage]) -> Vec<Diagnostic> {
    let mut findings = Vec::new();
    let mut providers: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, stage) in stages.iter().enumerate() {
        for offer in &stage.metadata.provides {
            providers.entry(&offer.slot).or_default().push(index);
        }
    }
    for (slot, who) in &providers {
        findings.extend(doubled(manifest, stages, slot, who));
    }
    findings.extend(stages.iter().filter_map(|stage| for_some_nodes(manifest, stage)));
    findings.extend(members_without_a_stage(manifest, providers.contains_key(ETCD)));
    for stage in stages {
        for slot in stage.metadata.requires.iter().filter(|slot| !providers.contains_key(slot.as_str())) {
            let message = format!("stage `{}` needs slot `{slot}`, which no stage provides", stage.name);
            let finding =
                Diagnostic::error("ksp::stage::missing-slot", message).hint(match offers(slot).as_slice() {
                    [] => "no embedded plugin provides it: add a stage whose plugin does".to_owned(),
                    stages => format!("add a stage: {}", stages.join(" or ")),
                });
            findings.push(at(manifest, &stage.name, finding));
        }
    }
    let endpoint = &manifest.cluster.endpoint;
    if endpoint.is_loopback() && !providers.contains_key(ENDPOINT) {
        let message = format!(
            "the endpoint `{endpoint}` is another machine on each node, and no stage makes it the API"
        );
        let hint = match offers(ENDPOINT).as_slice() {
            [] => "use a name or address that all nodes reach".to_owned(),
            names => {
                format!("add a stage: {}; or use a name or address that all nodes reach", names.join(" or "))
            }
        };
        let finding = Diagnostic::error("ksp::stage::local-endpoint", message).at(manifest.endpoint_span());
        findings.push(finding.hint(hint));
    }
    if findings.is_empty()
        && let Some(cycle) = cycle(stages, &providers)
    {
        let names: Vec<String> = cycle.iter().map(|index| format!("`{}`", stages[*index].name)).collect();
        let message = format!("stages wait for each other: {}", names.join(" → "));
        let finding = Diagnostic::error("ksp::stage::cycle", message).hint("remove one of them");
        findings.push(at(manifest, &stages[cycle[0]].name, finding));
    }
    findings
}

/// Two stages may provide a slot of nodes when no node has both.
fn doubled(manifest: &Manifest, stages: &[ResolvedStage], slot: &str, who: &[usize]) -> Option<Diagnostic> {
    let pairs = who
        .iter()
        .enumerate()
        .flat_map(|(at, first)| who[at + 1..].iter().map(move |second| (first, second)));
    let mut pairs = pairs.map(|(first, second)| (&stages[*first], &stages[*second]));
    let (first, second) =
        pairs.find(|(first, second)| !apart(first.nodes.as_ref(), second.nodes.as_ref()))?;
    let optional = [first, second].into_iter().find_map(|stage| {
        let offer = stage.metadata.provides.iter().find(|offer| offer.slot == slot)?;
        Some(format!(", or `{} = true` from stage `{}`", offer.key()?, stage.name))
    });
    let (first, second) = (&first.name, &second.name);
    let message = format!("slot `{slot}` is provided twice: by stage `{first}` and by stage `{second}`");
    let of_nodes = |stage: &ResolvedStage| {
        stage.metadata.provides.iter().any(|own| own.slot == slot && own.scope == Scope::Node)
    };
    let hint = if who.iter().all(|index| of_nodes(&stages[*index])) {
        format!("remove stage `{first}` or stage `{second}`, or give both `nodes` that share no node")
    } else {
        format!("remove stage `{first}` or stage `{second}`{}", optional.unwrap_or_default())
    };
    Some(at(manifest, second, Diagnostic::error("ksp::stage::doubled-slot", message).hint(hint)))
}

/// True when no node is among both; none stands for all nodes.
pub fn apart(one: Option<&BTreeSet<NodeId>>, other: Option<&BTreeSet<NodeId>>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one.is_disjoint(other))
}

/// What is wrong with a stage that is for some nodes: it is for none, or what it gives is the whole cluster's.
fn for_some_nodes(manifest: &Manifest, stage: &ResolvedStage) -> Option<Diagnostic> {
    let nodes = stage.nodes.as_ref()?;
    let name = &stage.name;
    let whole = stage.metadata.provides.iter().find(|own| own.scope == Scope::Cluster);
    let finding = if let Some(own) = whole {
        let message = format!(
            "stage `{name}` provides slot `{}` to the whole cluster: it cannot be for some nodes",
            own.slot
        );
        Diagnostic::error("ksp::stage::whole-cluster", message).hint("remove its `nodes`")
    } else if nodes.is_empty() {
        let message = format!("stage `{name}` is for no node: its `nodes` matches none");
        Diagnostic::error("ksp::stage::no-nodes", message).hint("change its `nodes`, or remove the stage")
    } else {
        return None;
    };
    Some(at(manifest, name, finding))
}

/// The role `etcd` means that somebody runs members there; without, control planes would silently run their own.
fn members_without_a_stage(manifest: &Manifest, provided: bool) -> Option<Diagnostic> {
    let members = manifest.nodes.iter().filter(|node| node.is(Role::Etcd));
    let names: Vec<&str> = members.map(|node| node.name.as_str()).collect();
    if provided || names.is_empty() {
        return None;
    }
    let message = format!(
        "nodes with the role `etcd` need slot `{ETCD}`, which no stage provides: {}",
        names.join(", ")
    );
    let hint = match offers(ETCD).as_slice() {
        [] => "give these nodes another role".to_owned(),
        names => format!("add a stage: {}, or give these nodes another role", names.join(" or ")),
    };
    Some(Diagnostic::error("ksp::stage::missing-slot", message).hint(hint))
}

fn at(manifest: &Manifest, stage: &str, finding: Diagnostic) -> Diagnostic {
    match manifest.stage_span(stage) {
        Some(span) => finding.at(span),
        None => finding,
    }
}

/// Embedded plugins that provide a slot, as a stage of theirs is written: `use = "ksp/name"`, and what it must be configured with.
pub fn offers(slot: &str) -> Vec<String> {
    let offer = |plugin: &embedded::Embedded| {
        let package = plugin.package().ok()?;
        let offer = package.metadata.provides.iter().find(|offer| offer.slot == slot)?;
        let with = offer.key().map(|key| format!(" with `{key} = true`")).unwrap_or_default();
        Some(format!("`use = \"{}\"`{with}", plugin.name))
    };
    embedded::all().iter().filter_map(offer).collect()
}

/// Stages that wait for each other, the first one again at the end.
fn cycle(stages: &[ResolvedStage], providers: &BTreeMap<&str, Vec<usize>>) -> Option<Vec<usize>> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    fn visit(
        index: usize,
        stages: &[ResolvedStage],
        providers: &BTreeMap<&str, Vec<usize>>,
        marks: &mut [Mark],
        path: &mut Vec<usize>,
    ) -> Option<Vec<usize>> {
        marks[index] = Mark::Open;
        path.push(index);
        let needs = stages[index].metadata.requires.iter().chain(&stages[index].metadata.wants);
        for next in needs.filter_map(|slot| providers.get(slot.as_str())).flatten().copied() {
            match marks[next] {
                Mark::Open => {
                    let start = path.iter().position(|known| *known == next)?;
                    return Some(path[start..].iter().copied().chain([next]).collect());
                }
                Mark::New => {
                    if let Some(found) = visit(next, stages, providers, marks, path) {
                        return Some(found);
                    }
                }
                Mark::Done => {}
            }
        }
        path.pop();
        marks[index] = Mark::Done;
        None
    }
    let mut marks = vec![Mark::New; stages.len()];
    (0..stages.len()).find_map(|index| match marks[index] {
        Mark::New => visit(index, stages, providers, &mut marks, &mut Vec::new()),
        _ => None,
    })
}
