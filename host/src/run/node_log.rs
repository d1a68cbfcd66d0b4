//! The text log of each node: what ran there, when it began and ended, what it printed. For people with `less`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::event::{Event, Outcome, Stamped};

/// The log of what happens once for the cluster.
pub const CLUSTER_LOG: &str = "cluster";

/// Open log files by node.
#[derive(Debug)]
pub struct NodeLogs {
    folder: PathBuf,
    files: BTreeMap<String, File>,
}

impl NodeLogs {
    /// Logs in this folder, which exists.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, files: BTreeMap::new() }
    }

    /// Writes what the event says about a node.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&mut self, stamped: &Stamped) -> io::Result<()> {
        let Some((node, text)) = line(stamped) else { return Ok(()) };
        self.file(node)?.write_all(text.as_bytes())
    }

    fn file(&mut self, node: &str) -> io::Result<&mut File> {
        // A node's name is a checked DNS name; this keeps a mistake elsewhere from becoming a path.
        let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        if node.is_empty() || node.starts_with('.') || !node.bytes().all(safe) {
            return Err(io::Error::other("a node's name is not fit for a file name"));
        }
        if !self.files.contains_key(node) {
            let path = self.folder.join(format!("{node}.log"));
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            self.files.insert(node.to_owned(), file);
        }
        self.files.get_mut(node).ok_or_else(|| io::Error::other("log file"))
    }
}

/// The node and the line for it; none for what concerns no node.
fn line(stamped: &Stamped) -> Option<(&str, String)> {
    let (stage, node, text) = match &stamped.event {
        Event::OpStarted { stage, node, op, summary } => (stage, node, format!("start {op}: {summary}")),
        Event::OpFinished { stage, node, op, outcome, seconds } => {
            (stage, node, format!("end   {op}: {} in {seconds:.1}s", word(*outcome)))
        }
        Event::StepWaiting { stage, node, waiting_for, reason } => {
            (stage, node, format!("wait  {waiting_for}: {reason}"))
        }
        Event::StepLog { stage, node, text } => (stage, node, format!("| {text}")),
        Event::StepFinished { stage, node, outcome, seconds } => {
            (stage, node, format!("step {} in {seconds:.1}s", word(*outcome)))
        }
        Event::Diagnostic { code, node: node @ Some(_), stage, message, .. } => {
            return Some(compose(
                stamped,
                stage.as_deref().unwrap_or("-"),
                node,
                &format!("{code}: {message}"),
            ));
        }
        _ => return None,
    };
    Some(compose(stamped, stage, node, &text))
}

fn compose<'a>(stamped: &Stamped, stage: &str, node: &'a Option<String>, text: &str) -> (&'a str, String) {
    let time = stamped.time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
    // One event is one line, whatever a command printed.
    let text = text.replace(['\n', '\r'], " ");
    (node.as_deref().unwrap_or(CLUSTER_LOG), format!("{time} [{stage}] {text}\n"))
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Changed => "changed",
        Outcome::Unchanged => "unchanged",
        Outcome::Failed => "failed",
        Outcome::NotStarted => "not started",
    }
}

/// The number of the line where an op failed, for `path:line`.
pub fn line_of_failure(path: &Path, stage: &str, op: &str) -> Option<usize> {
    let text = String::from_utf8_lossy(&std::fs::read(path).ok()?).into_owned();
    let needle = format!("[{stage}] end   {op}: failed");
    text.lines().enumerate().filter(|(_, line)| line.contains(&needle)).last().map(|(index, _)| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(event: Event) -> Stamped {
        Stamped { time: "2026-08-21T14:12:03.250Z".parse().unwrap(), event }
    }

    #[test]
    fn each_node_gets_its_lines_and_the_failed_op_is_found_again() {
        let root = tempfile::tempdir().unwrap();
        let mut logs = NodeLogs::new(root.path().to_owned());
        let (stage, node, op) =
            ("etcd".to_owned(), Some("cp1".to_owned()), "service:etcd.service".to_owned());
        let summary = "start etcd.service".to_owned();
        logs.write(&at(Event::OpStarted {
            stage: stage.clone(),
            node: node.clone(),
            op: op.clone(),
            summary,
        }))
        .unwrap();
        logs.write(&at(Event::StepLog { stage: stage.clone(), node: node.clone(), text: "a\nb".into() }))
            .unwrap();
        let outcome = Outcome::Failed;
        logs.write(&at(Event::OpFinished {
            stage: stage.clone(),
            node,
            op: op.clone(),
            outcome,
            seconds: 3.0,
        }))
        .unwrap();
        logs.write(&at(Event::StepLog { stage: stage.clone(), node: None, text: "of the cluster".into() }))
            .unwrap();
        insta::assert_snapshot!(std::fs::read_to_string(root.path().join("cp1.log")).unwrap(), @r"
        2026-08-21T14:12:03.250Z [etcd] start service:etcd.service: start etcd.service
        2026-08-21T14:12:03.250Z [etcd] | a b
        2026-08-21T14:12:03.250Z [etcd] end   service:etcd.service: failed in 3.0s
        ");
        assert_eq!(line_of_failure(&root.path().join("cp1.log"), &stage, &op), Some(3));
        assert!(root.path().join("cluster.log").exists());
    }

    #[test]
    fn a_name_that_is_a_path_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let mut logs = NodeLogs::new(root.path().to_owned());
        let event = Event::StepLog { stage: "x".into(), node: Some("../evil".into()), text: String::new() };
        assert!(logs.write(&at(event)).is_err());
    }
}
