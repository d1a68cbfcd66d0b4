//! What becomes of each node: decided from the members' own list and from what is on the nodes, never from a place in the manifest.
//! A member is known by its peer address. No list means no quorum: then nothing about membership is changed.

use std::collections::BTreeMap;

use ksp_sdk::etcd::{Health, Member, Members, majority, peer_url};
use ksp_sdk::prelude::*;

/// What is known of a node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Its name.
    pub name: String,
    /// Where its member is, or would be.
    pub peer_url: String,
    /// It could be read.
    pub reached: bool,
    /// It was made a member once.
    pub complete: bool,
    /// It has a member's data.
    pub data: bool,
    /// The list of its member, which answers and has a quorum.
    pub list: Option<Members>,
    /// Which members answer it.
    pub health: Health,
}

impl Seen {
    /// From a node's facts.
    pub fn read(node: &Node) -> Self {
        let facts = node.facts();
        let yes = |probe: &str| facts.probe(probe).is_some_and(|probe| probe.status == 0);
        let list = facts.probe("external-etcd-members").filter(|probe| probe.status == 0);
        // One that is silent makes it fail, and it is told all the same.
        let health = facts.probe("external-etcd-health").map(|probe| probe.stdout).unwrap_or_default();
        Self {
            name: node.name.clone(),
            peer_url: peer_url(node),
            reached: facts.known(),
            complete: yes("external-etcd-complete"),
            // The guard is lost with the data, also when somebody puts back half of them.
            data: yes("external-etcd-data") && yes("external-etcd-guard"),
            list: list.and_then(|probe| Members::read(&probe.stdout)),
            health: Health::read(&health),
        }
    }
}

/// What becomes of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// With others it begins a new cluster.
    Founds,
    /// It is a member.
    Lives,
    /// It becomes a member of a cluster that runs.
    Joins,
}

/// Why nothing may be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose fault it is.
    pub node: Option<usize>,
    /// Stable.
    pub code: &'static str,
    /// A phrase.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// What is to be done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decision {
    /// For each node.
    pub standings: Vec<Standing>,
    /// Members that are gone for good, in the order of removal, before anybody joins.
    pub removed: Vec<Member>,
    /// The nodes among those that join whose data were lost, and the ids that they had.
    pub lost: BTreeMap<usize, u64>,
    /// The members that stay, those without a voice too.
    pub kept: Vec<Member>,
    /// Nodes whose members answer and stay.
    pub via: Vec<usize>,
    /// Why nothing may be done.
    pub refusals: Vec<Refusal>,
}

/// Decides. `used`: an API server exists, and its objects must be somewhere.
pub fn decide(nodes: &[Seen], used: bool) -> Decision {
    let mut lists = nodes.iter().enumerate().filter_map(|(at, node)| Some((at, node.list.as_ref()?)));
    let Some((first, list)) = lists.next() else { return without_list(nodes, used) };
    let mut decision = with_list(nodes, list);
    for (at, other) in lists.filter(|(_, other)| other.cluster_id != list.cluster_id) {
        decision.refusals.push(Refusal {
            node: Some(at),
            code: "etcd.two-clusters",
            message: format!(
                "its member belongs to cluster {:x}, that of {} to {:x}",
                other.cluster_id, nodes[first].name, list.cluster_id
            ),
            hint:
                "find out which of the two the API servers use, and `ksp reset --node` the nodes of the other"
                    .into(),
        });
    }
    decision
}

fn without_list(nodes: &[Seen], used: bool) -> Decision {
    let all = |standing| Decision { standings: vec![standing; nodes.len()], ..Decision::default() };
    if nodes.iter().any(|node| node.complete) {
        let mut decision = all(Standing::Lives);
        // A node that cannot be reached may well have its data.
        let members = nodes.iter().filter(|node| node.complete || node.data || !node.reached).count();
        let with_data = nodes.iter().filter(|node| node.data || !node.reached).count();
        if with_data < majority(members) {
            decision.refusals.push(quorum_lost(nodes, with_data, members));
        }
        return decision;
    }
    let mut decision = all(Standing::Founds);
    if used {
        decision.refusals.push(Refusal {
            node: None,
            code: "etcd.no-member",
            message: "an API server exists already, and no node with the role `etcd` is a member of the etcd that it uses".into(),
            hint: "put its members back into the manifest and replace them one by one; a stacked etcd cannot be moved".into(),
        });
    }
    decision
}

fn quorum_lost(nodes: &[Seen], with_data: usize, members: usize) -> Refusal {
    let without: Vec<&str> = nodes
        .iter()
        .filter(|node| node.reached && node.complete && !node.data)
        .map(|node| node.name.as_str())
        .collect();
    Refusal {
        node: None,
        code: "etcd.quorum",
        message: format!(
            "{with_data} of {members} etcd members have their data, {} are needed; lost: {}",
            majority(members),
            without.join(", ")
        ),
        hint: "`ksp etcd restore FILE` begins again from a backup".into(),
    }
}

