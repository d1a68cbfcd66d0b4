//! Nodes for tests: no process, no network, thousands of them at once. They answer as scripted and remember what ran.
//!
//! ```ignore
//! let node = FakeNode::new();
//! node.on("systemctl is-active", output(3, "inactive\n"));
//! node.fail_call(2, TransportError::OutcomeUnknown("cut".into()));
//! let session: Arc<dyn Session> = node.session();
//! // … code under test …
//! assert!(node.texts()[0].contains("systemctl"));
//! ```
//! Fragments of a [`super::batch`] are seen one by one, as [`Way::Probe`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{Connector, Output, Script, Session, Stream, TransportError};
use crate::node::{Node, NodeId};

/// How something ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// [`Session::run`].
    Run,
    /// A fragment of a batch.
    Probe,
    /// [`Session::run_aside`].
    Aside,
    /// [`Session::feed`].
    Feed,
    /// [`Session::fetch`].
    Fetch,
}

/// Something that ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// How.
    pub way: Way,
    /// The script.
    pub text: String,
    /// Its input.
    pub stdin: Vec<u8>,
}

/// What happens with scripts that no rule knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Otherwise {
    /// Exit status 0, no output.
    Succeed,
    /// Exit status 127 and the script on standard error.
    Refuse,
    /// It runs for real in `/bin/sh` of this machine, as the user of the test. Deadlines apply.
    Shell,
}

type Rule = Box<dyn Fn(&Ran) -> Option<Result<Output, TransportError>> + Send + Sync>;
type Dial = Box<dyn Fn(&str, u16) -> Result<Box<dyn Stream>, TransportError> + Send + Sync>;

/// A scripted node. Clones are the same node.
#[derive(Clone)]
pub struct FakeNode(Arc<Inner>);

struct Inner {
    rules: Mutex<VecDeque<Rule>>,
    otherwise: Mutex<Otherwise>,
    ran: Mutex<Vec<Ran>>,
    calls: Mutex<usize>,
    failures: Mutex<BTreeMap<usize, TransportError>>,
    unreachable: Mutex<Option<TransportError>>,
    delay: Mutex<Duration>,
    dial: Mutex<Option<Dial>>,
}

/// An answer: exit status and standard output.
pub fn output(status: i32, stdout: impl Into<String>) -> Output {
    Output { status, stdout: stdout.into().into(), ..Output::default() }
}

/// An answer of a failed command: exit status and standard error.
pub fn failure(status: i32, stderr: impl Into<String>) -> Output {
    Output { status, stderr: stderr.into().into(), ..Output::default() }
}

