use std::os::unix::fs::PermissionsExt as _;

use crate::op::testing::{Answer, Machine, Server, release};
use crate::op::{ChangeAction, Modifiers, OpError, Verdict, sh};

use super::Install;

const BYTES: &[u8] = b"#!/bin/sh\necho tool 1\n";

fn install(server: &Server, bytes: &[u8]) -> Install {
    Install { path: "/etc/bin/my tool".into(), release: release(&server.url("/tool"), bytes) }
}

/// A node with neither curl nor wget.
async fn without_tools(machine: &Machine) {
    machine.shell("mount --bind /dev/null /usr/bin/curl; mount --bind /dev/null /usr/bin/wget").await;
}

async fn without_curl(machine: &Machine) {
    machine.shell("mount --bind /dev/null /usr/bin/curl").await;
}

async fn failure(machine: &Machine, server: &Server, bytes: &[u8]) -> OpError {
    let error = machine.apply(&install(server, bytes), &Modifiers::default()).await.unwrap_err();
    assert!(!machine.path("/etc/bin/my tool").exists());
    assert_eq!(machine.leftovers().await, "");
    error
}

#[tokio::test]
async fn the_node_fetches_it_once() {
    let (machine, server) = (Machine::new(), Server::new(BYTES));
    let op = install(&server, BYTES);
    let change = machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(change.action, ChangeAction::Create);
    assert_eq!(change.diff, [format!("+tool 1.0, sha256:{}", sh::sha256(BYTES))]);
    assert_eq!(
        std::fs::metadata(machine.path("/etc/bin/my tool")).unwrap().permissions().mode() & 0o7777,
        0o755
    );
    assert_eq!(server.requests(), 1);
    assert_eq!(std::fs::read_dir(machine.folder().join("cache")).unwrap().count(), 0);
    machine.teardown(&op, &Modifiers::default()).await;
    assert_eq!(machine.shell("find /etc/bin /var/lib -type f ! -name folders").await, "");
}

#[tokio::test]
async fn every_change_of_the_file_is_noticed() {
    let (machine, server) = (Machine::new(), Server::new(BYTES));
    let op = install(&server, BYTES);
    machine.converge(&op, &Modifiers::default()).await;
    // The same size and the same modification time.
    machine.shell("cd /etc/bin; touch -r 'my tool' stamp; sed -i 's/tool 1/tool 2/' 'my tool'; touch -r stamp 'my tool'").await;
    let change = machine.converge(&op, &Modifiers::default()).await;
    assert_eq!(change.action, ChangeAction::Modify);
    machine.shell("chmod 700 '/etc/bin/my tool'").await;
    assert_eq!(machine.converge(&op, &Modifiers::default()).await.diff, ["-mode 0700", "+mode 0755"]);
    // Another time alone is no change: the bytes are hashed.
    machine.shell("touch '/etc/bin/my tool'").await;
    assert_eq!(machine.probe(&op, &Modifiers::default()).await.unwrap(), Verdict::Satisfied);
    machine.shell("rm -r /var/lib/ksp").await;
    assert_eq!(machine.probe(&op, &Modifiers::default()).await.unwrap(), Verdict::Satisfied);
    machine.shell("cd /etc/bin; rm 'my tool'; ln -s /bin/true 'my tool'").await;
    machine.converge(&op, &Modifiers::default()).await;
}

#[tokio::test]
async fn wget_will_do() {
    let (machine, server) = (Machine::new(), Server::new(BYTES));
    without_curl(&machine).await;
    machine.converge(&install(&server, BYTES), &Modifiers::default()).await;
    assert_eq!(server.requests(), 1);
    let server = Server::answering([Answer::Status("404 Not Found")], BYTES);
    let error = machine.apply(&install(&server, b"other"), &Modifiers::default()).await.unwrap_err();
    assert_eq!((error.code, error.retryable, server.requests()), ("ksp::op::refused", false, 1));
}

#[tokio::test]
async fn busybox_wget_will_do() {
    let (machine, server) = (Machine::new(), Server::new(BYTES));
    without_tools(&machine).await;
    machine.fake("wget", "exec busybox wget \"$@\"");
    machine.converge(&install(&server, BYTES), &Modifiers::default()).await;
    assert_eq!(server.requests(), 1);
    let server = Server::answering([Answer::Status("403 Forbidden")], BYTES);
    let error = machine.apply(&install(&server, b"other"), &Modifiers::default()).await.unwrap_err();
    assert_eq!((error.code, server.requests()), ("ksp::op::refused", 1));
}

