use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::node::SshTarget;
use crate::transport::testing_sshd::{self as sshd, Sshd};
use crate::transport::{ConnectOptions, Script, Session, TransportError, connector};

/// Ends the sshd that serves this connection, when nothing runs on it any more.
const CUT_LATER: &str = "p=$(cut -d' ' -f4 /proc/$$/stat); (sleep 0.3; kill -9 $p) >/dev/null 2>&1 &";

type Connected = Result<Arc<dyn Session>, TransportError>;

fn strict() -> ConnectOptions {
    ConnectOptions { agent: None, ..ConnectOptions::default() }
}

async fn connect_with(options: ConnectOptions, target: SshTarget) -> Connected {
    connector(options).connect(&sshd::node(target)).await
}

async fn connect(target: SshTarget) -> Connected {
    connect_with(strict(), target).await
}

async fn works(session: &Arc<dyn Session>) {
    assert_eq!(session.run(Script::new("echo works")).await.unwrap().text(), "works\n");
}

/// The error of a connection that must fail.
async fn fails(target: SshTarget) -> TransportError {
    match connect(target).await {
        Ok(_) => panic!("connected"),
        Err(error) => error,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sshd_behaves_as_a_node() {
    let server = Sshd::start();
    crate::transport::testing::behaves(connect(server.target()).await.unwrap()).await;
}

#[tokio::test]
async fn a_lost_connection_is_an_unknown_outcome_and_the_next_call_works() {
    let server = Sshd::start();
    let session = connect(server.target()).await.unwrap();
    // The parent of the shell is the sshd that serves this connection.
    let cut = "kill -9 $(cut -d' ' -f4 /proc/$$/stat); sleep 3";
    for aside in [false, true] {
        let script = Script::new(cut);
        let result = if aside { session.run_aside(script).await } else { session.run(script).await };
        assert!(matches!(result, Err(TransportError::OutcomeUnknown(_))), "{result:?}");
        works(&session).await;
    }
    let mut endless = tokio::io::repeat(7);
    let result = session.feed(Script::new(format!("{cut}; cat >/dev/null")), &mut endless).await;
    assert!(matches!(result, Err(TransportError::OutcomeUnknown(_))), "{result:?}");
    works(&session).await;
    // Cut while idle: nothing was running, so nothing is unknown.
    session.run_aside(Script::new(CUT_LATER)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    works(&session).await;
}

#[tokio::test]
async fn a_shell_that_kills_itself_is_replaced() {
    let server = Sshd::start();
    let session = connect(server.target()).await.unwrap();
    let result = session.run(Script::new("kill -9 $$; sleep 3")).await;
    assert!(matches!(result, Err(TransportError::OutcomeUnknown(_))), "{result:?}");
    works(&session).await;
}

#[tokio::test]
async fn a_server_that_is_gone_is_unreachable_within_the_deadline() {
    let mut server = Sshd::start();
    let session = connect(server.target()).await.unwrap();
    session.run_aside(Script::new(CUT_LATER)).await.unwrap();
    server.stop();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let started = Instant::now();
    let result = session.run(Script::new("echo")).await;
    assert!(matches!(result, Err(TransportError::Unreachable { .. })), "{result:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    session.close().await;
    assert!(session.run(Script::new("echo")).await.unwrap_err().to_string().contains("closed"));
}

#[tokio::test]
async fn a_silent_peer_ends_at_the_deadline() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Sshd::start();
    let target = SshTarget { port: listener.local_addr().unwrap().port(), ..server.target() };
    let options = ConnectOptions { connect_timeout: Duration::from_millis(500), ..strict() };
    let started = Instant::now();
    let Err(TransportError::Unreachable { reason, .. }) = connect_with(options, target).await else {
        panic!("unreachable")
    };
    assert!(reason.contains("500ms") && started.elapsed() < Duration::from_secs(3), "{reason}");
}

#[tokio::test]
async fn host_keys_are_strict() {
    let mut server = Sshd::start();
    let good = server.target();
    works(&connect(good.clone()).await.unwrap()).await;

    let empty = SshTarget { known_hosts: server.path("none"), ..good.clone() };
    let unknown = fails(empty.clone()).await;
    assert!(matches!(&unknown, TransportError::HostKey { changed: false, .. }), "{unknown}");
    assert!(unknown.to_string().contains(&server.fingerprint()), "{unknown}");
    assert!(!server.path("none").exists(), "nothing is remembered unasked");

    let pinned = SshTarget { host_key: Some(server.fingerprint()), ..empty.clone() };
    works(&connect(pinned.clone()).await.unwrap()).await;

    let accept = ConnectOptions { accept_new: true, ..strict() };
    works(&connect_with(accept.clone(), empty.clone()).await.unwrap()).await;
    works(&connect(empty.clone()).await.unwrap()).await;
    assert_eq!(std::fs::metadata(server.path("none")).unwrap().permissions().mode() & 0o777, 0o600);

    let old = server.fingerprint();
    server.change_host_key();
    for target in [good, empty.clone(), pinned] {
        let changed = fails(target).await;
        assert!(matches!(&changed, TransportError::HostKey { changed: true, .. }), "{changed}");
        let text = changed.to_string();
        assert!(text.contains(&old) && text.contains(&server.fingerprint()), "{text}");
    }
    let Err(refused) = connect_with(accept, empty).await else { panic!("a changed key is never accepted") };
    assert!(matches!(refused, TransportError::HostKey { changed: true, .. }));
}

#[tokio::test]
async fn the_kind_of_key_that_is_known_is_asked_for() {
    let server = Sshd::with("HostKey {folder}/rsa");
    drop(server);
    // The key must be there before sshd starts: make it beside, then point another server to it.
    let keys = tempfile::tempdir().unwrap();
    sshd::keygen(keys.path(), "rsa", "rsa");
    let server = Sshd::with(&format!("HostKey {}", keys.path().join("rsa").display()));
    let good = server.target();
    let public = std::fs::read_to_string(keys.path().join("rsa.pub")).unwrap();
    std::fs::write(&good.known_hosts, format!("[127.0.0.1]:{} {public}", server.port)).unwrap();
    works(&connect(good.clone()).await.unwrap()).await;
    let pinned = SshTarget { host_key: Some(sshd::fingerprint(&keys.path().join("rsa.pub"))), ..good };
    works(&connect(pinned).await.unwrap()).await;
}

#[tokio::test]
async fn bastions_are_hopped_and_checked() {
    let (first, second, last) = (Sshd::start(), Sshd::start(), Sshd::start());
    let target = SshTarget { via: vec![first.target(), second.target()], ..last.target() };
    let session = connect(target.clone()).await.unwrap();
    works(&session).await;
    let data = vec![1; 5 << 20];
    let output = session.feed(Script::new("wc -c"), &mut data.as_slice()).await.unwrap();
    assert_eq!(output.text().trim(), data.len().to_string());

    let mut wrong = target.clone();
    wrong.via[1].known_hosts = first.path("none");
    let error = fails(wrong).await;
    assert!(matches!(&error, TransportError::HostKey { .. }));
    assert!(error.to_string().contains(&second.port.to_string()), "the hop is named: {error}");

    let closed = Sshd::with("AllowTcpForwarding no");
    let error = fails(SshTarget { via: vec![closed.target()], ..last.target() }).await;
    assert!(error.to_string().contains("forwarding"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_nodes_come_through_a_bastion_that_drops_handshakes() {
    let bastion = Sshd::with("MaxStartups 10:30:100");
    let last = Sshd::start();
    let connector = connector(strict());
    let node = sshd::node(SshTarget { via: vec![bastion.target()], ..last.target() });
    let all = futures_util::future::join_all((0..30).map(|_| connector.connect(&node))).await;
    for session in all {
        works(&session.unwrap()).await;
    }
}

#[tokio::test]
async fn keys_are_offered_in_order_and_a_refusal_says_what_was_tried() {
    let server = Sshd::start();
    let other = tempfile::tempdir().unwrap();
    for (name, kind) in [("ed25519", "ed25519"), ("rsa", "rsa"), ("ecdsa", "ecdsa")] {
        sshd::keygen(other.path(), name, kind);
    }
    let at = |name: &str| other.path().join(name);
    sshd::ssh_keygen(&["-q", "-t", "ed25519", "-N", "secret", "-f", at("locked").to_str().unwrap()]);
    std::fs::copy(at("ed25519"), at("open")).unwrap();
    std::fs::set_permissions(at("open"), std::fs::Permissions::from_mode(0o644)).unwrap();

    let names = ["missing", "open", "locked", "ed25519", "rsa"];
    let target = SshTarget { identities: names.iter().map(|name| at(name)).collect(), ..server.target() };
    let error = fails(target.clone()).await;
    assert!(matches!(error, TransportError::Authentication { .. }), "{error:?}");
    for part in ["missing", "chmod 600", "passphrase", "ed25519 (", "rsa ("] {
        assert!(error.to_string().contains(part), "{part}: {error}");
    }
    let none = fails(SshTarget { identities: Vec::new(), ..server.target() }).await;
    assert!(none.to_string().contains("identity"), "{none}");

    for name in ["rsa", "ecdsa"] {
        std::fs::copy(at(&format!("{name}.pub")), server.path("authorized_keys")).unwrap();
        let target = SshTarget { identities: vec![at("ed25519"), at(name)], ..server.target() };
        works(&connect(target).await.unwrap()).await;
    }
}

#[tokio::test]
async fn the_agent_signs() {
    let server = Sshd::start();
    let socket = server.path("agent");
    let mut agent = std::process::Command::new("ssh-agent")
        .args(["-D", "-a", socket.to_str().unwrap()])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !socket.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for key in ["other", "user"] {
        if key == "other" {
            sshd::keygen(server.folder.path(), key, "rsa");
        }
        let added = std::process::Command::new("ssh-add")
            .arg("-q")
            .arg(server.path(key))
            .env("SSH_AUTH_SOCK", &socket)
            .status();
        assert!(added.unwrap().success());
    }
    let target = SshTarget { identities: Vec::new(), ..server.target() };
    let options = ConnectOptions { agent: Some(socket), ..strict() };
    let session = connect_with(options, target).await;
    let seen = match &session {
        Ok(session) => session.run(Script::new("echo \"$SSH_AUTH_SOCK\"")).await.unwrap().text(),
        Err(error) => error.to_string(),
    };
    agent.kill().unwrap();
    agent.wait().unwrap();
    assert_eq!(seen, "\n", "logged in, and the agent is not forwarded");
}

#[tokio::test]
async fn root_comes_through_sudo_or_the_error_says_why_not() {
    // A login that believes it is not root; sudo is the real one where there is one.
    let program = |folder: &std::path::Path, name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let folder = tempfile::tempdir().unwrap();
    let config = format!("SetEnv PATH={}:/usr/bin:/bin", folder.path().display());
    program(folder.path(), "id", "echo 1000");
    if std::path::Path::new("/usr/bin/sudo").exists() {
        let server = Sshd::with(&config);
        let session = connect(server.target()).await.unwrap();
        let seen = session.run(Script::new("echo $SUDO_USER $HOME $PATH")).await.unwrap();
        assert_eq!(seen.text(), "root /root /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n");
        assert_eq!(session.run_aside(Script::new("echo $SUDO_USER; cat")).await.unwrap().text(), "root\n");
        let late = Script::new("sleep 20").with_timeout(Duration::from_millis(300));
        assert!(matches!(session.run(late).await, Err(TransportError::Timeout(_))));
        works(&session).await;
    }
    program(folder.path(), "sudo", "echo 'sudo: a password is required' >&2; exit 1");
    let server = Sshd::with(&config);
    let error = fails(server.target()).await;
    assert!(
        matches!(&error, TransportError::Privilege { reason, .. } if reason.contains("a password is required") && reason.contains("NOPASSWD")),
        "{error}"
    );
}

#[tokio::test]
async fn noisy_profiles_do_no_harm() {
    // Bash reads BASH_ENV where a login's .bashrc would be noisy.
    let folder = tempfile::tempdir().unwrap();
    let profile = folder.path().join("profile");
    let noise = "echo welcome; echo warning >&2; printf 'no newline \\001'; alias echo=false; set -u; export LC_ALL=xx PATH=/nowhere:$PATH\n";
    std::fs::write(&profile, noise).unwrap();
    let server = Sshd::with(&format!("SetEnv BASH_ENV={}", profile.display()));
    let session = connect(server.target()).await.unwrap();
    works(&session).await;
    let output = session.run_aside(Script::new("echo \"$undefined$LC_ALL\"; echo e >&2")).await.unwrap();
    assert_eq!((output.text().as_str(), &output.stderr[..]), ("C\n", &b"e\n"[..]));
    let mut data: &[u8] = b"data";
    assert_eq!(session.feed(Script::new("cat"), &mut data).await.unwrap().text(), "data");
}

#[tokio::test]
async fn a_login_that_gives_no_shell_is_explained() {
    let server = Sshd::with("ForceCommand echo This account is not available.; exit 1");
    let error = fails(server.target()).await;
    assert!(error.to_string().contains("This account is not available."), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_with_few_sessions_a_connection_get_more_connections() {
    let server = Sshd::with("MaxSessions 1");
    let session = connect(server.target()).await.unwrap();
    works(&session).await;
    let aside = (0..4).map(|n| session.run_aside(Script::new(format!("sleep 0.2; echo {n}"))));
    for (n, output) in futures_util::future::join_all(aside).await.into_iter().enumerate() {
        assert_eq!(output.unwrap().text(), format!("{n}\n"));
    }
    let late = Script::new("sleep 20").with_timeout(Duration::from_millis(300));
    assert!(matches!(session.run(late).await, Err(TransportError::Timeout(_))));
    works(&session).await;
    let none = Sshd::with("MaxSessions 0");
    let error = fails(none.target()).await;
    assert!(error.to_string().contains("MaxSessions"), "{error}");
}

/// A way to a server that counts turns: how often the client speaks after the server has spoken. One turn is one round trip.
async fn counting_proxy(to: u16) -> (u16, Arc<AtomicU64>) {
    async fn pass(
        mut from: tokio::net::tcp::OwnedReadHalf,
        mut to: tokio::net::tcp::OwnedWriteHalf,
        mut said: impl FnMut(),
    ) {
        let mut bytes = vec![0; 65536];
        while let Ok(length @ 1..) = from.read(&mut bytes).await {
            said();
            if to.write_all(&bytes[..length]).await.is_err() {
                return;
            }
        }
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let turns = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&turns);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            near.set_nodelay(true).unwrap();
            far.set_nodelay(true).unwrap();
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            let server_spoke = Arc::new(AtomicBool::new(true));
            let (heard, turns) = (Arc::clone(&server_spoke), Arc::clone(&counted));
            tokio::spawn(pass(near_read, far_write, move || {
                if heard.swap(false, Ordering::SeqCst) {
                    turns.fetch_add(1, Ordering::SeqCst);
                }
            }));
            tokio::spawn(pass(far_read, near_write, move || server_spoke.store(true, Ordering::SeqCst)));
        }
    });
    (port, turns)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_costs_one_round_trip() {
    let server = Sshd::start();
    let (port, turns) = counting_proxy(server.port).await;
    let target = SshTarget { port, host_key: Some(server.fingerprint()), ..server.target() };
    let session = connect(target).await.unwrap();
    let connected = turns.load(Ordering::SeqCst);
    assert!(connected <= 14, "connecting took {connected} round trips");
    for _ in 0..10 {
        works(&session).await;
    }
    let each = turns.load(Ordering::SeqCst) - connected;
    // An answer that arrives in two pieces can be acknowledged in between.
    assert!((10..=14).contains(&each), "{each} round trips for 10 scripts");
}

/// `cargo test -p ksp --lib --release measure -- --ignored --nocapture` on a machine that does nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout)]
async fn measure_against_a_raw_shell() {
    use crate::transport::process::{Opener as _, Piece};
    const ROUNDS: u32 = 500;
    let server = Sshd::start();
    let ssh = Arc::new(super::Ssh::new(strict()));
    let link = super::link::SshLink::new(ssh, server.target());
    let mut raw = link.open("exec /bin/sh").await.unwrap();
    let session = connect(server.target()).await.unwrap();
    for _ in 0..5 {
        let started = Instant::now();
        for round in 0..ROUNDS {
            raw.input.write_all(format!("/bin/true; echo end{round} $?\n").as_bytes()).await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\n") {
                if let Some(Piece::Out(bytes)) = raw.source.next().await {
                    seen.extend_from_slice(&bytes);
                }
            }
        }
        let raw = started.elapsed();
        let started = Instant::now();
        for _ in 0..ROUNDS {
            // As ops send a command: the script's shell becomes it.
            session.run(Script::new("exec /bin/true")).await.unwrap();
        }
        let ours = started.elapsed();
        println!(
            "raw {:?} ours {:?} each, ratio {:.2}",
            raw / ROUNDS,
            ours / ROUNDS,
            ours.as_secs_f64() / raw.as_secs_f64()
        );
    }
}
