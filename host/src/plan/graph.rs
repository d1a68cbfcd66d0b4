//! The order of the stages: a DAG from the slots that they require, want and provide. Ties go by place in the manifest.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Diagnostic;
use crate::node::NodeId;
use crate::plugin::metadata::{Metadata, Slot};
use crate::plugin::resolve::slots::apart;

/// A stage as the graph sees it.
#[derive(Debug, Clone, Copy)]
pub struct Stage<'a> {
    /// Its name in the manifest.
    pub name: &'a str,
    /// Its plugin's slots.
    pub metadata: &'a Metadata,
    /// The nodes it is for, when it is not for all.
    pub nodes: Option<&'a BTreeSet<NodeId>>,
}

/// Who provides a slot.
#[derive(Debug, Clone, Copy)]
pub struct Provider<'a> {
    /// The stage's place in the given list.
    pub stage: usize,
    /// What it offers.
    pub slot: &'a Slot,
}

/// Who provides each slot: more than one only on different nodes.
pub fn providers<'a>(stages: &[Stage<'a>]) -> BTreeMap<&'a str, Vec<Provider<'a>>> {
    let mut found: BTreeMap<&str, Vec<Provider<'_>>> = BTreeMap::new();
    for (index, stage) in stages.iter().enumerate() {
        for slot in &stage.metadata.provides {
            found.entry(slot.slot.as_str()).or_default().push(Provider { stage: index, slot });
        }
    }
    found
}

