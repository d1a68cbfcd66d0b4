use super::*;

const WHOLE: Own = Own::Complete { data: true };
const EMPTY: Own = Own::Complete { data: false };
const FRESH: Own = Own::Incomplete { data: false };

fn url(at: u64) -> String {
    format!("https://10.0.0.{at}:2380")
}

fn member(at: u64, alive: bool) -> Heard {
    let member = Member {
        id: 0xf000_0000_0000_0000 + at,
        name: format!("cp{at}"),
        peer_urls: vec![url(at)],
        client_urls: Vec::new(),
        is_learner: false,
    };
    Heard { member, alive }
}

fn place(at: u64, own: Own) -> (String, String, Own) {
    (format!("cp{at}"), url(at), own)
}

fn compared(places: &[(String, String, Own)], members: &[Heard]) -> Changes {
    let places: Vec<Place<'_>> =
        places.iter().map(|(name, peer_url, own)| Place { name, peer_url, own: *own }).collect();
    compare(&places, members)
}

fn departing(changes: &Changes) -> Vec<&str> {
    changes.departures.iter().map(|gone| gone.member.name.as_str()).collect()
}

fn codes(changes: &Changes) -> Vec<&str> {
    changes.refusals.iter().map(|refusal| refusal.0).collect()
}

#[test]
fn a_whole_cluster_changes_nothing() {
    let places = [place(1, WHOLE), place(2, WHOLE), place(3, Own::Unknown)];
    let changes = compared(&places, &[member(1, true), member(2, true), member(3, false)]);
    assert_eq!(changes, Changes::default());
}

/// The first control plane is no exception.
#[test]
fn a_dead_member_that_left_the_manifest_goes_before_its_replacement_comes() {
    let places = [place(4, FRESH), place(2, WHOLE), place(3, WHOLE)];
    let changes = compared(&places, &[member(1, false), member(2, true), member(3, true)]);
    assert_eq!(departing(&changes), ["cp1"]);
    assert!(changes.departures[0].with_node && changes.refusals.is_empty() && changes.refill.is_empty());
}

#[test]
fn a_member_that_answers_is_never_removed_because_it_left_the_manifest() {
    let places = [place(2, WHOLE), place(3, WHOLE)];
    let changes = compared(&places, &[member(1, true), member(2, true), member(3, true)]);
    assert!(changes.departures.is_empty());
    assert_eq!(codes(&changes), ["control-plane.unlisted-member"]);
}

/// T12: the majority is counted after the change too, with those that are down.
#[test]
fn nobody_goes_without_a_majority() {
    let places = [place(4, FRESH), place(2, WHOLE), place(3, Own::Unknown)];
    let changes = compared(&places, &[member(1, false), member(2, true), member(3, false)]);
    assert_eq!(codes(&changes), ["control-plane.quorum"]);
    assert_eq!(changes.refusals[0].1, "1 of 3 etcd members answer, 2 are needed");
    // Emptied, but still running on what it has open: it counts before it goes and not after.
    let places = [place(1, EMPTY), place(2, WHOLE), place(3, Own::Unknown)];
    let changes = compared(&places, &[member(1, true), member(2, true), member(3, false)]);
    assert_eq!(
        changes.refusals[0].1,
        "without cp1 (https://10.0.0.1:2380) 1 of 2 etcd members answer, 2 are needed"
    );
}

/// T1: never started again under its old identity.
#[test]
fn a_member_without_its_data_is_replaced() {
    let places = [place(1, EMPTY), place(2, WHOLE), place(3, WHOLE)];
    let changes = compared(&places, &[member(1, false), member(2, true), member(3, true)]);
    assert_eq!((departing(&changes), changes.refill.clone()), (vec!["cp1"], vec!["cp1".to_owned()]));
    // Removed by an interrupted run: only the new member is missing.
    let changes = compared(&places, &[member(2, true), member(3, true)]);
    assert!(departing(&changes).is_empty());
    assert_eq!(changes.refill, ["cp1"]);
}

#[test]
fn a_machine_that_is_set_up_anew_gets_a_new_member_and_a_join_goes_on() {
    let places = [place(1, FRESH), place(2, WHOLE), place(3, WHOLE)];
    let changes = compared(&places, &[member(1, false), member(2, true), member(3, true)]);
    assert_eq!(departing(&changes), ["cp1"]);
    assert!(!changes.departures[0].with_node);
    // Added, not started: kubeadm goes on with it.
    let mut added = member(1, false);
    added.member = Member { name: String::new(), is_learner: true, ..added.member };
    let changes = compared(&places, &[added, member(2, true), member(3, true)]);
    assert_eq!(changes, Changes::default());
}

#[test]
fn a_learner_that_nobody_promoted_is_promoted() {
    let mut learner = member(3, true);
    learner.member.is_learner = true;
    let changes = compared(
        &[place(1, WHOLE), place(2, WHOLE), place(3, WHOLE)],
        &[member(1, true), member(2, true), learner],
    );
    assert_eq!(changes.promote.len(), 1);
}

/// T6b: `cp1` is not `cp10`.
#[test]
fn addresses_are_compared_whole() {
    let places = [place(10, WHOLE), place(2, WHOLE), place(3, WHOLE)];
    let changes = compared(&places, &[member(1, false), member(10, true), member(2, true), member(3, true)]);
    assert_eq!(departing(&changes), ["cp1"]);
}
