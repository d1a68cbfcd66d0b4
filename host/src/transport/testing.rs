//! What every kind of session must do: run against this machine and against a real sshd.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::redact::Secret;
use crate::transport::batch;

type Shared = Arc<dyn Session>;

async fn sh(session: &Shared, text: &str) -> Output {
    session.run(Script::new(text)).await.unwrap()
}

/// Everything that is the same over SSH and on this machine.
pub(crate) async fn behaves(session: Shared) {
    streams_and_status(&session).await;
    scripts_cannot_break_out(&session).await;
    environment(&session).await;
    input(&session).await;
    aside(&session).await;
    big_and_binary(&session).await;
    lines(&session).await;
    fed(&session).await;
    fetched(&session).await;
    batches(&session).await;
    deadlines(&session).await;
    broken_sources(&session).await;
    dialled(&session).await;
}

async fn streams_and_status(session: &Shared) {
    let output = sh(session, "echo out; echo err >&2; exit 3").await;
    assert_eq!(
        output,
        Output { status: 3, stdout: "out\n".into(), stderr: "err\n".into(), truncated: false }
    );
    assert_eq!(sh(session, "id -u").await.text(), "0\n");
    assert_eq!(sh(session, "").await, Output::default());
    assert_eq!(sh(session, "kill -9 $(exec sh -c 'echo $PPID')").await.status, 137, "a signal is 128 + n");
    assert_eq!(sh(session, "printf 'no newline'").await.text(), "no newline");
}

async fn scripts_cannot_break_out(session: &Shared) {
    for broken in [
        "echo 'open",
        "cat <<EOF\nnever ends",
        "( echo",
        "if true",
        "}",
        "\\",
        "echo \"",
        "$(",
        "exit; )",
        "case x in",
    ] {
        let output = sh(session, broken).await;
        assert!(output.ok() || !output.stderr.is_empty(), "{broken:?} ends: {output:?}");
        assert_eq!(sh(session, "echo fine").await.text(), "fine\n", "after {broken:?}");
    }
    sh(session, "cd /tmp; x=1; set -e; umask 077; PATH=; exec >/dev/null").await;
    assert_eq!(
        sh(session, "echo \"$x$(pwd) $(umask)\"").await.text(),
        "/ 0022\n",
        "nothing is left for the next script"
    );
    assert_eq!(
        sh(session, "cat; read -r x || echo eof").await.text(),
        "eof\n",
        "no script reads the next one"
    );
    assert_eq!(sh(session, "set -x; false").await.status, 1);
    let heredoc = sh(session, "cat <<'EOF'\na'b$c\nEOF\n").await;
    assert_eq!(heredoc.text(), "a'b$c\n");
}

async fn environment(session: &Shared) {
    let text = "echo \"$PATH|$LC_ALL|$HOME|$LANG|$SSH_AUTH_SOCK|$(pwd)|$(umask)\"";
    let expected = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin|C|/root|||/|0022\n";
    assert_eq!(sh(session, text).await.text(), expected);
    assert_eq!(session.run_aside(Script::new(text)).await.unwrap().text(), expected);
}

async fn input(session: &Shared) {
    let plain = Stdin::Plain(Bytes::from_static(b"a\0b\n"));
    let output = session.run(Script::new("od -An -c").with_stdin(plain.clone())).await.unwrap();
    assert_eq!(output.text().split_whitespace().collect::<Vec<_>>(), ["a", "\\0", "b", "\\n"]);
    let aside = session.run_aside(Script::new("od -An -c").with_stdin(plain)).await.unwrap();
    assert_eq!(aside.text(), output.text());
    let empty = session.run(Script::new("wc -c").with_stdin(Stdin::Plain(Bytes::new()))).await.unwrap();
    assert_eq!(empty.text().trim(), "0");
    let unread = Stdin::Plain(vec![b'x'; 40_000].into());
    assert_eq!(session.run(Script::new("exit 5").with_stdin(unread)).await.unwrap().status, 5);

    let canary = format!("canary{}", hex::encode(rand::random::<[u8; 12]>()));
    // The pattern is written so that it does not find the searching command itself.
    let seek = format!(
        "x=$(cat); sleep 0.2; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n' | \
         grep -c 'canar[y]{}'; [ ${{#x}} = {} ] && echo read",
        &canary[6..],
        canary.len()
    );
    for aside in [false, true] {
        let script = Script::new(seek.clone()).with_stdin(Stdin::Secret(Secret::new(canary.clone())));
        let output = if aside { session.run_aside(script).await } else { session.run(script).await }.unwrap();
        assert_eq!(
            output.text(),
            "0\nread\n",
            "a secret on standard input shows in no argv and no environment"
        );
    }
}

