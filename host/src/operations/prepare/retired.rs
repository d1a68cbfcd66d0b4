//! Stages that made the cluster and have left the manifest. What such a stage left behind is taken back as part of the plan: its
//! Kubernetes objects, what its plugin cleans up, what the ledgers list. Whoever takes over one of its slots waits for that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::stages::Loaded;
use crate::diagnostic::Diagnostic;
use crate::facts::Gathered;
use crate::kubernetes::{self, Kubernetes};
use crate::manifest::{Manifest, StageEntry};
use crate::node::NodeId;
use crate::op::kube_delete::KubeDelete;
use crate::op::kube_recreate::KubeRecreate;
use crate::op::take_back::TakeBack;
use crate::op::{Action, Modifiers, OpId, Recorded};
use crate::plan::{Plan, StageDraft, StagePlan};
use crate::plugin::metadata::{Metadata, Scope, Slot};
use crate::plugin::resolve::ResolvedStage;
use crate::state::ChainLink;

/// Slots that a cluster is made of: whoever provides them cannot leave it.
const CLUSTER: [&str; 4] = ["api", "control-plane", "etcd", "workers"];

/// Slots whose change interrupts every pod.
const INTERRUPTING: [&str; 2] = ["network", "proxy"];

/// Pods keep the addresses of this slot's provider for life.
const ADDRESSES: &str = "network";

/// For the question what a stage has applied.
const ASK_WITHIN: Duration = Duration::from_secs(30);

/// What is known when stages are retired.
pub(super) struct Situation<'a> {
    pub manifest: &'a Manifest,
    pub gathered: &'a BTreeMap<NodeId, Gathered>,
    pub kubernetes: Option<&'a Kubernetes>,
    /// The operator has a maintenance window.
    pub may_interrupt: bool,
}

/// Adds to the plan what has to go of stages that the cluster remembers and the manifest does not have any more.
pub(super) async fn retire(
    plan: &mut Plan,
    loaded: &mut Loaded,
    remembered: &[ChainLink],
    now: &Situation<'_>,
) {
    let current = loaded.chain(now.manifest);
    for link in remembered.iter().filter(|link| !current.iter().any(|own| own.is(link))) {
        match retire_one(plan, loaded, link, now).await {
            Ok(None) => {}
            Ok(Some(stage)) => insert(plan, stage, link),
            Err(finding) => plan.findings.push(*finding),
        }
    }
}

async fn retire_one(
    plan: &Plan,
    loaded: &mut Loaded,
    link: &ChainLink,
    now: &Situation<'_>,
) -> Result<Option<StagePlan>, Box<Diagnostic>> {
    let has = |slots: &[&str]| link.provides.iter().any(|slot| slots.contains(&slot.as_str()));
    if has(&CLUSTER) {
        return Err(Box::new(indispensable(link)));
    }
    if has(&INTERRUPTING) && !now.may_interrupt {
        return Err(Box::new(interrupting(plan, link)));
    }
    let entry = entry(plan, link);
    let stage = loaded.adopt(now.manifest, &entry).await.map_err(|finding| unknown(link, &finding))?;
    // What a stage gives to nodes is shared with those that take over there.
    if stage.metadata.provides.iter().any(|slot| slot.scope == Scope::Node) {
        return Err(Box::new(stays(link)));
    }
    let Some(kubernetes) = now.kubernetes else {
        let message = format!(
            "stage `{}` has left the manifest, and the API cannot be asked what it applied",
            link.name
        );
        return Err(Box::new(
            Diagnostic::error("ksp::stage::left-unknown", message)
                .hint("look at `ksp status`; with the API back, run the same command again"),
        ));
    };
    let sets = kubernetes::sets(kubernetes, &link.name, Instant::now() + ASK_WITHIN);
    let sets = sets.await.map_err(|error| unknown(link, &error.message))?;
    let nodes: Vec<NodeId> = now.gathered.keys().copied().collect();
    let draft = loaded.teardown_adopted(plan, &entry.name, &nodes).await;
    let draft = draft.map_err(|failure| unknown(link, &failure))?.unwrap_or_default();
    let ops = ops(link, &sets, draft, now.gathered);
    Ok((!ops.is_empty()).then(|| stage_plan(&entry.name, &stage, ops)))
}

/// The stage as the manifest had it, under a name that no other stage has.
fn entry(plan: &Plan, link: &ChainLink) -> StageEntry {
    let taken = plan.stages.iter().any(|stage| stage.name == link.name);
    StageEntry {
        name: if taken { format!("{}-retired", link.name) } else { link.name.clone() },
        plugin: link.reference.clone(),
        version: semver::VersionReq::STAR,
        nodes: None,
        config: link.config.clone(),
        grants: link.grants.clone(),
    }
}

