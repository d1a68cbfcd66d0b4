//! What an op is given: a node to look at, and a node to change. Everything that changes a node goes through here, behind the
//! prelude that refuses when the lease was lost.

use tokio::io::AsyncRead;

use crate::facts::Facts;
use crate::node::Node;
use crate::op::{Modifiers, OpError};
use crate::transport::{Output, Script, Session};

/// What an op looks at on one node.
#[derive(Debug, Clone, Copy)]
pub struct NodeContext<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its facts.
    pub facts: &'a Facts,
    /// The stage the op belongs to: names files of its own.
    pub stage: &'a str,
    /// What the modifiers said.
    pub modifiers: &'a Modifiers,
}

/// What an op works with when it takes effect on one node.
pub struct ApplyContext<'a> {
    /// The node, its facts, the modifiers.
    pub at: NodeContext<'a>,
    /// The connection.
    pub session: &'a dyn Session,
    /// Shell text in front of everything that changes something: refuses when the lease was lost, records intent.
    pub prelude: &'a str,
    /// Where lines of output go.
    pub lines: tokio::sync::mpsc::UnboundedSender<String>,
    /// Brings release files when a node cannot fetch them itself.
    pub downloads: &'a crate::plugin::download::Downloads,
}

impl ApplyContext<'_> {
    /// Runs something that changes the node.
    ///
    /// # Errors
    /// Of the transport, or `ksp::lease::lost` when another run has taken over.
    pub async fn mutate(&self, mut script: Script) -> Result<Output, OpError> {
        script.text = format!("{}\n{}", self.prelude, script.text);
        script.timeout = script.timeout.or(self.at.modifiers.timeout);
        let output = self.session.run(script).await?;
        refuse_when_fenced(output)
    }

    /// As [`Self::mutate`], on a channel of its own: for what takes long.
    ///
    /// # Errors
    /// As [`Self::mutate`].
    pub async fn mutate_aside(&self, mut script: Script) -> Result<Output, OpError> {
        script.text = format!("{}\n{}", self.prelude, script.text);
        script.timeout = script.timeout.or(self.at.modifiers.timeout);
        script.lines = script.lines.or_else(|| Some(self.lines.clone()));
        let output = self.session.run_aside(script).await?;
        refuse_when_fenced(output)
    }

    /// As [`Self::mutate_aside`], with bulk data as standard input.
    ///
    /// # Errors
    /// As [`Self::mutate`].
    pub async fn mutate_feed(
        &self,
        mut script: Script,
        source: &mut (dyn AsyncRead + Send + Unpin),
    ) -> Result<Output, OpError> {
        script.text = format!("{}\n{}", self.prelude, script.text);
        script.timeout = script.timeout.or(self.at.modifiers.timeout);
        let output = self.session.feed(script, source).await?;
        refuse_when_fenced(output)
    }

    /// Shows a line to people.
    pub fn say(&self, line: impl Into<String>) {
        // Nobody listens any more: nothing is lost.
        let _ = self.lines.send(line.into());
    }
}

/// Exit status of a script whose run has lost its lease.
pub const FENCED_STATUS: i32 = 97;

fn refuse_when_fenced(output: Output) -> Result<Output, OpError> {
    if output.status != FENCED_STATUS {
        return Ok(output);
    }
    let mut error =
        OpError::new("ksp::lease::lost", "another run has taken over this cluster; nothing was changed");
    error.tail = output.tail(3);
    Err(error.hint("look at it with `ksp status`, and start again when it has ended"))
}
