//! Brings the members of the stacked etcd in line with the nodes: the dead are removed before anybody is added.

use ksp_sdk::etcd::{Etcd, Member, peer_url};
use ksp_sdk::prelude::*;

use crate::members::{self, Changes, Departure, Heard, Own, Place};

/// What the nodes said of etcd.
#[derive(Default)]
pub struct Survey {
    /// A complete control plane whose member answers; what concerns all members is done there.
    pub via: Option<Node>,
    /// What has to happen; nothing when no member answers.
    pub changes: Changes,
}

/// What a node has of its own.
pub fn own(node: &Node) -> Own {
    let facts = node.facts();
    if !facts.known() {
        return Own::Unknown;
    }
    let yes = |name: &str| facts.probe(name).is_some_and(|probe| probe.status == 0);
    let data = yes("etcd-data");
    if yes("complete") { Own::Complete { data } } else { Own::Incomplete { data } }
}

/// Compares members and nodes.
pub fn survey(nodes: &Nodes) -> Survey {
    let answer = nodes.iter().filter(|node| matches!(own(node), Own::Complete { .. })).find_map(|node| {
        let facts = node.facts();
        let output = |name: &str| facts.probe(name).map(|probe| probe.stdout).unwrap_or_default();
        Some((node.clone(), Heard::read(&output("etcd-members"), &output("etcd-health"))?))
    });
    let urls: Vec<String> = nodes.iter().map(|node| peer_url(node)).collect();
    let places = nodes.iter().zip(&urls);
    let places: Vec<Place<'_>> =
        places.map(|(node, peer_url)| Place { name: &node.name, peer_url, own: own(node) }).collect();
    match answer {
        Some((via, members)) => Survey { via: Some(via), changes: members::compare(&places, &members) },
        None => Survey { via: None, changes: silent(&places) },
    }
}

/// No member answers: nobody can be added, and nothing that was lost can be filled again.
fn silent(places: &[Place<'_>]) -> Changes {
    let exists = places.iter().any(|place| matches!(place.own, Own::Complete { .. }));
    let waiting: Vec<&str> = places
        .iter()
        .filter(|place| matches!(place.own, Own::Incomplete { .. } | Own::Complete { data: false }))
        .map(|place| place.name)
        .collect();
    let mut changes = Changes::default();
    if exists && !waiting.is_empty() {
        changes.refusals.push((
            "control-plane.no-quorum",
            format!(
                "etcd does not answer on any control plane; {} cannot become a member",
                waiting.join(", ")
            ),
            "`ksp etcd status` shows who is missing; without a majority: `ksp etcd restore`".to_owned(),
        ));
    }
    changes
}

/// Reports what refuses the run.
pub fn report(cx: &Context, changes: &Changes) {
    for (code, message, hint) in &changes.refusals {
        cx.plan().finding(None, Severity::Error, code, message, Some(hint));
    }
}

/// Removes who has to go, and finishes what an interrupted run left; the op after which members may be added.
pub fn settle(cx: &Context, etcd: &Etcd, via: &Node, changes: &Changes) -> Option<Op> {
    let mut last = None;
    for member in &changes.promote {
        last = Some(promote(cx, etcd, via, member));
    }
    for departure in &changes.departures {
        last = Some(remove(cx, etcd, via, departure));
    }
    last
}

/// A learner becomes a voter as soon as it has caught up.
fn promote(cx: &Context, etcd: &Etcd, via: &Node, member: &Member) -> Op {
    let mut argv = etcd.ctl();
    argv.extend(argv!["member", "promote", member.hex()]);
    cx.plan()
        .exec(via, argv)
        .summary(format!("let {} vote in etcd", member.called()))
        .unless(not_listed(etcd, &format!("^{},.*true$", member.hex())))
        .retry(60, Duration::from_secs(2))
}

fn remove(cx: &Context, etcd: &Etcd, via: &Node, departure: &Departure) -> Op {
    let Departure { member, why, with_node } = departure;
    let plan = cx.plan();
    let mut argv = etcd.ctl();
    argv.extend(argv!["member", "remove", member.hex()]);
    let removed = plan
        .exec(via, argv)
        .summary(format!("remove the member {} from etcd: it {why}", member.called()))
        .unless(not_listed(etcd, &format!("^{},", member.hex())));
    if !with_node || member.name.is_empty() {
        return removed;
    }
    let delete = argv![
        "kubectl",
        "--kubeconfig=/etc/kubernetes/admin.conf",
        "delete",
        "node",
        member.name.as_str(),
        "--ignore-not-found",
        "--timeout=60s",
    ];
    plan.exec(via, delete)
        .summary(format!("delete the node object of {}", member.name))
        .only_for(&removed)
        .timeout(Duration::from_secs(90))
}

/// True when etcd answers and no line of its list (id, state, name, peers, clients, learner) fits.
fn not_listed(etcd: &Etcd, pattern: &str) -> Vec<String> {
    let list = etcd.ctl().join(" ");
    argv![
        "sh",
        "-c",
        format!("list=$({list} member list) && ! printf '%s\\n' \"$list\" | grep -q '{pattern}'")
    ]
}