impl Default for FakeNode {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeNode {
    /// A node where everything succeeds and says nothing.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            rules: Mutex::default(),
            otherwise: Mutex::new(Otherwise::Succeed),
            ran: Mutex::default(),
            calls: Mutex::default(),
            failures: Mutex::default(),
            unreachable: Mutex::default(),
            delay: Mutex::default(),
            dial: Mutex::default(),
        }))
    }

    /// Answers scripts that contain the text. The newest rule that fits wins.
    pub fn on(&self, needle: impl Into<String>, answer: Output) -> &Self {
        let needle = needle.into();
        self.answer(move |ran| ran.text.contains(&needle).then(|| Ok(answer.clone())))
    }

    /// Answers what the function has an answer for. It may keep state, and so model a node that changes.
    pub fn answer(
        &self,
        rule: impl Fn(&Ran) -> Option<Result<Output, TransportError>> + Send + Sync + 'static,
    ) -> &Self {
        lock(&self.0.rules).push_front(Box::new(rule));
        self
    }

    /// What happens with the rest.
    pub fn otherwise(&self, otherwise: Otherwise) -> &Self {
        *lock(&self.0.otherwise) = otherwise;
        self
    }

    /// Makes the n-th call from the beginning (1 is the first; a batch is one call) end in an error; later ones work again.
    pub fn fail_call(&self, number: usize, error: TransportError) -> &Self {
        lock(&self.0.failures).insert(number, error);
        self
    }

    /// Makes connecting fail, or work again.
    pub fn set_unreachable(&self, error: Option<TransportError>) -> &Self {
        *lock(&self.0.unreachable) = error;
        self
    }

    /// Every call takes this long; on a paused clock it costs nothing.
    pub fn set_delay(&self, delay: Duration) -> &Self {
        *lock(&self.0.delay) = delay;
        self
    }

    /// What [`Session::dial`] connects to.
    pub fn on_dial(
        &self,
        dial: impl Fn(&str, u16) -> Result<Box<dyn Stream>, TransportError> + Send + Sync + 'static,
    ) -> &Self {
        *lock(&self.0.dial) = Some(Box::new(dial));
        self
    }

    /// Everything that ran so far.
    pub fn ran(&self) -> Vec<Ran> {
        lock(&self.0.ran).clone()
    }

    /// The texts of what ran so far.
    pub fn texts(&self) -> Vec<String> {
        lock(&self.0.ran).iter().map(|ran| ran.text.clone()).collect()
    }

    /// Calls so far; a batch is one.
    pub fn calls(&self) -> usize {
        *lock(&self.0.calls)
    }

    /// Forgets what ran, not the rules.
    pub fn forget(&self) {
        lock(&self.0.ran).clear();
    }

    /// As a session.
    pub fn session(&self) -> Arc<dyn Session> {
        Arc::new(self.clone())
    }

    async fn call(&self, way: Way, script: Script, stdin: Vec<u8>) -> Result<Output, TransportError> {
        let number = {
            let mut calls = lock(&self.0.calls);
            *calls += 1;
            *calls
        };
        let delay = *lock(&self.0.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let broken = lock(&self.0.failures).remove(&number);
        let answer = match parse_batch(&script.text) {
            Some((nonce, fragments)) => {
                let mut whole = Output::default();
                let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
                for (number, text) in fragments.into_iter().enumerate() {
                    let part =
                        self.one(Ran { way: Way::Probe, text, stdin: Vec::new() }, script.timeout).await?;
                    stdout.extend_from_slice(&part.stdout);
                    stdout.extend_from_slice(format!("\x01{nonce}:{number}:{}\n", part.status).as_bytes());
                    stderr.extend_from_slice(&part.stderr);
                    stderr.extend_from_slice(format!("\x01{nonce}:{number}:\n").as_bytes());
                }
                whole.stdout = stdout.into();
                whole.stderr = stderr.into();
                whole
            }
            None => self.one(Ran { way, text: script.text, stdin }, script.timeout).await?,
        };
        if let Some(lines) = &script.lines {
            for line in answer.text().lines() {
                let _ = lines.send(line.to_owned());
            }
        }
        broken.map_or(Ok(answer), Err)
    }

    async fn one(&self, ran: Ran, timeout: Option<Duration>) -> Result<Output, TransportError> {
        lock(&self.0.ran).push(ran.clone());
        let answer = lock(&self.0.rules).iter().find_map(|rule| rule(&ran));
        if let Some(answer) = answer {
            return answer;
        }
        let otherwise = *lock(&self.0.otherwise);
        match otherwise {
            Otherwise::Succeed => Ok(Output::default()),
            Otherwise::Refuse => Ok(failure(127, format!("no rule for: {}\n", ran.text))),
            Otherwise::Shell => real(&ran, timeout.unwrap_or(super::DEFAULT_TIMEOUT)).await,
        }
    }
}

#[async_trait]
impl Session for FakeNode {
    async fn run(&self, script: Script) -> Result<Output, TransportError> {
        let stdin = script.stdin.as_ref().map(|stdin| stdin.bytes().to_vec()).unwrap_or_default();
        self.call(Way::Run, script, stdin).await
    }

    async fn run_aside(&self, script: Script) -> Result<Output, TransportError> {
        let stdin = script.stdin.as_ref().map(|stdin| stdin.bytes().to_vec()).unwrap_or_default();
        self.call(Way::Aside, script, stdin).await
    }

