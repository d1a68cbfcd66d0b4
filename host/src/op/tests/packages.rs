use crate::op::testing::Machine;
use crate::op::{Modifiers, Verdict};

use super::Packages;

fn packages(names: &[&str]) -> Packages {
    Packages { names: names.iter().map(|name| (*name).to_owned()).collect() }
}

/// A distribution with apt: /etc/dpkg lists what is installed, /etc/known what apt knows.
fn apt(machine: &Machine) {
    machine.fake("dpkg-query", r#"for name; do :; done; if grep -qx -e "$name" /etc/dpkg; then printf 'installed '; else exit 1; fi"#);
    machine.fake("apt-cache", r#"for name; do :; done; grep -qx -e "$name" /etc/known"#);
    machine.fake("dpkg", r#"grep -vx -e "$3" /etc/dpkg > /etc/dpkg.new; mv /etc/dpkg.new /etc/dpkg"#);
    machine.fake(
        "apt-get",
        r#"case $* in *' update') echo update >> /etc/calls; echo socat >> /etc/known;; *' install '*)
seen=; for word; do if [ "$seen" = yes ]; then echo "$word" >> /etc/dpkg; echo "install $word" >> /etc/calls; fi; [ "$word" != -- ] || seen=yes; done;; esac
[ "$DEBIAN_FRONTEND" = noninteractive ] || echo "asks" >> /etc/calls"#,
    );
    machine.write("/etc/dpkg", "conntrack\n");
    machine.write("/etc/known", "conntrack\nethtool\n");
}

#[tokio::test]
async fn only_what_is_missing_is_installed_and_taken_back() {
    let machine = Machine::new();
    apt(&machine);
    let op = packages(&["conntrack", "ethtool"]);
    assert_eq!(machine.converge(&op, &Modifiers::default()).await.diff, ["+ethtool"]);
    assert_eq!(machine.read("/etc/calls"), "install ethtool\n", "no update when everything is known");
    machine.apply(&op, &Modifiers::default()).await.unwrap();
    machine.teardown(&op, &Modifiers::default()).await;
    assert_eq!(machine.read("/etc/dpkg"), "conntrack\n");
}

#[tokio::test]
async fn lists_are_updated_when_a_package_is_unknown() {
    let machine = Machine::new();
    apt(&machine);
    machine.converge(&packages(&["socat", "ethtool"]), &Modifiers::default()).await;
    assert_eq!(machine.read("/etc/calls"), "update\ninstall socat\ninstall ethtool\n");
}

#[tokio::test]
async fn failures_name_their_cause() {
    let machine = Machine::new();
    apt(&machine);
    let op = packages(&["ethtool"]);
    machine.fake("apt-get", "echo \"E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem.\"; exit 100");
    assert_eq!(
        machine.apply(&op, &Modifiers::default()).await.unwrap_err().code,
        "ksp::op::package-interrupted"
    );
    // The clock jumps past the deadline at the second look.
    machine.fake("date", "n=$(cat /etc/n 2>/dev/null || echo 0); echo $((n + 100)) > /etc/n; echo $n");
    machine.fake("apt-get", "echo 'E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 4711 (unattended-upgr)'; exit 100");
    let error = machine.apply(&op, &Modifiers::default()).await.unwrap_err();
    assert_eq!(error.code, "ksp::op::package-lock");
    assert!(error.tail.join("\n").contains("4711 (unattended-upgr)"), "{error:?}");
    machine.fake("apt-get", "echo 'E: Unable to locate package ethtool'; exit 100");
    let error = machine.apply(&op, &Modifiers::default()).await.unwrap_err();
    assert_eq!(error.tail, ["E: Unable to locate package ethtool"]);
    for name in ["--purge", "a b", "", "$(id)"] {
        assert_eq!(
            machine.apply(&packages(&[name]), &Modifiers::default()).await.unwrap_err().code,
            "ksp::op::package-name"
        );
    }
}

#[tokio::test]
async fn the_red_hat_family_uses_dnf() {
    let machine = Machine::new();
    machine.shell("for f in apt-get dpkg-query; do mount --bind /dev/null /usr/bin/$f; done").await;
    machine.write("/etc/rpms", "conntrack-tools\n");
    let op = packages(&["conntrack-tools", "socat"]);
    assert_eq!(
        machine.probe(&op, &Modifiers::default()).await.unwrap_err().code,
        "ksp::op::no-package-manager"
    );
    machine.fake("rpm", r#"for name; do :; done; case $1 in -q) grep -qx -e "$name" /etc/rpms;; -e) sed -i "/^$name$/d" /etc/rpms;; esac"#);
    machine.fake("dnf", r#"for name; do :; done; echo "$name" >> /etc/rpms"#);
    assert_eq!(machine.converge(&op, &Modifiers::default()).await.diff, ["+socat"]);
    machine.teardown(&op, &Modifiers::default()).await;
    assert_eq!(machine.read("/etc/rpms"), "conntrack-tools\n");
    assert!(matches!(machine.probe(&op, &Modifiers::default()).await.unwrap(), Verdict::Change(_)));
}
