use std::time::Duration;

use crate::op::testing::Machine;
use crate::op::{Modifiers, NodeOp as _, Verdict};
use crate::redact::Secret;
use crate::transport::Stdin;

use super::Exec;

fn exec(argv: &[&str]) -> Exec {
    Exec { argv: argv.iter().map(|word| (*word).to_owned()).collect() }
}

#[tokio::test]
async fn arguments_arrive_literally() {
    let machine = Machine::new();
    let argv = [
        "sh",
        "-c",
        "printf '%s\\n' \"$@\" > /etc/args",
        "x",
        "it's",
        "$(id)",
        "a b",
        "",
        "*",
        "-n",
        "two\nlines",
        "ü",
    ];
    machine.apply(&exec(&argv), &Modifiers::default()).await.unwrap();
    assert_eq!(machine.read("/etc/args"), "it's\n$(id)\na b\n\n*\n-n\ntwo\nlines\nü\n");
    assert_eq!(
        machine.apply(&exec(&["a\0b"]), &Modifiers::default()).await.unwrap_err().code,
        "ksp::op::argv"
    );
    assert_eq!(machine.apply(&exec(&[]), &Modifiers::default()).await.unwrap_err().code, "ksp::op::argv");
}

#[tokio::test]
async fn without_a_guard_it_is_always_due() {
    let machine = Machine::new();
    let op = exec(&["true"]);
    assert_eq!(op.probe(machine.at(&Modifiers::default())), "");
    assert!(matches!(machine.probe(&op, &Modifiers::default()).await.unwrap(), Verdict::Change(_)));
}

#[tokio::test]
async fn guards_are_asked_in_the_probe_and_again_before_it_runs() {
    let machine = Machine::new();
    let op = exec(&["sh", "-c", "echo ran >> /etc/ran; touch \"/etc/it's done\""]);
    for modifiers in [
        Modifiers { creates: Some("/etc/it's done".into()), ..Default::default() },
        Modifiers {
            unless: Some(vec!["test".into(), "-e".into(), "/etc/it's done".into()]),
            ..Default::default()
        },
        Modifiers {
            creates: Some("/etc/it's done".into()),
            unless: Some(vec!["no-such-command".into()]),
            ..Default::default()
        },
    ] {
        machine.converge(&op, &modifiers).await;
        machine.apply(&op, &modifiers).await.unwrap();
        assert_eq!(machine.read("/etc/ran"), "ran\n");
        machine.shell("rm -f /etc/ran \"/etc/it's done\"").await;
    }
}

#[tokio::test]
async fn environment_and_input_reach_the_command() {
    let machine = Machine::new();
    let secret = Stdin::Secret(Secret::new("s3cret'\n$x"));
    for timeout in [None, Some(Duration::from_secs(90))] {
        let modifiers = Modifiers {
            env: vec![("A".into(), "it's $HOME".into())],
            stdin: Some(secret.clone()),
            timeout,
            ..Default::default()
        };
        let op = exec(&["sh", "-c", "printf '%s|' \"$A\" > /etc/out; cat >> /etc/out"]);
        machine.apply(&op, &modifiers).await.unwrap();
        assert_eq!(machine.read("/etc/out"), "it's $HOME|s3cret'\n$x");
        assert!(!format!("{modifiers:?}").contains("s3cret"));
    }
    let bad = Modifiers { env: vec![("A B".into(), "x".into())], ..Default::default() };
    assert_eq!(machine.apply(&exec(&["true"]), &bad).await.unwrap_err().code, "ksp::op::env");
}

#[tokio::test]
async fn a_guard_does_not_eat_the_input() {
    let machine = Machine::new();
    let modifiers = Modifiers {
        unless: Some(vec!["sh".into(), "-c".into(), "cat; false".into()]),
        stdin: Some(Stdin::Plain("all of it".into())),
        ..Default::default()
    };
    machine.apply(&exec(&["sh", "-c", "cat > /etc/out"]), &modifiers).await.unwrap();
    assert_eq!(machine.read("/etc/out"), "all of it");
}

#[tokio::test]
async fn failures_say_what_was_run_and_what_it_said() {
    let machine = Machine::new();
    let error = machine
        .apply(&exec(&["sh", "-c", "echo oh no >&2; exit 7"]), &Modifiers::default())
        .await
        .unwrap_err();
    assert_eq!(error.message, "sh failed (exit status 7)");
    assert_eq!(error.tail, ["oh no"]);
    assert_eq!(error.command.as_deref(), Some("sh -c 'echo oh no >&2; exit 7'"));
    let error = machine.apply(&exec(&["no-such-command"]), &Modifiers::default()).await.unwrap_err();
    assert_eq!(error.code, "ksp::op::no-command");
}

#[tokio::test]
async fn a_lost_lease_stops_everything() {
    let mut machine = Machine::new();
    machine.prelude = "echo run 7 holds it >&2; exit 97".into();
    for timeout in [None, Some(Duration::from_secs(90))] {
        let modifiers = Modifiers { timeout, ..Default::default() };
        let error = machine.apply(&exec(&["touch", "/etc/ran"]), &modifiers).await.unwrap_err();
        assert_eq!(error.code, "ksp::lease::lost");
    }
    assert!(!machine.path("/etc/ran").exists());
}
