use super::*;

const WHOLE: Own = Own::Complete { data: true };
const EMPTY: Own = Own::Complete { data: false };
const FRESH: Own = Own::Incomplete { data: false };

fn member(at: u64, alive: bool) -> Member {
    Member {
        id: 0xf000_0000_0000_0000 + at,
        name: format!("cp{at}"),
        address: format!("10.0.0.{at}"),
        learner: false,
        alive,
    }
}

fn place(at: u64, own: Own) -> (String, String, Own) {
    (format!("cp{at}"), format!("10.0.0.{at}"), own)
}

fn compared(places: &[(String, String, Own)], members: &[Member]) -> Changes {
    let places: Vec<Place<'_>> =
        places.iter().map(|(name, address, own)| Place { name, address, own: *own }).collect();
    compare(&places, members)
}

fn departing(changes: &Changes) -> Vec<&str> {
    changes.departures.iter().map(|gone| gone.member.called()).collect()
}

fn codes(changes: &Changes) -> Vec<&str> {
    changes.refusals.iter().map(|refusal| refusal.0).collect()
}

#[test]
fn the_answers_of_etcdctl_are_read() {
    let list = r#"{"header":{"cluster_id":1},"members":[
        {"ID":17296283186482114561,"name":"cp1","peerURLs":["https://10.0.0.1:2380"],"clientURLs":["https://10.0.0.1:2379"]},
        {"ID":2,"name":"","peerURLs":["https://[fd00::2]:2380"],"isLearner":true}]}"#;
    let health = r#"[{"endpoint":"https://10.0.0.1:2379","health":true,"took":"5ms"}]"#;
    let members = Member::parse(list, health).unwrap();
    assert_eq!((members[0].hex().as_str(), members[0].alive), ("f008bdeb20d3f001", true));
    assert_eq!((members[1].address.as_str(), members[1].learner, members[1].alive), ("fd00::2", true, false));
    assert_eq!(members[1].called(), "fd00::2");
    assert!(Member::parse("", health).is_none());
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
    assert_eq!(changes.refusals[0].1, "without cp1 1 of 2 etcd members answer, 2 are needed");
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
    let added = Member { name: String::new(), learner: true, ..member(1, false) };
    let changes = compared(&places, &[added, member(2, true), member(3, true)]);
    assert_eq!(changes, Changes::default());
}

#[test]
fn a_learner_that_nobody_promoted_is_promoted() {
    let learner = Member { learner: true, ..member(3, true) };
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