/// Objects first, so that nothing makes anew what is removed on the nodes; then what the plugin cleans up, as long as its files are
/// there; pods last, so that they meet no old network.
fn ops(
    link: &ChainLink,
    sets: &[String],
    draft: StageDraft,
    gathered: &BTreeMap<NodeId, Gathered>,
) -> Vec<Recorded> {
    let mut ops: Vec<Recorded> = Vec::new();
    let objects: Vec<OpId> = sets
        .iter()
        .map(|set| {
            let delete = KubeDelete { stage: link.name.clone(), set: set.clone() };
            record(&mut ops, Action::Cluster(Arc::new(delete)), Vec::new(), Vec::new())
        })
        .collect();
    let mut on_nodes = Vec::new();
    // The plugin numbered its ops from zero: they come behind ours, and so do those that they name.
    let first = u32::try_from(ops.len()).unwrap_or(u32::MAX);
    let shift = |id: &OpId| OpId(id.0 + first);
    for mut op in draft.ops {
        op.id = shift(&op.id);
        let modifiers = &mut op.modifiers;
        for named in [&mut modifiers.after, &mut modifiers.on_change, &mut modifiers.only_for] {
            *named = named.iter().map(shift).collect();
        }
        modifiers.after.extend(&objects);
        on_nodes.push(op.id);
        ops.push(op);
    }
    for (node, it) in gathered {
        for entry in it.ledger.entries.iter().rev().filter(|entry| entry.stage == link.name) {
            let back = TakeBack { entry: entry.clone() };
            on_nodes.push(record(&mut ops, Action::Node(Arc::new(back)), vec![*node], objects.clone()));
        }
    }
    if link.provides.iter().any(|slot| slot == ADDRESSES) {
        record(&mut ops, Action::Cluster(Arc::new(KubeRecreate)), Vec::new(), [objects, on_nodes].concat());
    }
    ops
}

fn record(ops: &mut Vec<Recorded>, action: Action, nodes: Vec<NodeId>, after: Vec<OpId>) -> OpId {
    let id = OpId(u32::try_from(ops.len()).unwrap_or(u32::MAX));
    ops.push(Recorded { id, action, nodes, modifiers: Modifiers { after, ..Modifiers::default() } });
    id
}

fn slot_of(name: &str) -> String {
    format!("retired-{name}")
}

fn stage_plan(name: &str, stage: &ResolvedStage, ops: Vec<Recorded>) -> StagePlan {
    let retired = Slot { slot: slot_of(name), scope: Scope::Cluster, when: None };
    let metadata = Metadata {
        provides: vec![retired],
        requires: Vec::new(),
        wants: vec!["api".into()],
        ..Metadata::clone(&stage.metadata)
    };
    StagePlan {
        name: name.to_owned(),
        plugin: stage.plugin.clone(),
        metadata: Arc::new(metadata),
        nodes: None,
        ops,
        outputs: BTreeMap::new(),
        verdicts: BTreeMap::new(),
        pending: BTreeMap::new(),
    }
}

/// In front of whoever takes over a slot of it; those wait. Behind all others when nobody does.
fn insert(plan: &mut Plan, stage: StagePlan, link: &ChainLink) {
    let takes_over =
        |other: &StagePlan| other.metadata.provides.iter().any(|slot| link.provides.contains(&slot.slot));
    let place = plan.stages.iter().position(takes_over).unwrap_or(plan.stages.len());
    for heir in plan.stages.iter_mut().filter(|other| takes_over(other)) {
        let mut metadata = Metadata::clone(&heir.metadata);
        metadata.wants.push(slot_of(&stage.name));
        heir.metadata = Arc::new(metadata);
    }
    plan.stages.insert(place, stage);
}

fn indispensable(link: &ChainLink) -> Diagnostic {
    let message =
        format!("stage `{}` has left the manifest, but the cluster is made of what it does", link.name);
    Diagnostic::error("ksp::stage::cannot-leave", message)
        .hint(format!("put `use = \"{}\"` back; to take the cluster down, run `ksp reset`", link.reference))
}

