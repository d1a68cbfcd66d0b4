use super::*;

fn at(second: i64, event: Event) -> Stamped {
    let base: Timestamp = "2026-08-21T14:12:00Z".parse().unwrap();
    Stamped { time: base + jiff::SignedDuration::from_secs(second), event }
}

fn journal() -> Vec<Stamped> {
    let node = |name: &str| Some(name.to_owned());
    let started = |second, stage: &str, name: Option<String>| {
        at(second, Event::StepStarted { stage: stage.into(), node: name })
    };
    let finished = |second, stage: &str, node: Option<String>, outcome, seconds| {
        at(second, Event::StepFinished { stage: stage.into(), node, outcome, seconds })
    };
    let op = "file:/etc/x".to_owned();
    vec![
        at(
            0,
            Event::RunStarted {
                run: "0821-1412-7f3a".into(),
                cluster: "prod".into(),
                command: "up".into(),
                nodes: 2,
            },
        ),
        started(1, "os-prepare", node("cp1")),
        at(
            1,
            Event::OpStarted {
                stage: "os-prepare".into(),
                node: node("cp1"),
                op: op.clone(),
                summary: "write /etc/x".into(),
            },
        ),
        at(
            2,
            Event::StepLog { stage: "os-prepare".into(), node: node("cp1"), text: "out\u{1b}[2Jput".into() },
        ),
        at(
            9,
            Event::OpFinished {
                stage: "os-prepare".into(),
                node: node("cp1"),
                op,
                outcome: Outcome::Changed,
                seconds: 8.0,
            },
        ),
        finished(9, "os-prepare", node("cp1"), Outcome::Changed, 8.0),
        started(9, "etcd", node("cp1")),
        started(10, "network", None),
        finished(21, "etcd", node("cp1"), Outcome::Failed, 12.0),
        at(41, Event::StepLog { stage: "network".into(), node: None, text: "last".into() }),
    ]
}

const PLAIN: Palette = Palette { enabled: false };

#[test]
fn a_run_reads_from_top_to_bottom() {
    insta::assert_snapshot!(lines(&journal(), &TimeZone::UTC, PLAIN));
}

#[test]
fn timings_are_bars() {
    insta::assert_snapshot!(timings(&journal(), 80, Symbols::UNICODE, PLAIN));
}

#[test]
fn the_list_says_how_runs_ended() {
    let run = |id: &str, exit_code, failed| Summary {
        run: id.into(),
        cluster: "prod".into(),
        command: "up".into(),
        started: Some("2026-08-21T14:12:00Z".parse().unwrap()),
        exit_code,
        seconds: exit_code.map(|_| 188.0),
        changed: exit_code.map(|_| 24),
        failed,
    };
    let runs = [
        run("0821-1412-7f3a", Some(1), Some(2)),
        run("0821-1300-11c2", Some(0), Some(0)),
        run("0821-1200-aaaa", Some(130), Some(0)),
        run("0821-1100-bbbb", None, None),
    ];
    insta::assert_snapshot!(list(&runs, &TimeZone::UTC, PLAIN));
}
