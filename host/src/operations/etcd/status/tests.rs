use super::*;
use crate::operations::etcd::layout::testing;
use crate::operations::etcd::members::Header;

const IDS: [u64; 3] = [0x11, 0x22, 0x33];

/// A node whose member works, in a cluster of three that `cp1` leads.
pub(crate) fn working(number: usize) -> Seen {
    let list = (0..3).map(|at| Listed { id: IDS[at], name: format!("cp{}", at + 1), learner: false });
    let node = format!("cp{}", number + 1);
    Seen {
        status: Some(Ok(Status {
            header: Header { cluster_id: 0xc1, member_id: IDS[number], revision: 800 },
            version: "3.6.8".into(),
            db_size: 5 << 20,
            db_size_in_use: 3 << 20,
            leader: IDS[0],
            raft_index: 900,
            raft_term: 3,
            ..Status::default()
        })),
        member: true,
        list: list.collect(),
        has_data: true,
        fsync_p99_ms: Some([1.0, 8.0, 128.0][number]),
        certificates: vec![Certificate {
            node: node.clone(),
            path: "/p/etcd/server.crt".into(),
            days_left: 364,
        }],
        node,
        ..Seen::default()
    }
}

fn status(seen: &mut Seen) -> &mut Status {
    seen.status.as_mut().unwrap().as_mut().unwrap()
}

/// A node whose member does not answer.
pub(crate) fn silent(number: usize, has_data: bool) -> Seen {
    Seen {
        status: Some(Err("the member does not answer".into())),
        list: Vec::new(),
        has_data,
        ..working(number)
    }
}

pub(crate) fn report(seen: &[Seen]) -> Report {
    compose("prod", &testing(), seen)
}

#[test]
fn a_full_disk_is_named_whether_the_member_answers_or_not() {
    let roomy = Seen { free: Some(DISK_LOW), ..working(0) };
    let full = |seen| Seen { free: Some(3 << 20), ..seen };
    let report = report(&[roomy, full(working(1)), full(silent(2, true))]);
    assert!(!report.healthy && report.members[0].reasons.is_empty());
    for member in &report.members[1..] {
        assert!(member.reasons.iter().any(|why| why.contains("3.0 MiB are free")), "{:?}", member.reasons);
    }
}

#[test]
fn three_of_three_may_lose_one() {
    let report = report(&[working(0), working(1), working(2)]);
    assert!(report.healthy, "{report:?}");
    assert_eq!(report.quorum, Quorum { voting: 3, answering: 3, needed: 2, may_fail: Some(1) });
    assert_eq!(report.leader.as_deref(), Some("cp1"));
    assert_eq!(report.members[1].id.as_deref(), Some("22"));
}

/// T6c: by ids and by each member's own answer, never by lines that look well.
#[test]
fn ids_decide_and_not_places() {
    // cp1 and cp2 swapped their data: whoever answers is known by its id, and its voice counts once.
    let mut first = working(0);
    status(&mut first).header.member_id = IDS[1];
    let report = report(&[first, working(2)]);
    assert_eq!(report.members[0].id.as_deref(), Some("22"));
    assert_eq!(report.quorum.answering, 2);
}

#[test]
fn a_member_without_its_data_is_named_and_counted_as_down() {
    let report = report(&[working(0), working(1), silent(2, false)]);
    assert!(!report.healthy);
    assert_eq!(report.quorum, Quorum { voting: 3, answering: 2, needed: 2, may_fail: Some(0) });
    let third = &report.members[2];
    assert_eq!((third.state, third.id.as_deref()), (State::NotAnswering, Some("33")));
    assert!(third.reasons[1].contains("data is gone"));
}

#[test]
fn a_lost_quorum_is_said_with_its_arithmetic() {
    let mut alone = working(0);
    status(&mut alone).leader = 0;
    let report = report(&[alone, silent(1, false), silent(2, true)]);
    assert_eq!(report.quorum.may_fail, None);
    assert_eq!(report.problems, ["no quorum: 0 of 3 voting members work, 2 are needed"]);
    assert_eq!(report.members[0].state, State::NoLeader);
}

#[test]
fn two_clusters_are_never_healthy() {
    let mut other = working(2);
    let it = status(&mut other);
    (it.header.cluster_id, it.leader, it.raft_term) = (0xc2, IDS[2], 1);
    other.list = vec![Listed { id: IDS[2], name: "cp3".into(), learner: false }];
    let report = report(&[working(0), working(1), other]);
    assert!(!report.healthy);
    assert_eq!(report.problems[0], "members belong to different clusters: c1 (cp1, cp2); c2 (cp3)");
    assert!(report.problems[1].contains("do not agree on the leader"));
}

#[test]
fn learners_strangers_alarms_and_expired_certificates_are_not_healthy() {
    let mut learner = working(2);
    status(&mut learner).is_learner = true;
    assert!(!report(&[working(0), working(1), learner]).healthy);

    let mut alarmed = working(1);
    status(&mut alarmed).errors = vec!["memberID:34 alarm:NOSPACE ".into()];
    let with_alarm = report(&[working(0), alarmed, working(2)]);
    assert!(!with_alarm.healthy);
    assert_eq!(with_alarm.members[1].reasons, ["memberID:34 alarm:NOSPACE"]);

    let mut knows_more = working(0);
    knows_more.list.push(Listed { id: 0x44, name: "cp9".into(), learner: false });
    status(&mut knows_more).raft_index = 901;
    let with_stranger = report(&[knows_more, working(1), working(2)]);
    assert!(!with_stranger.healthy);
    assert_eq!((with_stranger.members[3].state, with_stranger.quorum.voting), (State::Unknown, 4));

    let mut old = working(0);
    old.certificates[0].days_left = -1;
    assert!(!report(&[old, working(1), working(2)]).healthy);
}

#[test]
fn a_failed_backup_counts_only_when_it_is_the_newest() {
    let note = |time: &str, result: &str| {
        Some(LastBackup {
            time: time.parse().unwrap(),
            result: result.into(),
            node: String::new(),
            revision: 1,
            size: 1,
            hash: 1,
            error: String::new(),
        })
    };
    let (mut first, mut second) = (working(0), working(1));
    first.backup = note("2026-11-23T20:00:00Z", "failed");
    second.backup = note("2026-11-23T21:00:00Z", "done");
    assert!(report(&[first.clone(), second.clone(), working(2)]).failed_backup.is_none());
    first.backup = note("2026-11-23T22:00:00Z", "failed");
    let report = report(&[first, second, working(2)]);
    assert!(report.failed_backup.is_some() && report.last_backup.is_some());
}
