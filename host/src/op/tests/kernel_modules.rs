use crate::op::testing::Machine;
use crate::op::{ChangeAction, Modifiers, Verdict};

use super::KernelModules;

const PATH: &str = "/etc/modules-load.d/ksp-stage.conf";

fn modules(names: &[&str]) -> KernelModules {
    KernelModules { names: names.iter().map(|name| (*name).to_owned()).collect() }
}

/// A kernel with loadable modules: /lib/modules and /sys/module of the test's own.
async fn machine() -> Machine {
    let machine = Machine::new();
    machine.fake("uname", "echo 1.2.3-test");
    machine.fake(
        "modprobe",
        r#"echo "$*" >> /etc/calls; dry=; while :; do case $1 in -n) dry=yes; shift;; -q|--) shift;; *) break;; esac; done
case $1 in there*) [ -n "$dry" ] || mkdir "/sys/module/$(echo "$1" | tr - _)";; stuck) [ -n "$dry" ] || { echo 'modprobe: ERROR: could not insert: Key was rejected' >&2; exit 1; };; *) exit 1;; esac"#,
    );
    let folder = machine.folder().display().to_string();
    machine.shell(&format!("mkdir {folder}/up {folder}/work; mount -t overlay none -o lowerdir=/usr/lib,upperdir={folder}/up,workdir={folder}/work /usr/lib")).await;
    machine.shell("mkdir -p /usr/lib/modules/1.2.3-test; echo kernel/net/built-in_one.ko.xz > /usr/lib/modules/1.2.3-test/modules.builtin").await;
    machine.shell("mount -t tmpfs none /sys/module; mkdir /sys/module/loaded_one").await;
    machine
}

#[tokio::test]
async fn on_a_machine_without_modules_nothing_is_refused() {
    let machine = Machine::new();
    machine.fake("uname", "echo no-such-release");
    let op = modules(&["overlay", "no_such_module"]);
    let (result, lines) = machine.apply_showing(&op, &Modifiers::default()).await;
    result.unwrap();
    assert_eq!(
        lines,
        [
            "kernel module no_such_module cannot be told on this machine without /lib/modules; presumed built in"
        ]
    );
    assert_eq!(machine.probe(&op, &Modifiers::default()).await.unwrap(), Verdict::Satisfied);
    assert!(machine.read(PATH).ends_with("# built in: overlay\n# built in: no_such_module\n"));
    machine.teardown(&op, &Modifiers::default()).await;
    let change = machine.change(&op, &Modifiers::default()).await;
    assert_eq!(change.action, ChangeAction::Create);
    assert_eq!(change.diff[0], " no_such_module (cannot be told on this machine; presumed built in)");
    for name in ["", "-r", "a b", "../x"] {
        assert_eq!(
            machine.apply(&modules(&[name]), &Modifiers::default()).await.unwrap_err().code,
            "ksp::op::module"
        );
    }
}

#[tokio::test]
async fn modules_are_loaded_now_and_at_boot() {
    let machine = machine().await;
    let op = modules(&["loaded-one", "built_in_one", "there-one"]);
    let change = machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(change.diff, ["+there-one", &format!(" {PATH}")]);
    assert!(machine.read(PATH).ends_with("\nloaded-one\nbuilt_in_one\nthere-one\n"));
    assert_eq!(machine.shell("grep -v -e '^-n' /etc/calls").await, "-- there-one\n");
    machine.teardown(&op, &Modifiers::default()).await;
    assert!(!machine.path(PATH).exists());
}

#[tokio::test]
async fn a_module_that_does_not_exist_is_known_before_anything_changes() {
    let machine = machine().await;
    let error = machine.probe(&modules(&["no_such_module"]), &Modifiers::default()).await.unwrap_err();
    assert_eq!(error.message, "kernel module no_such_module does not exist on this kernel");
    let error = machine.apply(&modules(&["stuck"]), &Modifiers::default()).await.unwrap_err();
    assert_eq!(
        error.message,
        "kernel module stuck cannot be loaded: modprobe: ERROR: could not insert: Key was rejected"
    );
    assert!(!machine.path(PATH).exists());
}