fn with_list(nodes: &[Seen], list: &Members) -> Decision {
    let answers = |member: &Member| nodes.iter().any(|node| node.health.of(member));
    let at = |member: &Member| nodes.iter().position(|node| member.is_at(&node.peer_url));
    let mut decision = Decision::default();
    for (index, node) in nodes.iter().enumerate() {
        let member = list.members.iter().find(|member| member.is_at(&node.peer_url));
        let standing = match member {
            // The host leaves it out.
            _ if !node.reached => Standing::Lives,
            Some(member) if node.data && !member.is_learner => Standing::Lives,
            Some(member) if node.data || member.client_urls.is_empty() => Standing::Joins,
            // It has promised what it does not remember: it may not come back as the one that it was (T1).
            Some(member) => {
                decision.lost.insert(index, member.id);
                decision.removed.push(member.clone());
                Standing::Joins
            }
            None => {
                if node.data {
                    decision.refusals.push(stale(index));
                }
                Standing::Joins
            }
        };
        decision.standings.push(standing);
    }
    for member in list.members.iter().filter(|member| at(member).is_none()) {
        if answers(member) {
            decision.refusals.push(unknown(member));
        } else {
            decision.removed.push(member.clone());
        }
    }
    let is_removed = |member: &&Member| decision.removed.iter().any(|gone| gone.id == member.id);
    decision.kept = list.members.iter().filter(|member| !is_removed(member)).cloned().collect();
    let voters: Vec<&Member> = list.members.iter().filter(|member| !member.is_learner).collect();
    let is_sound = |member: &Member| match at(member).map(|at| &nodes[at]) {
        Some(node) if node.reached => node.data && (node.list.is_some() || answers(member)),
        _ => answers(member),
    };
    let sound = voters.iter().filter(|member| is_sound(member)).count();
    if !decision.removed.is_empty() && sound < majority(voters.len()) {
        let silent: Vec<String> =
            voters.iter().filter(|member| !is_sound(member)).map(|member| member.called()).collect();
        decision.refusals.push(Refusal {
            node: None,
            code: "etcd.quorum",
            message: format!(
                "{sound} of {} voting etcd members answer with their data, {} are needed; not: {}",
                voters.len(),
                majority(voters.len()),
                silent.join(", ")
            ),
            hint:
                "bring one of them back; when none can be, `ksp etcd restore FILE` begins again from a backup"
                    .into(),
        });
    }
    decision.via = nodes
        .iter()
        .enumerate()
        .filter(|(index, node)| {
            node.list.is_some() && node.data && decision.standings[*index] == Standing::Lives
        })
        .map(|(index, _)| index)
        .collect();
    decision
}

fn stale(node: usize) -> Refusal {
    Refusal {
        node: Some(node),
        code: "etcd.stale-data",
        message: "it holds the data of a membership that has ended".into(),
        hint: "`ksp reset --node` removes them; then it joins as a new member".into(),
    }
}