/// The stages in the order in which they are planned, as places in the given list, which is in the manifest's order.
/// `offers` says which stages are known to provide a slot, as they are written in a manifest: they are named in the advice.
///
/// # Errors
/// Every slot that is missing or doubled, or one cycle.
pub fn order(
    stages: &[Stage<'_>],
    offers: impl Fn(&str) -> Vec<String>,
) -> Result<Vec<usize>, Vec<Diagnostic>> {
    let mut findings = doubled(stages);
    findings.extend(missing(stages, offers));
    if !findings.is_empty() {
        return Err(findings);
    }
    let needs = dependencies(stages);
    let mut ordered = Vec::with_capacity(stages.len());
    let mut left: BTreeSet<usize> = (0..stages.len()).collect();
    while let Some(next) = left.iter().copied().find(|stage| needs[*stage].is_disjoint(&left)) {
        left.remove(&next);
        ordered.push(next);
    }
    if left.is_empty() { Ok(ordered) } else { Err(vec![cycle(stages, &needs, &left)]) }
}

/// For each stage the stages that it comes after.
pub fn dependencies(stages: &[Stage<'_>]) -> Vec<BTreeSet<usize>> {
    let providers = providers(stages);
    let of = |(index, stage): (usize, &Stage<'_>)| {
        let slots = stage.metadata.requires.iter().chain(&stage.metadata.wants);
        slots
            .filter_map(|slot| providers.get(slot.as_str()))
            .flatten()
            .map(|found| found.stage)
            .filter(|at| *at != index)
            .collect()
    };
    stages.iter().enumerate().map(of).collect()
}

fn doubled(stages: &[Stage<'_>]) -> Vec<Diagnostic> {
    let together = |providers: &[Provider<'_>]| {
        let nodes = |at: usize| stages[providers[at].stage].nodes;
        (0..providers.len()).any(|one| (0..one).any(|other| !apart(nodes(one), nodes(other))))
    };
    let several = providers(stages).into_iter().filter(|(_, providers)| together(providers));
    several
        .map(|(slot, providers)| {
            let names: Vec<&str> = providers.iter().map(|provider| stages[provider.stage].name).collect();
            let message = format!("slot `{slot}` is provided by {} stages: {}", names.len(), quoted(&names));
            Diagnostic::error("ksp::plan::doubled-slot", message)
                .hint("keep one of them and remove the others")
        })
        .collect()
}

fn missing(stages: &[Stage<'_>], offers: impl Fn(&str) -> Vec<String>) -> Vec<Diagnostic> {
    let providers = providers(stages);
    let mut findings = Vec::new();
    for stage in stages {
        for slot in stage.metadata.requires.iter().filter(|slot| !providers.contains_key(slot.as_str())) {
            let message = format!("stage `{}` needs slot `{slot}`, which no stage provides", stage.name);
            let known = offers(slot);
            let hint = match known.as_slice() {
                [] => format!("add a stage whose plugin provides `{slot}`, or remove stage `{}`", stage.name),
                _ => format!("add a stage: {}", known.join(" or ")),
            };
            findings.push(Diagnostic::error("ksp::plan::missing-slot", message).hint(hint));
        }
    }
    findings
}

/// Walks along unmet needs until a stage comes up again: what is left over always holds such a loop.
fn cycle(stages: &[Stage<'_>], needs: &[BTreeSet<usize>], left: &BTreeSet<usize>) -> Diagnostic {
    let mut path: Vec<usize> = left.iter().take(1).copied().collect();
    while let Some(next) = path.last().and_then(|last| needs[*last].intersection(left).next().copied()) {
        if let Some(start) = path.iter().position(|seen| *seen == next) {
            path.drain(..start);
            path.push(next);
            break;
        }
        path.push(next);
    }
    let names: Vec<String> = path.iter().map(|stage| format!("`{}`", stages[*stage].name)).collect();
    Diagnostic::error("ksp::plan::cycle", format!("stages need each other: {}", names.join(" needs ")))
        .hint("remove one of these stages, or use a plugin that does not need the other")
}

fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::testing::metadata;

    fn ordered(described: &[(&str, &str)]) -> Result<Vec<String>, Vec<String>> {
        let all: Vec<(String, Metadata)> =
            described.iter().map(|(name, slots)| ((*name).to_owned(), metadata(name, slots))).collect();
        let stages: Vec<Stage<'_>> =
            all.iter().map(|(name, metadata)| Stage { name, metadata, nodes: None }).collect();
        let offers = |slot: &str| {
            if slot == "runtime" { vec!["`use = \"ksp/containerd\"`".to_owned()] } else { Vec::new() }
        };
        match order(&stages, offers) {
            Ok(order) => Ok(order.into_iter().map(|at| all[at].0.clone()).collect()),
            Err(findings) => Err(findings
                .into_iter()
                .map(|finding| format!("{}: {} / {}", finding.code, finding.message, finding.hints.join(" ")))
                .collect()),
        }
    }

    #[test]
    fn slots_decide_and_ties_go_by_the_manifest() {
        let order = ordered(&[
            ("addon", "needs:network wants:dns"),
            ("b", ""),
            ("network", "gives:network needs:runtime"),
            ("a", ""),
            ("runtime", "gives-node:runtime"),
        ]);
        insta::assert_debug_snapshot!(order.unwrap(), @r#"
        [
            "b",
            "a",
            "runtime",
            "network",
            "addon",
        ]
        "#);
    }

    #[test]
    fn every_missing_and_doubled_slot_is_named() {
        let findings =
            ordered(&[("one", "gives:network needs:runtime"), ("two", "gives:network needs:storage")]);
        insta::assert_debug_snapshot!(findings.unwrap_err(), @r#"
        [
            "ksp::plan::doubled-slot: slot `network` is provided by 2 stages: `one`, `two` / keep one of them and remove the others",
            "ksp::plan::missing-slot: stage `one` needs slot `runtime`, which no stage provides / add a stage: `use = \"ksp/containerd\"`",
            "ksp::plan::missing-slot: stage `two` needs slot `storage`, which no stage provides / add a stage whose plugin provides `storage`, or remove stage `two`",
        ]
        "#);
    }

    #[test]
    fn a_slot_may_have_a_provider_on_each_node() {
        let (one, other) = (metadata("one", "gives-node:runtime"), metadata("other", "gives-node:runtime"));
        let user = metadata("user", "needs:runtime");
        let (first, second) = (BTreeSet::from([NodeId(0), NodeId(1)]), BTreeSet::from([NodeId(2)]));
        let chain = |nodes: [Option<&BTreeSet<NodeId>>; 2]| {
            let stage = |name, metadata, nodes| Stage { name, metadata, nodes };
            let stages =
                [stage("user", &user, None), stage("one", &one, nodes[0]), stage("other", &other, nodes[1])];
            order(&stages, |_| Vec::new()).map_err(|findings| findings[0].code.clone())
        };
        assert_eq!(chain([Some(&first), Some(&second)]), Ok(vec![1, 2, 0]));
        assert_eq!(chain([Some(&first), Some(&first)]), Err("ksp::plan::doubled-slot".into()));
        assert_eq!(chain([Some(&first), None]), Err("ksp::plan::doubled-slot".into()));
    }

    #[test]
    fn a_cycle_is_named_without_the_stages_before_it() {
        let findings = ordered(&[
            ("first", "needs:b"),
            ("a", "gives:a needs:b"),
            ("b", "gives:b wants:a"),
            ("free", ""),
        ]);
        insta::assert_debug_snapshot!(findings.unwrap_err(), @r#"
        [
            "ksp::plan::cycle: stages need each other: `b` needs `a` needs `b` / remove one of these stages, or use a plugin that does not need the other",
        ]
        "#);
    }
}
