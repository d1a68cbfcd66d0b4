use crate::op::testing::Machine;
use crate::op::{ChangeAction, Modifiers, OpError, Verdict};

use super::{Sysctl, proc_path};

const PATH: &str = "/etc/sysctl.d/90-ksp-stage.conf";

fn sysctl(settings: &[(&str, &str)]) -> Sysctl {
    Sysctl {
        settings: settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
    }
}

#[tokio::test]
async fn settings_are_in_force_and_kept() {
    let machine = Machine::isolated();
    let op = sysctl(&[("net.ipv4.ip_forward", "1"), ("net.ipv4.ip_local_port_range", "20000 60000")]);
    machine.shell("echo 0 > /proc/sys/net/ipv4/ip_forward").await;
    let change = machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(change.action, ChangeAction::Create);
    assert_eq!(change.diff[..2], ["-net.ipv4.ip_forward = 0", "+net.ipv4.ip_forward = 1"]);
    assert!(
        machine.read(PATH).ends_with("net.ipv4.ip_forward = 1\nnet.ipv4.ip_local_port_range = 20000 60000\n")
    );
    assert_eq!(machine.shell("cat /proc/sys/net/ipv4/ip_local_port_range").await, "20000\t60000\n");
    // Somebody changes the value, then the file.
    machine.shell("echo 0 > /proc/sys/net/ipv4/ip_forward").await;
    let change = machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(change.diff, ["-net.ipv4.ip_forward = 0", "+net.ipv4.ip_forward = 1"]);
    machine.shell(&format!("echo '# mine' >> {PATH}")).await;
    let change = machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(change.diff.last().map(String::as_str), Some("-# mine"));
    machine.teardown(&op, &Modifiers::default()).await;
    assert!(!machine.path(PATH).exists());
}

async fn refused(machine: &Machine, settings: &[(&str, &str)]) -> OpError {
    machine.apply(&sysctl(settings), &Modifiers::default()).await.unwrap_err()
}

#[tokio::test]
async fn what_the_kernel_refuses_is_named_and_not_kept() {
    let machine = Machine::isolated();
    let error = refused(&machine, &[("net.ipv4.no_such_thing", "1")]).await;
    assert_eq!(error.code, "ksp::op::sysctl");
    assert!(
        error.message.starts_with("kernel setting net.ipv4.no_such_thing does not exist on this kernel ("),
        "{error}"
    );
    let error = refused(&machine, &[("net.ipv4.ip_forward", "a lot")]).await;
    assert_eq!(error.message, "kernel setting net.ipv4.ip_forward does not take a lot: Invalid argument");
    assert!(!machine.path(PATH).exists());
    for (key, value) in [
        ("net..x", "1"),
        ("../../etc/x", "1"),
        ("a b", "1"),
        ("net.ipv4.ip_forward", "1\n2"),
        ("", "1"),
        ("x", ""),
    ] {
        assert!(
            refused(&machine, &[(key, value)]).await.message.contains("is not a kernel setting"),
            "{key}"
        );
    }
    // Not there yet while planning: a module may bring it.
    let change = machine.change(&sysctl(&[("net.bridge.none-such", "1")]), &Modifiers::default()).await;
    assert_eq!(change.diff[0], "+net.bridge.none-such = 1");
}

#[tokio::test]
async fn a_later_file_that_wins_at_boot_is_mentioned() {
    let machine = Machine::isolated();
    machine.shell("mkdir /etc/sysctl.d").await;
    machine.write("/etc/sysctl.d/10-early.conf", "net.ipv4.ip_forward=0\n");
    machine.write(
        "/etc/sysctl.d/99-late.conf",
        "# net.ipv4.ip_forward=0\nnet.ipv4.ip_forward=0\nnet.core.somaxconn = 7\n",
    );
    let op = sysctl(&[("net.ipv4.ip_forward", "1")]);
    let (result, lines) = machine.apply_showing(&op, &Modifiers::default()).await;
    result.unwrap();
    assert_eq!(
        lines,
        ["warning: /etc/sysctl.d/99-late.conf sets net.ipv4.ip_forward otherwise and wins at the next boot"]
    );
    machine.write("/etc/sysctl.d/99-late.conf", "net.ipv4.ip_forward = 1\n");
    assert!(machine.apply_showing(&op, &Modifiers::default()).await.1.is_empty());
    assert_eq!(machine.probe(&op, &Modifiers::default()).await.unwrap(), Verdict::Satisfied);
}

#[test]
fn keys_are_read_as_sysctl_reads_them() {
    assert_eq!(proc_path("net.ipv4.ip_forward"), "net/ipv4/ip_forward");
    assert_eq!(proc_path("net/ipv4/conf/eth0.1/forwarding"), "net/ipv4/conf/eth0.1/forwarding");
    assert_eq!(proc_path("net.ipv4.conf.eth0/1.forwarding"), "net/ipv4/conf/eth0.1/forwarding");
}