fn unknown(member: &Member) -> Refusal {
    Refusal {
        node: None,
        code: "etcd.unknown-member",
        message: format!(
            "{} is an etcd member that answers, and the manifest has no such node",
            member.called()
        ),
        hint: "put the node back into the manifest, then take it out with `ksp node remove`".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u32) -> Member {
        Member {
            id: u64::from(number),
            name: format!("e{number}"),
            peer_urls: vec![format!("https://10.0.0.{number}:2380")],
            client_urls: vec![format!("https://10.0.0.{number}:2379")],
            is_learner: false,
        }
    }

    fn list(members: &[Member]) -> Option<Members> {
        Some(Members { cluster_id: 7, members: members.to_vec() })
    }

    /// A living member of a cluster of these; those in `silent` do not answer it.
    fn living(number: u32, members: &[Member], silent: &[u32]) -> Seen {
        let health = members
            .iter()
            .map(|it| (it.client_urls.concat(), !silent.contains(&u32::try_from(it.id).unwrap())));
        Seen { complete: true, data: true, list: list(members), health: health.collect(), ..fresh(number) }
    }

    fn fresh(number: u32) -> Seen {
        Seen {
            name: format!("e{number}"),
            peer_url: format!("https://10.0.0.{number}:2380"),
            reached: true,
            ..Seen::default()
        }
    }

    fn codes(decision: &Decision) -> Vec<&str> {
        decision.refusals.iter().map(|refusal| refusal.code).collect()
    }

    fn gone(decision: &Decision) -> Vec<u64> {
        decision.removed.iter().map(|member| member.id).collect()
    }

    #[test]
    fn fresh_nodes_begin_a_cluster_unless_there_is_one_t1() {
        let nodes = [fresh(1), fresh(2), fresh(3)];
        assert_eq!(decide(&nodes, false).standings, [Standing::Founds; 3]);
        assert_eq!(decide(&nodes, false).refusals, []);
        assert_eq!(codes(&decide(&nodes, true)), ["etcd.no-member"]);
    }

    #[test]
    fn nothing_changes_while_all_is_well() {
        let members = [1, 2, 3].map(member);
        let nodes = [1, 2, 3].map(|number| living(number, &members, &[]));
        let decision = decide(&nodes, true);
        assert_eq!(decision.standings, [Standing::Lives; 3]);
        assert!(decision.removed.is_empty() && decision.refusals.is_empty());
    }

    #[test]
    fn lost_data_make_a_new_member_t1() {
        let members = [1, 2, 3].map(member);
        let mut nodes = [1, 2, 3].map(|number| living(number, &members, &[2]));
        nodes[1] = Seen { complete: true, ..fresh(2) };
        let decision = decide(&nodes, true);
        assert_eq!(decision.standings, [Standing::Lives, Standing::Joins, Standing::Lives]);
        assert_eq!((gone(&decision), decision.lost.clone()), (vec![2], [(1, 2)].into()));
        assert_eq!(decision.via, [0, 2]);
        assert_eq!(decision.kept.len(), 2);
        // Also when the machine is a new one and remembers nothing, and when the process still runs on what was deleted.
        nodes[1] = fresh(2);
        assert_eq!(gone(&decide(&nodes, true)), [2]);
        nodes[1] = Seen { data: false, ..living(2, &members, &[]) };
        assert_eq!(gone(&decide(&nodes, true)), [2]);
    }

    #[test]
    fn a_dead_member_is_replaced_whichever_it_is() {
        let members = [1, 2, 3].map(member);
        for dead in [1, 2, 3] {
            let mut nodes: Vec<Seen> =
                [1, 2, 3].iter().filter(|it| **it != dead).map(|it| living(*it, &members, &[dead])).collect();
            nodes.push(fresh(4));
            let decision = decide(&nodes, true);
            assert_eq!(decision.standings, [Standing::Lives, Standing::Lives, Standing::Joins]);
            assert_eq!(gone(&decision), [u64::from(dead)]);
            assert_eq!(decision.refusals, []);
        }
    }

    #[test]
    fn nothing_is_removed_below_quorum_t12() {
        let members = [1, 2, 3].map(member);
        // e3 is dead, e2 has lost its data and still answers: one of three is left.
        let nodes = [
            living(1, &members, &[3]),
            Seen { data: false, ..living(2, &members, &[3]) },
            Seen { reached: false, ..fresh(3) },
        ];
        let decision = decide(&nodes, true);
        assert_eq!(codes(&decision), ["etcd.quorum"]);
        assert!(
            decision.refusals[0]
                .message
                .starts_with("1 of 3 voting etcd members answer with their data, 2 are needed")
        );
    }

    #[test]
    fn without_a_quorum_nothing_is_decided() {
        let stopped = |number| Seen { complete: true, data: true, ..fresh(number) };
        let lost = |number| Seen { complete: true, ..fresh(number) };
        // All machines were switched off: starting them is enough.
        assert_eq!(decide(&[stopped(1), stopped(2), stopped(3)], true).refusals, []);
        assert_eq!(decide(&[stopped(1), stopped(2), lost(3)], true).refusals, []);
        let decision = decide(&[stopped(1), lost(2), lost(3)], true);
        assert_eq!(codes(&decision), ["etcd.quorum"]);
        assert!(decision.refusals[0].message.contains("1 of 3"), "{:?}", decision.refusals);
        assert!(decision.removed.is_empty());
        // Those that cannot be reached may have theirs.
        let away = |number| Seen { reached: false, ..fresh(number) };
        assert_eq!(decide(&[stopped(1), away(2), lost(3)], true).refusals, []);
    }

    #[test]
    fn an_interrupted_join_goes_on_without_another_member() {
        let mut members = [1, 2, 3].map(member).to_vec();
        let mut added = member(4);
        (added.name, added.client_urls, added.is_learner) = (String::new(), Vec::new(), true);
        members.push(added.clone());
        let nodes = |fourth: Seen| {
            [living(1, &members, &[]), living(2, &members, &[]), living(3, &members, &[]), fourth]
        };
        let decision = decide(&nodes(fresh(4)), true);
        assert_eq!((decision.standings[3], gone(&decision)), (Standing::Joins, vec![]));
        let decision = decide(&nodes(Seen { data: true, ..fresh(4) }), true);
        assert_eq!((decision.standings[3], gone(&decision)), (Standing::Joins, vec![]));
    }

    #[test]
    fn strangers_and_old_data_are_refused() {
        let members = [1, 2, 3].map(member);
        let nodes = [living(1, &members, &[]), living(2, &members, &[])];
        assert_eq!(codes(&decide(&nodes, true)), ["etcd.unknown-member"]);
        let nodes =
            [living(1, &members[..2], &[]), living(2, &members[..2], &[]), Seen { data: true, ..fresh(3) }];
        assert_eq!(codes(&decide(&nodes, true)), ["etcd.stale-data"]);
        let mut nodes = [1, 2].map(|number| living(number, &members[..2], &[]));
        nodes[1].list.as_mut().unwrap().cluster_id = 8;
        assert_eq!(codes(&decide(&nodes, true)), ["etcd.two-clusters"]);
    }
}
