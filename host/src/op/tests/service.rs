use crate::op::restart::Restart;
use crate::op::testing::Machine;
use crate::op::{ChangeAction, Modifiers, Verdict};

use super::Service;

/// A systemctl that keeps each property of the one unit in a file below /etc/unit.
const SYSTEMCTL: &str = r#"echo "$*" >> /etc/calls
show() { cat "/etc/unit/$1" 2>/dev/null; }
case $1 in
  show)
    case $* in *--value*) show "$3";; *) for p in $(echo "$3" | tr , ' '); do echo "$p=$(show "$p")"; done;; esac;;
  enable) echo enabled > /etc/unit/UnitFileState;;
  disable) echo disabled > /etc/unit/UnitFileState;;
  start|restart)
    if [ -e /etc/unit/broken ]; then echo failed > /etc/unit/ActiveState; echo "Job for x failed" >&2; exit 1; fi
    echo active > /etc/unit/ActiveState; echo loaded > /etc/unit/LoadState;;
  stop) echo inactive > /etc/unit/ActiveState;;
  daemon-reload) echo no > /etc/unit/NeedDaemonReload;;
  status) echo "x.service - Example";;
esac"#;

async fn machine(load: &str, file: &str, active: &str) -> Machine {
    let machine = Machine::new();
    machine.fake("systemctl", SYSTEMCTL);
    machine.fake("journalctl", "echo 'bad config on line 3'");
    machine.shell(&format!("mkdir /etc/unit; cd /etc/unit; echo {load} > LoadState; echo '{file}' > UnitFileState; echo {active} > ActiveState; echo no > NeedDaemonReload; echo simple > Type; : > /etc/calls")).await;
    machine
}

fn service(enabled: bool, running: bool) -> Service {
    Service { unit: "x.service".into(), enabled, running }
}

async fn changes(machine: &Machine) -> String {
    machine.shell("grep -v -e ^show -e ^status -e ^reset-failed /etc/calls || :").await
}

#[tokio::test]
async fn a_unit_is_enabled_and_started() {
    let machine = machine("loaded", "disabled", "inactive").await;
    let change = machine.converge(&service(true, true), &Modifiers::default()).await;
    assert_eq!(
        (change.action, change.diff),
        (
            ChangeAction::Modify,
            vec!["-disabled".into(), "+enabled".into(), "-inactive".into(), "+running".into()]
        )
    );
    assert_eq!(changes(&machine).await, "enable -- x.service\nstart -- x.service\n");
    machine.teardown(&service(true, true), &Modifiers::default()).await;
    assert_eq!(
        machine.read("/etc/unit/UnitFileState") + &machine.read("/etc/unit/ActiveState"),
        "disabled\ninactive\n"
    );
}

#[tokio::test]
async fn what_is_not_asked_for_is_left_alone() {
    let machine = machine("loaded", "disabled", "activating").await;
    machine.converge(&service(true, false), &Modifiers::default()).await;
    assert_eq!(changes(&machine).await, "enable -- x.service\n");
    machine.apply(&service(false, false), &Modifiers::default()).await.unwrap();
    assert_eq!(changes(&machine).await, "enable -- x.service\n");
}

#[tokio::test]
async fn a_unit_that_a_restart_has_started_is_stopped_again() {
    let machine = machine("loaded", "disabled", "inactive").await;
    machine.apply(&Restart { unit: "x.service".into() }, &Modifiers::default()).await.unwrap();
    machine.converge(&service(true, true), &Modifiers::default()).await;
    machine.teardown(&service(true, true), &Modifiers::default()).await;
    assert_eq!(
        machine.read("/etc/unit/UnitFileState") + &machine.read("/etc/unit/ActiveState"),
        "disabled\ninactive\n"
    );
}

