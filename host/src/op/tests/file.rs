use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use crate::op::testing::Machine;
use crate::op::{ChangeAction, Content, Modifiers, NodeOp as _, Verdict, sh};
use crate::redact::Secret;

use super::File;

fn file(path: &str, content: &str) -> File {
    File { path: path.into(), content: Content::Plain(content.as_bytes().to_vec().into()) }
}

fn mode(machine: &Machine, path: &str) -> u32 {
    std::fs::symlink_metadata(machine.path(path)).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_file_is_created_changed_and_left_alone() {
    let machine = Machine::new();
    let none = Modifiers::default();
    let change = machine.converge(&file("/etc/new/deep/app.conf", "a\nb\n"), &none).await;
    assert_eq!((change.action, change.diff), (ChangeAction::Create, vec!["+a".into(), "+b".into()]));
    assert_eq!(mode(&machine, "/etc/new/deep"), 0o755);
    // They go when the node is reset and they are empty.
    assert_eq!(machine.read(sh::FOLDERS), "/etc/new/deep\n/etc/new\n");
    assert_eq!(mode(&machine, "/etc/new/deep/app.conf"), 0o644);
    let change = machine.converge(&file("/etc/new/deep/app.conf", "a\nc\n"), &none).await;
    assert_eq!(
        (change.action, change.diff),
        (ChangeAction::Modify, vec![" a".into(), "-b".into(), "+c".into()])
    );
    assert_eq!(machine.leftovers().await, "");
}

#[tokio::test]
async fn mode_and_owner_are_part_of_it() {
    let machine = Machine::new();
    let op = file("/etc/app.conf", "a\n");
    machine.write("/etc/app.conf", "a\n");
    machine.shell("chmod 666 /etc/app.conf; chown 1:1 /etc/app.conf").await;
    let change = machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(change.diff, ["-mode 0666", "+mode 0644", "-owner daemon:daemon", "+owner root:root"]);
    let modifiers =
        Modifiers { mode: Some(0o4750), owner: Some(("daemon".into(), "1".into())), ..Default::default() };
    machine.converge(&op, &modifiers).await;
    assert_eq!(machine.shell("stat -c '%a %U:%G' /etc/app.conf").await, "4750 daemon:daemon\n");
    let modifiers =
        Modifiers { owner: Some(("nobody-like-this".into(), "root".into())), ..Default::default() };
    let error = machine.apply(&op, &modifiers).await.unwrap_err();
    assert!(error.tail.join("\n").contains("nobody-like-this"), "{error:?}");
    assert_eq!(machine.leftovers().await, "");
}

#[tokio::test]
async fn hostile_names_and_content_stay_literal() {
    let machine = Machine::new();
    for name in
        ["it's", "$(touch /etc/pwned)", "`touch /etc/pwned`", "-rf", "a b\t* ? ;&|<>\\", "ü…", "\"", "a\\nb"]
    {
        let path = format!("/etc/{}/{name}", name.replace('\t', ""));
        let op = file(&path.replace('\t', ""), "$(touch /etc/pwned)\n'`\\n%s\nEOF\n");
        machine.converge(&op, &Modifiers::default()).await;
        assert_eq!(machine.read(&op.path), "$(touch /etc/pwned)\n'`\\n%s\nEOF\n");
        machine.teardown(&op, &Modifiers::default()).await;
        assert!(!machine.path(&op.path).exists());
    }
    assert!(!machine.path("/etc/pwned").exists());
    for bad in ["/etc/../x", "relative", "/etc/a\nb", "/etc/a\0b"] {
        assert_eq!(
            machine.apply(&file(bad, ""), &Modifiers::default()).await.unwrap_err().code,
            "ksp::op::path"
        );
    }
}

#[tokio::test]
async fn a_link_is_replaced_not_followed() {
    let machine = Machine::new();
    machine.write("/etc/other", "other\n");
    machine
        .shell("mkdir /etc/dir; ln -s other /etc/to-file; ln -s dir /etc/to-dir; ln -s nowhere /etc/dangling")
        .await;
    for path in ["/etc/to-file", "/etc/to-dir", "/etc/dangling"] {
        let change = machine.converge(&file(path, "mine\n"), &Modifiers::default()).await;
        assert!(change.diff[0].starts_with("-symbolic link to "), "{change:?}");
        assert!(!machine.path(path).is_symlink());
    }
    assert_eq!(machine.read("/etc/other"), "other\n");
    assert_eq!(machine.shell("ls -A /etc/dir").await, "");
}

#[tokio::test]
async fn a_link_planted_by_somebody_else_is_refused() {
    let machine = Machine::new();
    machine.shell("mkdir /etc/theirs /etc/mine; chown 1 /etc/theirs; ln -s ../mine /etc/theirs/sub").await;
    let error = machine.apply(&file("/etc/theirs/sub/x", "x"), &Modifiers::default()).await.unwrap_err();
    assert_eq!(error.code, "ksp::op::in-the-way");
    assert!(
        error.message.contains("/etc/theirs/sub is a symbolic link below a directory of user 1"),
        "{error}"
    );
    assert_eq!(machine.shell("ls -A /etc/mine").await, "");
    // Root's own links are an administrator's layout.
    machine.shell("ln -s mine /etc/ours").await;
    machine.converge(&file("/etc/ours/x", "x"), &Modifiers::default()).await;
}

#[tokio::test]
async fn a_planted_temporary_file_is_not_written_through() {
    let machine = Machine::new();
    let op = file("/etc/dir/x", "mine\n");
    let temp = super::sh::temporary(machine.at(&Modifiers::default()), "file", "/etc/dir/x");
    machine.write("/etc/victim", "old\n");
    machine.shell(&format!("mkdir /etc/dir; ln -s /etc/victim '{temp}'")).await;
    machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(machine.read("/etc/victim"), "old\n");
}

#[tokio::test]
async fn a_directory_in_the_way_is_an_error() {
    let machine = Machine::new();
    machine.shell("mkdir /etc/dir").await;
    assert_eq!(
        machine.probe(&file("/etc/dir", "x"), &Modifiers::default()).await.unwrap_err().code,
        "ksp::op::in-the-way"
    );
    assert_eq!(
        machine.apply(&file("/etc/dir", "x"), &Modifiers::default()).await.unwrap_err().code,
        "ksp::op::in-the-way"
    );
    machine.shell("touch /etc/not-a-dir").await;
    assert!(machine.apply(&file("/etc/not-a-dir/x", "x"), &Modifiers::default()).await.is_err());
}

#[tokio::test]
async fn secrets_are_never_sent_back_or_shown() {
    let machine = Machine::new();
    let op = File { path: "/etc/key".into(), content: Content::Secret(Secret::new("new-secret\n")) };
    assert_eq!(machine.converge(&op, &Modifiers::default()).await.diff, ["+(sensitive)"]);
    assert_eq!(mode(&machine, "/etc/key"), 0o600);
    machine.write("/etc/key", "old-secret\n");
    let answer = machine.shell(&op.probe(machine.at(&Modifiers::default()))).await;
    assert_eq!(answer.lines().count(), 2, "{answer}");
    let change = machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(change.diff, ["-(sensitive)", "+(sensitive)", "-mode 0644", "+mode 0600"]);
    assert!(!format!("{op:?}").contains("new-secret"));
}

#[tokio::test]
async fn what_only_root_can_read_is_not_sent_back() {
    let machine = Machine::new();
    machine.write("/etc/private", "password=hunter22\n");
    machine.shell("chmod 640 /etc/private").await;
    let change = machine.change(&file("/etc/private", "new\n"), &Modifiers::default()).await;
    assert!(change.diff[0].starts_with("-(18 bytes, sha256:"), "{change:?}");
    assert!(!format!("{change:?}").contains("hunter22"));
}

#[tokio::test]
async fn binary_and_large_files_travel_whole() {
    let machine = Machine::new();
    let bytes: Vec<u8> = (0..700_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let op = File { path: "/etc/blob".into(), content: Content::Plain(bytes.clone().into()) };
    let change = machine.converge(&op, &Modifiers::default()).await;
    assert!(change.diff[0].starts_with("+(700000 bytes, sha256:"), "{change:?}");
    assert_eq!(std::fs::read(machine.path("/etc/blob")).unwrap(), bytes);
    let change = machine.change(&file("/etc/blob", "text now\n"), &Modifiers::default()).await;
    assert_eq!(change.diff.len(), 2);
}

#[tokio::test]
async fn a_full_disk_leaves_the_old_file() {
    let machine = Machine::new();
    machine.shell("mkdir /etc/small; mount -t tmpfs -o size=64k,nr_inodes=5 none /etc/small").await;
    machine.write("/etc/small/app.conf", "old\n");
    let big = "x".repeat(100_000);
    let error = machine.apply(&file("/etc/small/app.conf", &big), &Modifiers::default()).await.unwrap_err();
    assert_eq!((error.code, error.retryable), ("ksp::op::disk-full", false));
    assert!(error.tail.join("\n").contains("/etc/small"), "df names the disk: {error:?}");
    assert_eq!(machine.read("/etc/small/app.conf"), "old\n");
    assert_eq!(machine.shell("ls -A /etc/small").await, "app.conf\n");
    // No more inodes is a full disk too.
    machine.shell("touch /etc/small/1 /etc/small/2 /etc/small/3").await;
    let error =
        machine.apply(&file("/etc/small/app.conf", "new\n"), &Modifiers::default()).await.unwrap_err();
    assert_eq!(error.code, "ksp::op::disk-full");
    assert_eq!(machine.read("/etc/small/app.conf"), "old\n");
    let error =
        machine.apply(&file("/etc/small/new/dir/x", "new\n"), &Modifiers::default()).await.unwrap_err();
    assert_eq!(error.code, "ksp::op::disk-full");
    machine.shell("mount -o remount,ro /etc/small").await;
    let error =
        machine.apply(&file("/etc/small/app.conf", "new\n"), &Modifiers::default()).await.unwrap_err();
    assert_eq!((error.code, error.retryable), ("ksp::op::read-only", false));
}

#[tokio::test]
async fn killed_before_the_rename_the_old_file_stays_and_the_next_attempt_cleans_up() {
    let machine = Machine::new();
    let op = file("/etc/app.conf", "new\n");
    machine.write("/etc/app.conf", "old\n");
    machine.fake("mv", "kill -9 0");
    assert!(machine.apply(&op, &Modifiers::default()).await.is_err());
    assert_eq!(machine.read("/etc/app.conf"), "old\n");
    let temp = machine.leftovers().await;
    assert!(temp.starts_with("/etc/.app.conf.ksp-tmp."), "hidden from watchers of the folder: {temp}");
    std::fs::remove_file(machine.folder().join("bin/mv")).unwrap();
    machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(machine.leftovers().await, "");
}

#[tokio::test]
async fn damage_on_the_way_is_noticed() {
    let machine = Machine::new();
    machine.fake("cat", "head -c 3");
    let error = machine.apply(&file("/etc/app.conf", "content\n"), &Modifiers::default()).await.unwrap_err();
    assert_eq!((error.code, error.retryable), ("ksp::op::damaged", true));
    assert!(!machine.path("/etc/app.conf").exists());
    assert_eq!(machine.leftovers().await, "");
}

#[tokio::test]
async fn every_truncation_is_mended() {
    let machine = Machine::new();
    let content = "[section]\nkey = \"value\"\n";
    let op = file("/etc/app.conf", content);
    for length in 0..content.len() {
        machine.write("/etc/app.conf", &content[..length]);
        machine.converge(&op, &Modifiers::default()).await;
    }
}

#[tokio::test]
async fn an_unchanged_file_is_not_touched() {
    let machine = Machine::new();
    let op = file("/etc/app.conf", "a\n");
    machine.converge(&op, &Modifiers::default()).await;
    let before = std::fs::metadata(machine.path("/etc/app.conf")).unwrap();
    assert_eq!(machine.probe(&op, &Modifiers::default()).await.unwrap(), Verdict::Satisfied);
    let after = std::fs::metadata(machine.path("/etc/app.conf")).unwrap();
    assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
    assert_eq!(op.ledger(machine.at(&Modifiers::default()))[0].digest.as_deref().unwrap().len(), 71);
}
