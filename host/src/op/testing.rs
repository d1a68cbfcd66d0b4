//! A machine for unit tests: scripts run in a real `/bin/sh` as root, in a mount namespace of their own where `/etc`,
//! `/var/lib` and `/usr/local/bin` are private. Needs root (or user namespaces) and util-linux.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWriteExt as _};

use crate::facts::Facts;
use crate::node::{Connection, Node, NodeId, Role};
use crate::op::{ApplyContext, Change, Modifiers, NodeContext, NodeOp, OpError, Verdict};
use crate::plugin::download::Downloads;
use crate::transport::{DEFAULT_TIMEOUT, Output, Script, Session, Stream, TransportError};

/// See the module.
pub struct Machine {
    holder: std::process::Child,
    flags: &'static [&'static str],
    node: Node,
    facts: Facts,
    /// Brings release files.
    pub downloads: Downloads,
    /// Put in front of everything that changes something.
    pub prelude: String,
    folder: TempDir,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

impl Machine {
    /// A machine that shares the network with the test.
    pub fn new() -> Self {
        Self::start(false)
    }

    /// A machine with a network of its own: `/proc/sys/net` is private.
    pub fn isolated() -> Self {
        Self::start(true)
    }

    fn start(isolated: bool) -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["etc", "lib", "bin", "cache"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        for name in ["passwd", "group"] {
            std::fs::copy(format!("/etc/{name}"), folder.path().join("etc").join(name)).unwrap();
        }
        let root =
            std::fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0).unwrap();
        let (create, flags): (&[&str], &'static [&'static str]) = match (root, isolated) {
            (true, false) => (&["-m"], &["-m"]),
            (true, true) => (&["-m", "-n"], &["-m", "-n"]),
            (false, false) => (&["-r", "-m"], &["-U", "--preserve-credentials", "-m"]),
            (false, true) => (&["-r", "-m", "-n"], &["-U", "--preserve-credentials", "-m", "-n"]),
        };
        let mounts = "mount --bind \"$1/etc\" /etc && mount --bind \"$1/lib\" /var/lib && mount --bind \"$1/bin\" /usr/local/bin && echo ready && exec sleep 600";
        let mut holder = std::process::Command::new("unshare")
            .args(create)
            .args(["--propagation", "private", "sh", "-c", mounts, "sh"])
            .arg(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "these tests need root or user namespaces");
        let node = Node {
            id: NodeId(0),
            name: "n1".into(),
            address: "10.0.0.1".parse().unwrap(),
            roles: vec![Role::Worker],
            labels: Default::default(),
            taints: Vec::new(),
            connection: Connection::Local,
        };
        let downloads = Downloads::new(folder.path().join("cache"), false);
        let facts = Facts(serde_json::json!({"arch": "amd64"}));
        Self { holder, flags, node, facts, downloads, prelude: String::new(), folder }
    }

    /// A folder of the test, at the same path inside and outside.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Where the test finds a path of the machine.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.holder.id()))
    }

    /// A file's text.
    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap()
    }

    /// Writes a file with mode 0644.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(path), content).unwrap();
        std::fs::set_permissions(self.path(path), std::fs::Permissions::from_mode(0o644)).unwrap();
    }

    /// Puts a command in front of all others of its name.
    pub fn fake(&self, name: &str, body: &str) {
        let path = self.folder.path().join("bin").join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs a command that must succeed; its output.
    pub async fn shell(&self, text: &str) -> String {
        let output = self.run(Script::new(text)).await.unwrap();
        assert!(output.ok(), "{text}: {output:?}");
        output.text()
    }

    /// Names of leftovers anywhere in the private folders.
    pub async fn leftovers(&self) -> String {
        self.shell("find /etc /var/lib /usr/local/bin -name '*.ksp-tmp*'").await
    }

    /// What an op sees.
    pub fn at<'a>(&'a self, modifiers: &'a Modifiers) -> NodeContext<'a> {
        NodeContext { node: &self.node, facts: &self.facts, stage: "stage", modifiers }
    }

    /// Runs the probe and judges it.
    pub async fn probe(&self, op: &dyn NodeOp, modifiers: &Modifiers) -> Result<Verdict, OpError> {
        let output = self.run(Script::new(op.probe(self.at(modifiers)))).await?;
        op.judge(self.at(modifiers), &output)
    }

    /// What would change; panics when nothing would.
    pub async fn change(&self, op: &dyn NodeOp, modifiers: &Modifiers) -> Change {
        match self.probe(op, modifiers).await.unwrap() {
            Verdict::Change(change) => change,
            other => panic!("{other:?}"),
        }
    }

    /// Makes it so.
    pub async fn apply(&self, op: &dyn NodeOp, modifiers: &Modifiers) -> Result<(), OpError> {
        self.apply_showing(op, modifiers).await.0
    }

    /// Makes it so; also the lines that it showed.
    pub async fn apply_showing(
        &self,
        op: &dyn NodeOp,
        modifiers: &Modifiers,
    ) -> (Result<(), OpError>, Vec<String>) {
        let (lines, mut shown) = tokio::sync::mpsc::unbounded_channel();
        let result = {
            let cx = ApplyContext {
                at: self.at(modifiers),
                session: self,
                prelude: &self.prelude,
                lines,
                downloads: &self.downloads,
            };
            op.apply(&cx).await
        };
        let mut all = Vec::new();
        while let Ok(line) = shown.try_recv() {
            all.push(line);
        }
        (result, all)
    }

    /// Something must change, is applied, and then nothing must change.
    pub async fn converge(&self, op: &dyn NodeOp, modifiers: &Modifiers) -> Change {
        let change = self.change(op, modifiers).await;
        self.apply(op, modifiers).await.unwrap();
        assert_eq!(self.probe(op, modifiers).await.unwrap(), Verdict::Satisfied);
        change
    }

    /// Takes back what the op left behind, through its ledger entries.
    pub async fn teardown(&self, op: &dyn NodeOp, modifiers: &Modifiers) {
        for entry in op.ledger(self.at(modifiers)) {
            let script = crate::op::teardown_script(&entry).unwrap();
            for _ in 0..2 {
                self.shell(&script).await;
            }
        }
    }

    async fn spawn(
        &self,
        script: Script,
        source: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<Output, TransportError> {
        let mut child = tokio::process::Command::new("nsenter")
            .args(["-t", &self.holder.id().to_string()])
            .args(self.flags)
            .args(["sh", "-c", &script.text])
            .env("PATH", "/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let feed = async {
            let _ = tokio::io::copy(source, &mut stdin).await;
            let _ = stdin.shutdown().await;
            drop(stdin);
        };
        let timeout = script.timeout.unwrap_or(DEFAULT_TIMEOUT) + Duration::from_secs(5);
        let both = async { tokio::join!(feed, child.wait_with_output()) };
        let (_, output) =
            tokio::time::timeout(timeout, both).await.map_err(|_| TransportError::Timeout(timeout))?;
        let output = output.unwrap();
        let Some(status) = output.status.code() else {
            return Err(TransportError::OutcomeUnknown("killed".into()));
        };
        if let Some(lines) = &script.lines {
            let text = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            text.lines().for_each(|line| drop(lines.send(line.to_owned())));
        }
        Ok(Output { status, stdout: output.stdout.into(), stderr: output.stderr.into(), truncated: false })
    }
}

#[async_trait]
impl Session for Machine {
    async fn run(&self, script: Script) -> Result<Output, TransportError> {
        let input = script.stdin.as_ref().map_or(Vec::new(), |stdin| stdin.bytes().to_vec());
        self.spawn(script, &mut input.as_slice()).await
    }

    async fn run_aside(&self, script: Script) -> Result<Output, TransportError> {
        self.run(script).await
    }

    async fn feed(
        &self,
        script: Script,
        source: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<Output, TransportError> {
        self.spawn(script, source).await
    }

    async fn fetch(
        &self,
        _script: Script,
        _sink: &mut (dyn tokio::io::AsyncWrite + Send + Unpin),
    ) -> Result<Output, TransportError> {
        Err(TransportError::Other("not in unit tests".into()))
    }

    async fn dial(&self, _host: &str, _port: u16) -> Result<Box<dyn Stream>, TransportError> {
        Err(TransportError::Other("not in unit tests".into()))
    }

    async fn close(&self) {}
}

/// What the server says instead of the file.
#[derive(Debug, Clone, Copy)]
pub enum Answer {
    /// A status line and perhaps headers.
    Status(&'static str),
    /// So many bytes of the file, then the connection ends.
    Cut(usize),
    /// The connection ends.
    Nothing,
}

/// A file server on the loopback interface, with whims.
pub struct Server {
    address: std::net::SocketAddr,
    seen: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
}

impl Server {
    /// Always gives these bytes.
    pub fn new(bytes: &[u8]) -> Self {
        Self::answering([], bytes)
    }

    /// Gives these answers first, one a request.
    pub fn answering(answers: impl IntoIterator<Item = Answer>, bytes: &[u8]) -> Self {
        use std::io::{Read as _, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen: std::sync::Arc<std::sync::Mutex<Vec<String>>> = Default::default();
        let (log, bytes) = (seen.clone(), bytes.to_vec());
        let mut answers = answers.into_iter().collect::<Vec<_>>().into_iter();
        // Ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = Vec::new();
                let mut buffer = [0; 4096];
                while !request.windows(4).any(|w| w == b"\r\n\r\n") {
                    match stream.read(&mut buffer) {
                        Ok(0) | Err(_) => break,
                        Ok(length) => request.extend_from_slice(&buffer[..length]),
                    }
                }
                let request = String::from_utf8_lossy(&request).into_owned();
                let from: usize = request
                    .lines()
                    .find_map(|line| {
                        line.to_lowercase().strip_prefix("range: bytes=")?.trim_end_matches('-').parse().ok()
                    })
                    .unwrap_or(0);
                log.lock().unwrap().push(request);
                let rest = &bytes[from.min(bytes.len())..];
                let head = if from > 0 {
                    format!(
                        "206 Partial Content\r\nContent-Range: bytes {from}-{}/{}",
                        bytes.len() - 1,
                        bytes.len()
                    )
                } else {
                    "200 OK".to_owned()
                };
                let head =
                    format!("HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", rest.len());
                let _ = match answers.next() {
                    Some(Answer::Status(status)) => stream.write_all(
                        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                            .as_bytes(),
                    ),
                    Some(Answer::Cut(length)) => {
                        stream.write_all(&[head.as_bytes(), &rest[..length]].concat())
                    }
                    Some(Answer::Nothing) => Ok(()),
                    None => stream.write_all(&[head.as_bytes(), rest].concat()),
                };
            }
        });
        Self { address, seen }
    }

    /// An address on it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// How often it was asked.
    pub fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// The last request.
    pub fn last(&self) -> String {
        self.seen.lock().unwrap().last().unwrap().clone()
    }
}

/// A release "tool 1.0" for amd64 that consists of these bytes.
pub fn release(url: &str, bytes: &[u8]) -> crate::plugin::download::Release {
    let source = crate::plugin::download::Source { url: url.into(), sha256: crate::op::sh::sha256(bytes) };
    let sources = [("amd64".to_owned(), source)].into();
    crate::plugin::download::Release { name: "tool".into(), version: "1.0".into(), sources }
}