#[tokio::test]
async fn states_that_count_as_they_are() {
    for (file, active) in
        [("enabled", "active"), ("static", "active"), ("generated", "reloading"), ("indirect", "active")]
    {
        let machine = machine("loaded", file, active).await;
        assert_eq!(
            machine.probe(&service(true, true), &Modifiers::default()).await.unwrap(),
            Verdict::Satisfied,
            "{file}"
        );
        machine.teardown(&service(true, true), &Modifiers::default()).await;
        assert_eq!(changes(&machine).await, "", "what ksp did not change it does not take back");
    }
    let machine = machine("loaded", "enabled-runtime", "activating").await;
    let change = machine.change(&service(true, true), &Modifiers::default()).await;
    assert_eq!(change.diff, ["-enabled-runtime", "+enabled", "-activating", "+running"]);
    let change = machine.change(&service(true, false), &Modifiers::default()).await;
    assert_eq!(change.diff, ["-enabled-runtime", "+enabled"]);
}

#[tokio::test]
async fn a_changed_unit_file_is_read_again() {
    let machine = machine("loaded", "enabled", "active").await;
    machine.write("/etc/unit/NeedDaemonReload", "yes\n");
    machine.converge(&service(true, true), &Modifiers::default()).await;
    assert_eq!(changes(&machine).await, "daemon-reload\n");
}

#[tokio::test]
async fn a_unit_that_an_earlier_op_brings_is_a_change() {
    let machine = machine("not-found", "", "inactive").await;
    let change = machine.converge(&service(true, true), &Modifiers::default()).await;
    assert_eq!(change.diff, ["-not there", "+enabled", "-inactive", "+running"]);
    machine.teardown(&service(true, true), &Modifiers::default()).await;
    assert_eq!(
        machine.read("/etc/unit/UnitFileState") + &machine.read("/etc/unit/ActiveState"),
        "disabled\ninactive\n"
    );
}

#[tokio::test]
async fn failures_come_with_the_units_last_words() {
    let machine = machine("loaded", "enabled", "inactive").await;
    machine.write("/etc/unit/broken", "");
    let error = machine.apply(&service(true, true), &Modifiers::default()).await.unwrap_err();
    assert_eq!(error.code, "ksp::op::unit-failed");
    assert_eq!(error.tail, ["Job for x failed", "x.service - Example", "bad config on line 3"]);
    let error =
        machine.apply(&Restart { unit: "x.service".into() }, &Modifiers::default()).await.unwrap_err();
    assert!(error.tail.contains(&"bad config on line 3".to_owned()), "{error:?}");
}

#[tokio::test]
async fn a_masked_unit_stays_masked() {
    let machine = machine("masked", "masked", "inactive").await;
    assert_eq!(
        machine.probe(&service(true, true), &Modifiers::default()).await.unwrap_err().code,
        "ksp::op::unit-masked"
    );
    assert_eq!(
        machine.apply(&service(true, true), &Modifiers::default()).await.unwrap_err().code,
        "ksp::op::unit-masked"
    );
    assert_eq!(
        machine.probe(&service(false, false), &Modifiers::default()).await.unwrap(),
        Verdict::Satisfied
    );
    assert_eq!(changes(&machine).await, "");
}

#[tokio::test]
async fn a_restart_reloads_restarts_and_looks_again() {
    let machine = machine("loaded", "enabled", "active").await;
    machine.write("/etc/unit/NeedDaemonReload", "yes\n");
    let op = Restart { unit: "x.service".into() };
    assert_eq!(machine.change(&op, &Modifiers::default()).await.action, ChangeAction::Run);
    machine.apply(&op, &Modifiers::default()).await.unwrap();
    assert_eq!(changes(&machine).await, "daemon-reload\nrestart -- x.service\n");
}

#[tokio::test]
async fn a_unit_that_dies_at_once_is_seen() {
    let machine = machine("loaded", "enabled", "active").await;
    let dying = SYSTEMCTL.replace(
        "show \"$3\";;",
        "show \"$3\"; case $3 in ActiveState) echo failed > /etc/unit/ActiveState;; esac;;",
    );
    machine.fake("systemctl", &dying);
    let error =
        machine.apply(&Restart { unit: "x.service".into() }, &Modifiers::default()).await.unwrap_err();
    assert_eq!(error.code, "ksp::op::unit-failed");
    for unit in ["--help", "a b", "", "a/b", "$(id)"] {
        assert!(machine.apply(&Restart { unit: unit.into() }, &Modifiers::default()).await.is_err());
    }
}