fn interrupting(plan: &Plan, link: &ChainLink) -> Diagnostic {
    let heirs: Vec<String> = plan
        .stages
        .iter()
        .filter(|stage| stage.metadata.provides.iter().any(|slot| link.provides.contains(&slot.slot)))
        .map(|stage| format!("`{}`", stage.name))
        .collect();
    let instead =
        if heirs.is_empty() { String::new() } else { format!(" and {} takes over", heirs.join(", ")) };
    let message = format!(
        "stage `{}` has left the manifest{instead}: on a living cluster every pod loses its connections meanwhile",
        link.name
    );
    Diagnostic::error("ksp::stage::network-rebuild", message)
        .hint("make a new cluster and move the workloads to it; that interrupts nothing")
        .hint("or, in a maintenance window: the same command with `--allow-network-rebuild` removes the old one, makes the new one and starts all pods anew")
        .hint(format!("or put `use = \"{}\"` back", link.reference))
}

fn stays(link: &ChainLink) -> Diagnostic {
    let message =
        format!("stage `{}` has left the manifest; what it installed on nodes stays there", link.name);
    Diagnostic::warning("ksp::stage::stays", message)
        .hint("it goes when the node is reset: the ledger lists it")
}

fn unknown(link: &ChainLink, why: &dyn std::fmt::Display) -> Box<Diagnostic> {
    let message = format!(
        "stage `{}` has left the manifest, and what it left behind cannot be found out: {why}",
        link.name
    );
    Box::new(
        Diagnostic::error("ksp::stage::left-unknown", message).hint(format!(
            "put the stage back (`use = \"{}\"`), or mend what the message says",
            link.reference
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing;

    fn link(provides: &[&str]) -> ChainLink {
        ChainLink {
            name: "flannel".into(),
            plugin: "ksp/flannel".into(),
            reference: "ksp/flannel".into(),
            grants: Vec::new(),
            provides: provides.iter().map(|slot| (*slot).to_owned()).collect(),
            config: serde_json::json!({}),
        }
    }

    fn custom(after: &[u32]) -> (Action, Vec<u32>, Modifiers) {
        let after = after.iter().map(|id| OpId(*id)).collect();
        let action = Action::Custom { tag: "t".into(), summary: "clean up".into() };
        (action, vec![0, 1], Modifiers { after, ..Modifiers::default() })
    }

    #[test]
    fn objects_go_before_what_is_on_nodes_and_pods_come_last() {
        let drafted = testing::stage("x", "", vec![custom(&[]), custom(&[0])]).ops;
        let draft = StageDraft { ops: drafted, ..StageDraft::default() };
        let ops = ops(&link(&["network"]), &["flannel".into(), "rules".into()], draft, &BTreeMap::new());
        let shown: Vec<String> = ops
            .iter()
            .map(|op| {
                let after: Vec<u32> = op.modifiers.after.iter().map(|id| id.0).collect();
                format!("{} {} after {after:?}", op.id.0, op.key())
            })
            .collect();
        insta::assert_debug_snapshot!(shown, @r#"
        [
            "0 kube-delete:flannel after []",
            "1 kube-delete:rules after []",
            "2 custom:t after [0, 1]",
            "3 custom:t after [2, 0, 1]",
            "4 kube-recreate:pods after [0, 1, 2, 3]",
        ]
        "#);
    }

    #[test]
    fn whoever_takes_over_waits() {
        let retired = testing::stage("flannel", "gives:retired-flannel", Vec::new());
        let stages = vec![
            testing::stage("api", "gives:api", Vec::new()),
            testing::stage("calico", "gives:network needs:api", Vec::new()),
            testing::stage("dns", "gives:dns", Vec::new()),
        ];
        let mut plan = Plan { stages, findings: Vec::new() };
        insert(&mut plan, retired, &link(&["network"]));
        let names: Vec<&str> = plan.stages.iter().map(|stage| stage.name.as_str()).collect();
        assert_eq!(names, ["api", "flannel", "calico", "dns"]);
        assert_eq!(plan.stages[2].metadata.wants, ["retired-flannel"]);
        assert!(plan.stages[3].metadata.wants.is_empty());
    }

    #[test]
    fn the_way_is_said() {
        let plan = Plan {
            stages: vec![testing::stage("calico", "gives:network", Vec::new())],
            findings: Vec::new(),
        };
        let finding = interrupting(&plan, &link(&["network"]));
        insta::assert_snapshot!(format!("{}\n{}", finding.message, finding.hints.join("\n")), @r#"
        stage `flannel` has left the manifest and `calico` takes over: on a living cluster every pod loses its connections meanwhile
        make a new cluster and move the workloads to it; that interrupts nothing
        or, in a maintenance window: the same command with `--allow-network-rebuild` removes the old one, makes the new one and starts all pods anew
        or put `use = "ksp/flannel"` back
        "#);
    }
}
