use std::path::PathBuf;

use crate::op::testing::{Machine, Server, release};
use crate::op::{ChangeAction, Modifiers, NodeOp as _, OpError};
use crate::plugin::capability::Need;

use super::Unpack;

/// Makes an archive on the workstation by shell text that runs in a folder of its own and ends with a call of tar.
fn archive(make: &str) -> Vec<u8> {
    let folder = tempfile::TempDir::new().unwrap();
    let path: PathBuf = folder.path().join("a.tar");
    let work = folder.path().join("work");
    std::fs::create_dir(&work).unwrap();
    let output = std::process::Command::new("sh")
        .args(["-ec", make, "sh"])
        .arg(&path)
        .current_dir(&work)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let gzip = std::process::Command::new("gzip").arg("-c").arg(path).output().unwrap();
    assert!(gzip.status.success(), "{gzip:?}");
    gzip.stdout
}

/// tool-1.0/{bin/tool, bin/link -> tool, lib/up -> ../bin/tool, it's a file, empty/}
fn ordinary() -> Vec<u8> {
    archive(
        "mkdir -p tool-1.0/bin tool-1.0/lib tool-1.0/empty; cd tool-1.0; echo tool > bin/tool; chmod 755 bin/tool; ln -s tool bin/link; \
         ln -s ../bin/tool lib/up; echo data > \"it's a file\"; cd ..; tar -cf \"$1\" --owner 1000 tool-1.0",
    )
}

fn unpack(server: &Server, bytes: &[u8], strip: u32, only: &[&str]) -> Unpack {
    let only = only.iter().map(|name| (*name).to_owned()).collect();
    Unpack { dest: "/etc/the dest".into(), release: release(&server.url("/a.tar.gz"), bytes), strip, only }
}

async fn tree(machine: &Machine) -> String {
    machine.shell("cd '/etc/the dest' && find . ! -type d -printf '%P %M %U %l\\n' | sort").await
}

