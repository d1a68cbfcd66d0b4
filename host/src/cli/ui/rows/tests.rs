use super::*;
use crate::event::{Event, Stamped};

fn at(second: i64, event: Event) -> Stamped {
    let base: Timestamp = "2026-08-21T14:12:00Z".parse().unwrap();
    Stamped { time: base + jiff::SignedDuration::from_secs(second), event }
}

fn now(second: i64) -> Timestamp {
    at(second, Event::PhaseStarted { phase: String::new() }).time
}

fn node(name: &str) -> Option<String> {
    Some(name.to_owned())
}

/// A run of six nodes in the middle of its third stage.
pub(crate) fn board() -> Board {
    let mut board = Board::default();
    let mut tell = |second, event| board.apply(&at(second, event));
    tell(0, Event::RunStarted { run: "r".into(), cluster: "prod".into(), command: "up".into(), nodes: 6 });
    let nodes = ["cp1", "cp2", "cp3", "w1", "w2", "w3"];
    for stage in ["os-prepare", "containerd", "kube-binaries", "etcd", "control-plane", "workers"] {
        for name in nodes {
            tell(0, Event::PlanStep { stage: stage.into(), node: node(name), changes: 3 });
        }
    }
    tell(0, Event::PlanStep { stage: "network".into(), node: None, changes: 1 });
    for (stage, second) in [("os-prepare", 1), ("containerd", 13), ("kube-binaries", 52)] {
        for name in nodes {
            tell(second, Event::StepStarted { stage: stage.into(), node: node(name) });
            if stage != "kube-binaries" || name == "cp1" {
                let outcome = Outcome::Changed;
                tell(
                    second + 11,
                    Event::StepFinished { stage: stage.into(), node: node(name), outcome, seconds: 11.0 },
                );
            }
        }
    }
    let (stage, summary) = ("kube-binaries".to_owned(), "install kubelet\u{1b}[31m 1.36.3".to_owned());
    tell(
        60,
        Event::OpStarted {
            stage: stage.clone(),
            node: node("w3"),
            op: "install:/usr/bin/kubelet".into(),
            summary,
        },
    );
    let (done, total, unit) = (41 << 20, 76_126_617, "bytes".to_owned());
    tell(61, Event::StepProgress { stage: stage.clone(), node: node("w3"), done, total, unit });
    tell(62, Event::StepLog { stage, node: node("w3"), text: "sha256 ok\u{1b}]0;x\u{7} kubeadm".into() });
    board
}

fn frame(height: usize) -> Frame {
    Frame { width: 100, height, palette: Palette { enabled: false }, symbols: Symbols::UNICODE }
}

const FOOTER: &str = "Ctrl-C: finish running steps, then stop";

#[test]
fn a_run_is_a_row_a_stage() {
    insta::assert_snapshot!(rows(&board(), now(102), &frame(40), FOOTER).join("\n"));
}

#[test]
fn a_small_terminal_drops_what_is_done_first() {
    insta::assert_snapshot!(rows(&board(), now(102), &frame(7), FOOTER).join("\n"));
}

#[test]
fn rows_fit_at_every_size() {
    for height in 5..45 {
        for width in [20, 40, 100] {
            let drawn = rows(&board(), now(102), &Frame { width, ..frame(height) }, FOOTER);
            assert!(drawn.len() < height, "{} rows on {height} lines", drawn.len());
            assert!(drawn.iter().any(|row| row.contains("kube")), "the running stage is missing at {height}");
        }
    }
}

#[test]
fn a_failed_stage_names_its_nodes() {
    let mut board = board();
    let (stage, outcome) = ("kube-binaries".to_owned(), Outcome::Failed);
    board.apply(&at(70, Event::StepFinished { stage, node: node("cp2"), outcome, seconds: 18.0 }));
    let drawn = rows(&board, now(102), &frame(40), FOOTER);
    assert!(
        drawn.iter().any(|row| row.contains("✗ kube-binaries") && row.contains("cp2 failed")),
        "{drawn:#?}"
    );
}

#[test]
fn phases_are_shown_until_the_run_begins() {
    let mut board = Board::default();
    board.apply(&at(0, Event::PhaseStarted { phase: "facts".into() }));
    assert_eq!(rows(&board, now(2), &frame(40), FOOTER), ["[+] facts 2.0s"]);
    board.apply(&at(2, Event::PhaseFinished { phase: "facts".into(), detail: String::new(), seconds: 2.0 }));
    assert!(rows(&board, now(2), &frame(40), FOOTER).is_empty());
}