async fn aside(session: &Shared) {
    let output = session.run_aside(Script::new("echo out; echo err >&2; exit 4")).await.unwrap();
    assert_eq!(
        output,
        Output { status: 4, stdout: "out\n".into(), stderr: "err\n".into(), truncated: false }
    );
    assert_eq!(
        session.run_aside(Script::new("cat")).await.unwrap(),
        Output::default(),
        "no input is an empty one"
    );
    let started = Instant::now();
    let twelve = (0..12).map(|n| session.run_aside(Script::new(format!("sleep 1; echo {n}"))));
    for (n, output) in futures_util::future::join_all(twelve).await.into_iter().enumerate() {
        assert_eq!(output.unwrap().text(), format!("{n}\n"));
    }
    assert!(started.elapsed() < Duration::from_secs(10), "they ran beside each other");
    let left = session.run_aside(Script::new("sleep 30 & echo left behind")).await.unwrap();
    assert_eq!(left.text(), "left behind\n", "a background process does not hold the call");
    assert!(started.elapsed() < Duration::from_secs(25));
    sh(session, "pkill -x -f 'sleep 30' || true").await;
}

async fn big_and_binary(session: &Shared) {
    let text = "head -c 1048576 /dev/zero | tr '\\0' '\\377'; printf '\\001\\000'; echo e >&2";
    for aside in [false, true] {
        let script = Script::new(text);
        let output = if aside { session.run_aside(script).await } else { session.run(script).await }.unwrap();
        assert_eq!(output.stdout.len(), 1_048_578);
        assert!(
            output.stdout.ends_with(&[0xff, 1, 0])
                && output.stdout[..1_048_576].iter().all(|byte| *byte == 0xff)
        );
        assert_eq!((&output.stderr[..], output.truncated), (&b"e\n"[..], false));
    }
    let cut = sh(session, "head -c 10000000 /dev/zero; exit 9").await;
    assert_eq!((cut.status, cut.stdout.len(), cut.truncated), (9, OUTPUT_LIMIT, true));
    let long = format!("#{}\necho long", "x".repeat(400_000));
    assert_eq!(sh(session, &long).await.text(), "long\n", "a long script goes beside the shell");
    let big = Stdin::Plain(vec![b'x'; 3_000_000].into());
    assert_eq!(session.run(Script::new("wc -c").with_stdin(big)).await.unwrap().text().trim(), "3000000");
}

async fn lines(session: &Shared) {
    for aside in [false, true] {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        // The command goes on only when its first line has arrived.
        let folder = tempfile::tempdir().unwrap();
        let gate = folder.path().join("go");
        let wait = format!("until [ -e {} ]; do sleep 0.02; done", gate.display());
        let mut script = Script::new(format!("echo one; {wait}; printf 'two\\n\\nend' >&2"));
        script.lines = Some(sender);
        let running = {
            let session = session.clone();
            tokio::spawn(async move {
                if aside { session.run_aside(script).await } else { session.run(script).await }
            })
        };
        assert_eq!(receiver.recv().await.unwrap(), "one");
        std::fs::write(&gate, "").unwrap();
        running.await.unwrap().unwrap();
        let mut rest = Vec::new();
        while let Some(line) = receiver.recv().await {
            rest.push(line);
        }
        assert_eq!(rest, ["two", "", "end"]);
    }
}