    async fn feed(
        &self,
        script: Script,
        source: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<Output, TransportError> {
        let mut stdin = Vec::new();
        source.read_to_end(&mut stdin).await.map_err(|error| TransportError::Other(error.to_string()))?;
        self.call(Way::Feed, script, stdin).await
    }

    async fn fetch(
        &self,
        script: Script,
        sink: &mut (dyn AsyncWrite + Send + Unpin),
    ) -> Result<Output, TransportError> {
        let output = self.call(Way::Fetch, script, Vec::new()).await?;
        let written = sink.write_all(&output.stdout).await;
        written.map_err(|error| TransportError::Other(error.to_string()))?;
        Ok(Output { stdout: Default::default(), ..output })
    }

    async fn dial(&self, host: &str, port: u16) -> Result<Box<dyn Stream>, TransportError> {
        match &*lock(&self.0.dial) {
            Some(dial) => dial(host, port),
            None => Err(TransportError::Other(format!("nothing listens on {host}:{port}"))),
        }
    }

    async fn close(&self) {}
}

/// Connects to fake nodes by their id.
#[derive(Clone, Default)]
pub struct FakeConnector(Arc<Mutex<BTreeMap<NodeId, FakeNode>>>);

impl FakeConnector {
    /// No nodes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The node with this id, made when it is not there.
    pub fn node(&self, id: NodeId) -> FakeNode {
        lock(&self.0).entry(id).or_default().clone()
    }
}

#[async_trait]
impl Connector for FakeConnector {
    async fn connect(&self, node: &Node) -> Result<Arc<dyn Session>, TransportError> {
        let fake = self.node(node.id);
        let error = lock(&fake.0.unreachable).clone();
        error.map_or_else(|| Ok(fake.session()), Err)
    }
}

async fn real(ran: &Ran, timeout: Duration) -> Result<Output, TransportError> {
    use tokio::io::AsyncWriteExt as _;
    let failed = |error: std::io::Error| TransportError::Other(error.to_string());
    let mut child = tokio::process::Command::new("/bin/sh")
        .args(["-c", &ran.text])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let input = child.stdin.take();
    let write = async {
        if let Some(mut input) = input {
            let _ = input.write_all(&ran.stdin).await;
        }
    };
    let both = async { tokio::join!(write, child.wait_with_output()).1 };
    let done = tokio::time::timeout(timeout, both)
        .await
        .map_err(|_| TransportError::Timeout(timeout))?
        .map_err(failed)?;
    Ok(Output {
        status: done.status.code().unwrap_or(-1),
        stdout: done.stdout.into(),
        stderr: done.stderr.into(),
        truncated: false,
    })
}

/// The nonce and the fragments of a script that [`super::batch`] made.
fn parse_batch(text: &str) -> Option<(String, Vec<String>)> {
    let (mut rest, mut fragments, mut found) = (text, Vec::new(), String::new());
    while !rest.is_empty() {
        let (fragment, after) = unquote(rest.strip_prefix("(eval ")?)?;
        fragments.push(fragment);
        let line = after.strip_prefix(")</dev/null;s=$?;printf '\\001")?;
        found = line.split_once(':')?.0.to_owned();
        rest = line.split_once('\n')?.1;
    }
    (!fragments.is_empty()).then_some((found, fragments))
}

/// Takes back [`super::quote::quote`]: the word and what follows it.
fn unquote(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let end = text.find(')')?;
        return Some((text[..end].to_owned(), &text[end..]));
    };
    let mut word = String::new();
    loop {
        let (part, after) = rest.split_once('\'')?;
        word.push_str(part);
        match after.strip_prefix("\\''") {
            Some(more) => {
                word.push('\'');
                rest = more;
            }
            None => return Some((word, after)),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::batch;

    #[tokio::test]
    async fn a_batch_is_answered_fragment_by_fragment() {
        let node = FakeNode::new();
        node.on("it's", output(4, "four")).on("cat", output(0, "it\x01\n"));
        let fragments = ["cat /etc/os-release", "echo 'it'\\''s'", "plain"].map(str::to_owned);
        let outputs = batch::run(&node, &fragments).await.unwrap();
        assert_eq!(outputs[0].text(), "it\x01\n");
        assert_eq!((outputs[1].status, outputs[1].text().as_str()), (0, ""), "quotes are kept as written");
        assert_eq!(outputs[2], Output::default());
        assert_eq!(node.texts(), fragments);
        assert!(node.ran().iter().all(|ran| ran.way == Way::Probe));
        assert_eq!(node.calls(), 1);
    }

    #[tokio::test]
    async fn a_call_can_fail_once_after_it_took_effect() {
        let node = FakeNode::new();
        node.fail_call(2, TransportError::OutcomeUnknown("cut".into()));
        assert!(node.run(Script::new("one")).await.is_ok());
        assert!(matches!(node.run(Script::new("two")).await, Err(TransportError::OutcomeUnknown(_))));
        assert!(node.run_aside(Script::new("three")).await.is_ok());
        assert_eq!(node.texts(), ["one", "two", "three"]);
    }

    #[tokio::test]
    async fn the_rest_can_run_for_real() {
        let node = FakeNode::new();
        node.otherwise(Otherwise::Shell).on("date", output(0, "never"));
        let outputs = batch::run(&node, &["echo $((6*7)); exit 3".into(), "date".into()]).await.unwrap();
        assert_eq!((outputs[0].status, outputs[0].text().as_str()), (3, "42\n"));
        assert_eq!(outputs[1].text(), "never");
    }

    #[tokio::test]
    async fn ten_thousand_nodes_cost_little() {
        let connector = FakeConnector::new();
        let sessions: Vec<_> = (0..10_000).map(|id| connector.node(NodeId(id)).session()).collect();
        let calls = sessions.iter().map(|session| session.run(Script::new("true")));
        assert!(futures_util::future::join_all(calls).await.iter().all(Result::is_ok));
    }
}