#[tokio::test]
async fn without_a_tool_it_comes_from_the_workstation() {
    let (machine, server) = (Machine::new(), Server::new(BYTES));
    without_tools(&machine).await;
    let op = install(&server, BYTES);
    let (result, lines) = machine.apply_showing(&op, &Modifiers::default()).await;
    result.unwrap();
    assert_eq!(lines[0], "tool 1.0 comes from this machine: the node has neither curl nor wget");
    assert_eq!(machine.probe(&op, &Modifiers::default()).await.unwrap(), Verdict::Satisfied);
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_node_without_a_way_out_gets_it_from_the_workstation() {
    // Its own network: the server of the test cannot be reached from there.
    let (machine, server) = (Machine::isolated(), Server::new(BYTES));
    machine.converge(&install(&server, BYTES), &Modifiers::default()).await;
    assert_eq!(server.requests(), 1);
    let mut machine = Machine::new();
    machine.downloads.push = true;
    let server = Server::new(BYTES);
    machine.fake("curl", "touch /etc/curl-was-called; exit 7");
    machine.converge(&install(&server, BYTES), &Modifiers::default()).await;
    assert!(!machine.path("/etc/curl-was-called").exists());
}

/// T45.
#[tokio::test]
async fn another_checksum_is_never_used() {
    let (machine, server) = (Machine::new(), Server::new(BYTES));
    let error = failure(&machine, &server, b"expected").await;
    assert_eq!((error.code, error.retryable, server.requests()), ("ksp::op::checksum-mismatch", false, 1));
    for part in [server.url("/tool"), sh::sha256(b"expected"), sh::sha256(BYTES)] {
        assert!(error.message.contains(&part), "{error}");
    }
    let server = Server::new(b"<!DOCTYPE html>\n<title>Log in</title>");
    let error = failure(&machine, &server, b"expected").await;
    assert_eq!(error.code, "ksp::op::checksum-mismatch");
    assert!(error.hints[0].contains("web page"), "{error:?}");
    // The same when it comes through the workstation.
    without_tools(&machine).await;
    let error = failure(&machine, &server, b"expected").await;
    assert!(error.code == "ksp::op::checksum-mismatch" && error.hints[0].contains("web page"), "{error:?}");
}

#[tokio::test]
async fn what_the_server_refuses_fails_at_once() {
    for status in ["404 Not Found", "403 Forbidden", "401 Unauthorized", "410 Gone"] {
        let (machine, server) = (Machine::new(), Server::answering([Answer::Status(status)], BYTES));
        let error = failure(&machine, &server, BYTES).await;
        assert_eq!(
            (error.code, error.retryable, server.requests()),
            ("ksp::op::refused", false, 1),
            "{status}"
        );
        assert!(error.message.contains(&format!("answered {}", &status[..3])), "{error}");
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again() {
    for answer in [
        Answer::Status("500 Internal Server Error"),
        Answer::Status("503 Service Unavailable"),
        Answer::Status("429 Too Many Requests\r\nRetry-After: 0"),
        Answer::Cut(5),
        Answer::Nothing,
    ] {
        let (machine, server) = (Machine::new(), Server::answering([answer], BYTES));
        let (result, lines) = machine.apply_showing(&install(&server, BYTES), &Modifiers::default()).await;
        result.unwrap();
        assert_eq!(server.requests(), 2);
        assert!(lines.iter().any(|line| line.ends_with("attempt 2 of 4 follows")), "{lines:?}");
        assert_eq!(machine.read("/etc/bin/my tool").as_bytes(), BYTES);
    }
}

#[tokio::test]
async fn a_server_that_never_recovers_ends_with_both_reasons() {
    let (machine, server) =
        (Machine::new(), Server::answering([Answer::Status("502 Bad Gateway"); 8], BYTES));
    let error = failure(&machine, &server, BYTES).await;
    assert_eq!((error.code, error.retryable, server.requests()), ("ksp::op::unreachable-address", true, 8));
    assert!(error.message.contains("502"), "{error}");
    assert!(
        error.tail[0].starts_with("on the node: ") && error.tail[0].ends_with("answered 502"),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_full_disk_is_named_whatever_the_way() {
    let bytes = vec![b'x'; 300_000];
    for push in [false, true] {
        let (mut machine, server) = (Machine::new(), Server::new(&bytes));
        machine.downloads.push = push;
        machine.shell("mkdir /etc/bin; mount -t tmpfs -o size=64k none /etc/bin").await;
        let error = failure(&machine, &server, &bytes).await;
        assert_eq!((error.code, error.retryable), ("ksp::op::disk-full", false), "push: {push}");
    }
}

#[tokio::test]
async fn passwords_in_addresses_stay_out_of_sight() {
    let (machine, server) = (Machine::new(), Server::answering([Answer::Status("404 Not Found")], BYTES));
    let url = server.url("/tool?sig=hunter22").replace("http://", "http://me:hunter22@");
    let op = Install { path: "/etc/bin/x".into(), release: release(&url, BYTES) };
    machine.fake("curl", "tr '\\0' ' ' < /proc/$$/cmdline >> /etc/seen; exec /usr/bin/curl \"$@\"");
    let (result, lines) = machine.apply_showing(&op, &Modifiers::default()).await;
    let shown = format!("{:?} {lines:?} {}", result.unwrap_err(), machine.read("/etc/seen"));
    assert!(!shown.contains("hunter22"), "{shown}");
    assert!(server.last().contains("GET /tool?sig=hunter22 "), "{}", server.last());
    assert!(server.last().to_lowercase().contains("authorization: basic "), "{}", server.last());
}

#[tokio::test]
async fn an_architecture_without_a_file_is_known_while_planning() {
    let (machine, server) = (Machine::new(), Server::new(BYTES));
    let mut op = install(&server, BYTES);
    let source = op.release.sources.remove("amd64").unwrap();
    op.release.sources.insert("arm64".into(), source);
    let error = machine.probe(&op, &Modifiers::default()).await.unwrap_err();
    assert_eq!(error.message, "tool 1.0 is not there for amd64, only for arm64");
    for url in ["file:///etc/passwd", "http://x/\" -o /etc/passwd", "ftp://x/y", "http://x/a b"] {
        let op = Install { path: "/etc/bin/x".into(), release: release(url, BYTES) };
        assert_eq!(machine.apply(&op, &Modifiers::default()).await.unwrap_err().code, "ksp::op::address");
    }
}