async fn fed(session: &Shared) {
    let data: Vec<u8> = (0..50 << 20).map(|n: u32| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let digest = hex::encode(Sha256::digest(&data));
    let output = session.feed(Script::new("sha256sum | cut -d' ' -f1"), &mut data.as_slice()).await.unwrap();
    assert_eq!(output.text().trim(), digest);
    let early =
        session.feed(Script::new("head -c 10 >/dev/null; exit 7"), &mut data.as_slice()).await.unwrap();
    assert_eq!(early.status, 7, "a script may stop reading");
}

async fn batches(session: &Shared) {
    let fragments = [
        "echo one; exit 1",
        "cat",
        "echo 'open",
        "printf '\\001\\377\\000'; echo err >&2",
        "exec 1>&2; echo moved",
        "kill -9 0 & wait; x=$(",
        "echo last",
    ];
    // The sixth is a syntax error: nothing of it runs.
    let outputs = batch::run(&**session, &fragments.map(str::to_owned)).await.unwrap();
    assert_eq!(outputs.len(), fragments.len());
    assert_eq!((outputs[0].status, outputs[0].text().as_str()), (1, "one\n"));
    assert_eq!(outputs[1], Output::default());
    assert!(!outputs[2].ok() && !outputs[5].ok());
    assert_eq!((&outputs[3].stdout[..], &outputs[3].stderr[..]), (&[1, 255, 0][..], &b"err\n"[..]));
    assert_eq!((outputs[4].text(), outputs[4].tail(1)), (String::new(), vec!["moved".into()]));
    assert_eq!(outputs[6].text(), "last\n");
    let flood = ["echo first", "head -c 20000000 /dev/zero", "echo third"].map(str::to_owned);
    let outputs = batch::run(&**session, &flood).await.unwrap();
    assert_eq!(
        (outputs[0].text().as_str(), outputs[1].truncated, outputs[2].text().as_str()),
        ("first\n", true, "third\n")
    );
    let many: Vec<String> = (0..500).map(|n| format!("echo {n}; exit $(({n} % 7))")).collect();
    for (n, output) in batch::run(&**session, &many).await.unwrap().into_iter().enumerate() {
        assert_eq!((output.status, output.text()), (n as i32 % 7, format!("{n}\n")));
    }
}

async fn deadlines(session: &Shared) {
    for aside in [false, true] {
        let mark = format!("{}.{}", 600 + u32::from(aside), rand::random::<u16>());
        let script = Script::new(format!("trap '' TERM; sleep {mark} & sleep {mark}; echo never"))
            .with_timeout(Duration::from_secs(2));
        let started = Instant::now();
        let result = if aside { session.run_aside(script).await } else { session.run(script).await };
        assert!(matches!(result, Err(TransportError::Timeout(_))), "{result:?}");
        assert!(started.elapsed() < Duration::from_secs(20));
        let left = sh(session, &format!("pgrep -f 'slee[p] {mark}'")).await;
        assert_eq!(left.text(), "", "the process group was stopped");
    }
    let short = Script::new("sleep 0.2; echo in time").with_timeout(Duration::from_secs(5));
    assert_eq!(session.run(short).await.unwrap().text(), "in time\n");
}

/// More than is ever kept of an output arrives whole; a sink that breaks ends the script.
async fn fetched(session: &Shared) {
    let size = 3 * OUTPUT_LIMIT;
    let script = format!("head -c {size} /dev/zero | tr '\\0' x; echo done >&2; exit 4");
    let mut all = Vec::new();
    let output = session.fetch(Script::new(script), &mut all).await.unwrap();
    assert_eq!((output.status, output.stdout.len(), output.truncated), (4, 0, false));
    assert_eq!(output.tail(1), ["done"]);
    assert!(all.len() == size && all.iter().all(|byte| *byte == b'x'), "{}", all.len());

    struct Full;
    impl tokio::io::AsyncWrite for Full {
        fn poll_write(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::task::Poll::Ready(Err(std::io::ErrorKind::StorageFull.into()))
        }
        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
        fn poll_shutdown(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Ready(Ok(()))
        }
    }
    let error = session.fetch(Script::new("cat /dev/zero"), &mut Full).await.unwrap_err();
    assert!(error.to_string().contains("could not be written"), "{error}");
}

async fn broken_sources(session: &Shared) {
    struct Broken(usize);
    impl tokio::io::AsyncRead for Broken {
        fn poll_read(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            buffer: &mut tokio::io::ReadBuf<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            self.0 += 1;
            if self.0 > 8 {
                return std::task::Poll::Ready(Err(std::io::Error::other("disk error")));
            }
            let length = buffer.remaining();
            buffer.put_slice(&vec![0; length]);
            std::task::Poll::Ready(Ok(()))
        }
    }
    let path = format!("/tmp/ksp-test-{}", hex::encode(rand::random::<[u8; 8]>()));
    let result = session.feed(Script::new(format!("cat >/dev/null; touch {path}")), &mut Broken(0)).await;
    assert!(result.unwrap_err().to_string().contains("disk error"));
    let output = sh(session, &format!("sleep 0.3; test -e {path}; s=$?; rm -f {path}; exit $s")).await;
    assert_eq!(output.status, 1, "a broken source must not look like the end of the data");
}

async fn dialled(session: &Shared) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let echo = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    });
    let mut stream = session.dial("127.0.0.1", port).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, b"ping");
    echo.await.unwrap();
    let Err(error) = session.dial("127.0.0.1", port).await else { panic!("nothing listens there any more") };
    assert!(error.to_string().contains(&port.to_string()), "{error}");
}
