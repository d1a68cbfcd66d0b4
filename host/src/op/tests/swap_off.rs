use crate::op::testing::Machine;
use crate::op::{ChangeAction, Modifiers, Verdict};

use super::SwapOff;

const FSTAB: &str = "# swap none\nUUID=1 / ext4 defaults 0 1\n\t/swap.img\tnone\tswap\tsw\t0\t0\n/dev/sdb1 /swap ext4 defaults 0 2\nUUID=2 none swap\n#/dev/old none swap sw 0 0\nlast line without newline";

const SYSTEMCTL: &str = r#"for unit; do :; done
case $1 in
  list-units) cat /etc/units;;
  mask) echo "mask $unit" >> /etc/calls; sed -i "s/^$unit loaded/$unit masked/" /etc/units;;
  unmask) echo "unmask $unit" >> /etc/calls; sed -i "s/^$unit masked/$unit loaded/" /etc/units;;
esac"#;

async fn machine() -> Machine {
    let machine = Machine::new();
    machine.fake("systemctl", SYSTEMCTL);
    machine.fake("swapoff", "echo Filename Type Size Used Priority > /etc/swaps");
    machine.write("/etc/units", "dev-zram0.swap loaded active active Compressed Swap on /dev/zram0\ndev-old.swap masked inactive dead x\ngone.swap not-found inactive dead gone.swap\n");
    machine.write("/etc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 2097148 0 100\n");
    machine.write("/etc/fstab", FSTAB);
    machine.shell("mount --bind /etc/swaps /proc/swaps; chmod 640 /etc/fstab").await;
    machine
}

#[tokio::test]
async fn swap_goes_for_good_and_comes_back() {
    let machine = machine().await;
    let change = machine.converge(&SwapOff, &Modifiers::default()).await;
    assert_eq!(change.action, ChangeAction::Remove);
    assert_eq!(
        change.diff,
        [
            "-swap on /dev/zram0 (2047 MiB)",
            "-fstab: \t/swap.img\tnone\tswap\tsw\t0\t0",
            "-fstab: UUID=2 none swap",
            "-unit dev-zram0.swap"
        ]
    );
    let expected =
        FSTAB.replace("\t/swap.img", "#ksp swap-off: \t/swap.img").replace("UUID=2", "#ksp swap-off: UUID=2");
    assert_eq!(machine.read("/etc/fstab"), expected, "byte for byte");
    assert_eq!(machine.shell("stat -c %a /etc/fstab").await, "640\n");
    assert_eq!(machine.read("/etc/calls"), "mask dev-zram0.swap\n");
    machine.teardown(&SwapOff, &Modifiers::default()).await;
    assert_eq!(machine.read("/etc/fstab"), FSTAB);
    assert_eq!(machine.read("/etc/calls"), "mask dev-zram0.swap\nunmask dev-zram0.swap\n");
    assert_eq!(machine.leftovers().await, "");
}

#[tokio::test]
async fn no_swap_is_nothing_to_do() {
    let machine = Machine::new();
    machine.write("/etc/swaps", "Filename Type Size Used Priority\n");
    machine.fake("systemctl", "exit 1");
    machine.shell("mount --bind /etc/swaps /proc/swaps").await;
    assert_eq!(machine.probe(&SwapOff, &Modifiers::default()).await.unwrap(), Verdict::Satisfied);
}

#[tokio::test]
async fn swap_that_stays_is_an_error() {
    let machine = machine().await;
    machine.fake("swapoff", "echo 'swapoff: /dev/zram0: swapoff failed: Cannot allocate memory' >&2; exit 4");
    let error = machine.apply(&SwapOff, &Modifiers::default()).await.unwrap_err();
    assert_eq!(error.tail, ["swapoff: /dev/zram0: swapoff failed: Cannot allocate memory"]);
    machine.fake("swapoff", "exit 0");
    let error = machine.apply(&SwapOff, &Modifiers::default()).await.unwrap_err();
    assert_eq!(error.tail, ["/dev/zram0 is still in use"]);
}