#[tokio::test]
async fn members_are_put_in_place_and_taken_back() {
    let bytes = ordinary();
    let (machine, server) = (Machine::new(), Server::new(&bytes));
    machine.shell("mkdir -p '/etc/the dest/bin'; echo mine > '/etc/the dest/bin/mine'").await;
    let op = unpack(&server, &bytes, 1, &[]);
    let change = machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(change.action, ChangeAction::Create);
    insta::assert_snapshot!(tree(&machine).await, @r"
    bin/link lrwxrwxrwx 0 tool
    bin/mine -rw-r--r-- 0 
    bin/tool -rwxr-xr-x 0 
    it's a file -rw-r--r-- 0 
    lib/up lrwxrwxrwx 0 ../bin/tool
    ");
    assert!(machine.path("/etc/the dest/empty").is_dir());
    assert_eq!(machine.leftovers().await, "");
    machine.teardown(&op, &Modifiers::default()).await;
    assert_eq!(tree(&machine).await, "bin/mine -rw-r--r-- 0 \n");
    assert!(!machine.path("/etc/the dest/lib").exists());
    assert_eq!(machine.shell("find /var/lib -type f ! -name folders").await, "");
}

#[tokio::test]
async fn only_some_members_by_either_name() {
    let bytes = ordinary();
    let (machine, server) = (Machine::new(), Server::new(&bytes));
    for only in [&["tool-1.0/bin/tool", "it's a file"][..], &["bin/tool", "tool-1.0/it's a file"]] {
        let op = unpack(&server, &bytes, 1, only);
        machine.apply(&op, &Modifiers::default()).await.unwrap();
        assert_eq!(tree(&machine).await, "bin/tool -rwxr-xr-x 0 \nit's a file -rw-r--r-- 0 \n");
    }
    let op = unpack(&server, &bytes, 1, &["bin", "bin/tool"]);
    let change = machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(change.diff, [" other members of the same archive"]);
    assert_eq!(tree(&machine).await, "bin/link lrwxrwxrwx 0 tool\nbin/tool -rwxr-xr-x 0 \n");
    let error =
        machine.apply(&unpack(&server, &bytes, 1, &["bin/none"]), &Modifiers::default()).await.unwrap_err();
    assert!(error.message.contains("no member bin/none; it has: tool-1.0/ "), "{error}");
    for bad in ["../x", "/etc/passwd", "a/../../b", "a\\b"] {
        assert_eq!(
            machine.apply(&unpack(&server, &bytes, 1, &[bad]), &Modifiers::default()).await.unwrap_err().code,
            "ksp::op::path"
        );
    }
}

#[tokio::test]
async fn strips_and_dots_in_front() {
    let bytes = archive("mkdir -p a/b; echo 1 > a/b/one; echo 2 > a/two; echo 3 > three; tar -cf \"$1\" .");
    let (machine, server) = (Machine::new(), Server::new(&bytes));
    for (strip, expected) in [(0, "a/b/one a/two three"), (1, "b/one two"), (2, "one")] {
        machine.apply(&unpack(&server, &bytes, strip, &[]), &Modifiers::default()).await.unwrap();
        assert_eq!(
            machine
                .shell(
                    "cd '/etc/the dest' && find . -type f -printf '%P ' | tr ' ' '\\n' | sort | xargs echo"
                )
                .await
                .trim(),
            expected
        );
    }
    let error = machine.apply(&unpack(&server, &bytes, 3, &[]), &Modifiers::default()).await.unwrap_err();
    assert!(error.message.contains("no members are left"), "{error}");
}

#[tokio::test]
async fn what_happened_to_members_is_noticed_and_mended() {
    let bytes = ordinary();
    let (machine, server) = (Machine::new(), Server::new(&bytes));
    let op = unpack(&server, &bytes, 1, &[]);
    machine.converge(&op, &Modifiers::default()).await;
    for (harm, seen) in [
        ("rm bin/tool", " missing: bin/tool"),
        ("echo evil > bin/tool", " changed: bin/tool"),
        ("chmod 777 bin/tool", " changed: bin/tool"),
        ("ln -sfn /bin/sh bin/link", " changed: bin/link"),
        ("cd ..; rm -r 'the dest'", " /etc/the dest is missing"),
    ] {
        machine.shell(&format!("cd '/etc/the dest' && {harm}")).await;
        let change = machine.converge(&op, &Modifiers::default()).await;
        assert_eq!(change.diff, [seen], "{harm}");
    }
    // Restored from a backup: other inodes, the same bytes.
    machine.shell("cd '/etc/the dest' && cp -p bin/tool new && mv new bin/tool").await;
    assert_eq!(machine.probe(&op, &Modifiers::default()).await.unwrap(), crate::op::Verdict::Satisfied);
    // The same size, mode and modification time, other bytes.
    machine.shell("cd '/etc/the dest' && touch -r bin/tool stamp && sed -i s/tool/evil/ bin/tool && touch -r stamp bin/tool && rm stamp").await;
    machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(machine.read("/etc/the dest/bin/tool"), "tool\n");
}

#[tokio::test]
async fn members_that_a_newer_archive_lacks_go() {
    let bytes = ordinary();
    let (machine, server) = (Machine::new(), Server::new(&bytes));
    machine.converge(&unpack(&server, &bytes, 1, &[]), &Modifiers::default()).await;
    let newer = archive("mkdir -p tool-1.1/bin; echo newer > tool-1.1/bin/tool; tar -cf \"$1\" tool-1.1");
    let server = Server::new(&newer);
    let change = machine.converge(&unpack(&server, &newer, 1, &[]), &Modifiers::default()).await;
    assert_eq!((change.action, change.diff.len()), (ChangeAction::Modify, 2));
    assert_eq!(tree(&machine).await, "bin/tool -rw-r--r-- 0 \n");
}

#[tokio::test]
async fn hostile_archives_are_refused_whole() {
    for (make, why) in [
        ("echo x > x; tar -P -cf \"$1\" --transform 's,^x,../x,' x", "member ../x would end outside"),
        ("echo x > x; tar -P -cf \"$1\" --transform 's,^x,a/../../x,' x", "would end outside"),
        ("echo x > x; tar -P -cf \"$1\" --transform 's,^x,/etc/pwned,' x", "would end outside"),
        ("ln -s /etc a; tar -cf \"$1\" a", "link to an absolute path"),
        ("mkdir b; ln -s ../.. b/a; tar -cf \"$1\" b", "link b/a leads outside"),
        ("ln -s .. a; tar -cf \"$1\" a", "link a leads outside"),
        ("mkdir b; ln -s c/../../.. b/a; tar -cf \"$1\" b", "link b/a leads outside"),
        ("ln -s .. a; tar -cf \"$1\" a; rm a; mkdir a; echo x > a/pwned; tar -rf \"$1\" a/pwned", ""),
        (
            "ln -s /etc a; tar -cf \"$1\" a; rm a; mkdir a; echo x > a/pwned; tar -rf \"$1\" a/pwned",
            "link to an absolute path",
        ),
        ("echo x > a; ln a b; tar -cf \"$1\" a b", "members of type h"),
        ("mkfifo a; tar -cf \"$1\" a", "members of type p"),
        ("mknod a c 1 3; tar -cf \"$1\" a", "members of type c"),
        ("echo x > \"$(printf 'a\\nb')\"; tar -cf \"$1\" .", "control characters"),
        ("seq 1000 > \"$1\"", "not a tar"),
        ("echo short > \"$1\"", "not a tar"),
        ("dd if=/dev/urandom bs=1k count=9 > a 2>/dev/null; tar -cf all a; head -c 5000 all > \"$1\"", ""),
    ] {
        let bytes = archive(make);
        let (machine, server) = (Machine::new(), Server::new(&bytes));
        machine.shell("mkdir '/etc/the dest'; echo mine > '/etc/the dest/mine'").await;
        let error = machine.apply(&unpack(&server, &bytes, 0, &[]), &Modifiers::default()).await.unwrap_err();
        assert_eq!((error.code, error.retryable), ("ksp::op::archive", false), "{make}: {error:?}");
        assert!(error.message.contains(why), "{make}: {error}");
        assert_eq!(
            machine.shell("cd /etc && find . -type f -o -type l | sort").await,
            "./group\n./passwd\n./the dest/mine\n",
            "{make}"
        );
    }
}

#[tokio::test]
async fn setuid_bits_do_not_pass() {
    let bytes = archive("echo x > a; chmod 4777 a; tar -cf \"$1\" a");
    let (machine, server) = (Machine::new(), Server::new(&bytes));
    let result = machine.apply(&unpack(&server, &bytes, 0, &[]), &Modifiers::default()).await;
    if result.is_ok() {
        assert_eq!(tree(&machine).await, "a -rwxr-xr-x 0 \n");
    }
}

async fn full(machine: &Machine, server: &Server, bytes: &[u8]) -> OpError {
    let error = machine.apply(&unpack(server, bytes, 0, &[]), &Modifiers::default()).await.unwrap_err();
    assert_eq!(machine.shell("ls -A '/etc/the dest'").await, "mine\n");
    error
}

#[tokio::test]
async fn a_full_disk_leaves_what_was_there() {
    let bytes = archive("head -c 400000 /dev/zero > zeros; tar -cf \"$1\" zeros");
    let (machine, server) = (Machine::new(), Server::new(&bytes));
    machine.shell("mkdir '/etc/the dest'; mount -t tmpfs -o size=128k none '/etc/the dest'; echo mine > '/etc/the dest/mine'").await;
    assert_eq!(full(&machine, &server, &bytes).await.code, "ksp::op::disk-full");
    let server = Server::new(b"something else");
    assert_eq!(full(&machine, &server, &bytes).await.code, "ksp::op::checksum-mismatch");
}

#[tokio::test]
async fn killed_at_any_move_the_next_attempt_finishes() {
    let bytes = ordinary();
    let (machine, server) = (Machine::new(), Server::new(&bytes));
    let op = unpack(&server, &bytes, 1, &[]);
    for nth in 1..=8 {
        machine.shell("rm -f /etc/count").await;
        machine.fake("mv", &format!("echo >> /etc/count; [ $(wc -l < /etc/count) -lt {nth} ] || kill -9 0; exec /usr/bin/mv \"$@\""));
        if machine.apply(&op, &Modifiers::default()).await.is_ok() {
            assert!(nth > 4, "{nth}");
        }
    }
    std::fs::remove_file(machine.folder().join("bin/mv")).unwrap();
    machine.apply(&op, &Modifiers::default()).await.unwrap();
    assert_eq!(machine.probe(&op, &Modifiers::default()).await.unwrap(), crate::op::Verdict::Satisfied);
    assert_eq!(machine.leftovers().await, "");
}

#[test]
fn it_asks_for_what_it_writes() {
    let server = Server::new(b"");
    let needs = unpack(&server, b"", 1, &["tool-1.0/bin/tool", "x"]).needs();
    assert_eq!(
        needs,
        [Need::Artifacts, Need::File("/etc/the dest/bin/tool".into()), Need::File("/etc/the dest/x".into())]
    );
    assert_eq!(
        unpack(&server, b"", 0, &[]).needs(),
        [Need::Artifacts, Need::File("/etc/the dest/**/*".into())]
    );
}
