use super::*;

fn at(second: i64, event: Event) -> Stamped {
    let base: Timestamp = "2026-08-21T14:12:00Z".parse().unwrap();
    Stamped { time: base + jiff::SignedDuration::from_secs(second), event }
}

fn lines(verbosity: i8) -> String {
    let mut plain = Plain::new(TimeZone::UTC, verbosity, Palette { enabled: false });
    let (cp2, stage, op) =
        (Some("cp2".to_owned()), "control-plane".to_owned(), "exec:kubeadm init".to_owned());
    let mut out = Vec::new();
    let mut tell = |second, event| out.extend(plain.line(&at(second, event)));
    tell(0, Event::PhaseStarted { phase: "facts".into() });
    tell(2, Event::PhaseFinished { phase: "facts".into(), detail: "6/6 nodes".into(), seconds: 2.1 });
    tell(2, Event::NodeUnreachable { node: "w3".into(), reason: "connection refused\u{1b}[2J".into() });
    tell(
        3,
        Event::RunStarted {
            run: "0821-1412-7f3a".into(),
            cluster: "prod".into(),
            command: "up".into(),
            nodes: 6,
        },
    );
    tell(3, Event::PlanStep { stage: "os-prepare".into(), node: Some("w1".into()), changes: 4 });
    tell(3, Event::PlanStep { stage: stage.clone(), node: cp2.clone(), changes: 1 });
    tell(4, Event::StepStarted { stage: stage.clone(), node: cp2.clone() });
    let summary = "run kubeadm init".to_owned();
    tell(4, Event::OpStarted { stage: stage.clone(), node: cp2.clone(), op: op.clone(), summary });
    // Images pulled ahead on w2; the join waits for cp2, and says nothing of its own.
    let w2 = Some("w2".to_owned());
    let (pull, summary) = ("image:pause".to_owned(), "pull pause".to_owned());
    tell(4, Event::OpStarted { stage: "workers".into(), node: w2.clone(), op: pull.clone(), summary });
    let outcome = Outcome::Changed;
    tell(5, Event::OpFinished { stage: "workers".into(), node: w2, op: pull, outcome, seconds: 1.0 });
    let (w1, outcome) = (Some("w1".to_owned()), Outcome::Changed);
    tell(15, Event::StepFinished { stage: "os-prepare".into(), node: w1, outcome, seconds: 11.8 });
    let (waiting_for, reason) = ("the API server".to_owned(), "503".to_owned());
    tell(15, Event::StepWaiting { stage: stage.clone(), node: cp2.clone(), waiting_for, reason });
    out.extend(plain.heartbeat(at(20, Event::PhaseStarted { phase: String::new() }).time));
    let mut tell = |second, event| out.extend(plain.line(&at(second, event)));
    tell(21, Event::StepLog { stage: stage.clone(), node: cp2.clone(), text: "[init] x\n".into() });
    let outcome = Outcome::Failed;
    tell(22, Event::OpFinished { stage: stage.clone(), node: cp2.clone(), op, outcome, seconds: 18.0 });
    tell(22, Event::StepFinished { stage: stage.clone(), node: cp2, outcome, seconds: 18.0 });
    let outcome = Outcome::NotStarted;
    tell(22, Event::StepFinished { stage, node: Some("cp3".into()), outcome, seconds: 0.0 });
    out.join("\n")
}

#[test]
fn every_change_of_state_is_a_line() {
    insta::assert_snapshot!(lines(0));
}

#[test]
fn verbose_adds_ops_and_output() {
    insta::assert_snapshot!(lines(2));
}
