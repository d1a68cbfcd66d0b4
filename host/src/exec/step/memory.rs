//! What a step leaves on its node for later runs: the ledger's entries, and marks of watchers that have yet to run.

use std::collections::BTreeSet;

use super::Part;
use crate::event::Event;
use crate::exec::engine::lock;
use crate::exec::op::{self, Work};
use crate::exec::{enroll, prelude};
use crate::node::{NodeId, Role};
use crate::op::{Action, LedgerEntry, OpError, OpId, Recorded, Venue};
use crate::plan::pending;
use crate::transport::Script;

impl Part {
    /// What stands in front of the op's effect: the fence, what the step is about to make, and who has to run afterwards.
    pub(super) fn prelude(&self, op: &Recorded) -> String {
        let mut parts = vec![self.engine.fence.clone()];
        if let Venue::Node(node) = self.step.venue {
            // Only what changes the node carries the prelude.
            let carries = matches!(&op.action, Action::Node(node_op) if node_op.kind() != "wait-for");
            let first = carries && !std::mem::replace(&mut lock(&self.step.state).intended, true);
            let book = self.engine.ledgers.get(&node).filter(|_| first);
            let snapshot = book.and_then(|book| book.intend(self.entries(|id| self.is_pending(id))));
            parts.extend(snapshot.as_ref().map(prelude::ledger));
            let stage = self.stage();
            let watchers = stage.ops.iter().filter(|other| {
                let here =
                    other.venues().contains(&self.step.venue) || matches!(other.action, Action::Cluster(_));
                other.modifiers.on_change.contains(&op.id) && here
            });
            parts.push(prelude::mark(
                &watchers.map(|watcher| pending::marker(stage, watcher)).collect::<Vec<_>>(),
            ));
        }
        prelude::join(&parts)
    }

    /// Before an op that runs no script on a node: leaves the marks of its watchers on the nodes where they belong.
    pub(super) async fn mark_elsewhere(&self, op: &Recorded) -> Result<(), OpError> {
        let stage = self.stage();
        if let (Action::NodeApi(_), Some(member)) = (&op.action, self.engine.member(self.step.venue))
            && stage.ops.iter().any(|other| other.modifiers.on_change.contains(&op.id))
        {
            let marks = Script::new(self.prelude(op));
            return enroll::run(member, marks, "cannot note what has to follow").await;
        }
        if self.step.venue != Venue::Cluster {
            return Ok(());
        }
        for watcher in stage.ops.iter().filter(|other| other.modifiers.on_change.contains(&op.id)) {
            let marks = prelude::mark(&[pending::marker(stage, watcher)]);
            let text = prelude::join(&[self.engine.fence.clone(), marks]);
            for node in self.homes(watcher) {
                if let Some(member) = self.engine.job.members.get(&node) {
                    enroll::run(member, Script::new(text.clone()), "cannot note what has to follow").await?;
                }
            }
        }
        Ok(())
    }

    /// The nodes that keep a watcher's mark when a node itself does not.
    fn homes(&self, watcher: &Recorded) -> Vec<NodeId> {
        if !watcher.nodes.is_empty() {
            return watcher.nodes.clone();
        }
        self.engine.job.nodes.iter().filter(|node| node.is(Role::ControlPlane)).map(|node| node.id).collect()
    }

    /// Takes back the marks of a watcher that ran. Those on its own node go with the end of the step.
    pub(super) async fn note_watcher_done(&self, op: &Recorded) {
        if op.modifiers.on_change.is_empty() {
            return;
        }
        let stage = self.stage();
        let name = pending::marker(stage, op);
        if let Venue::Node(_) = self.step.venue {
            lock(&self.step.state).unmark.push(name);
            return;
        }
        let watched = stage.ops.iter().filter(|other| op.modifiers.on_change.contains(&other.id));
        let mut homes: BTreeSet<NodeId> = watched.flat_map(|other| other.nodes.iter().copied()).collect();
        homes.extend(self.homes(op));
        homes.extend(
            self.engine
                .job
                .leftovers
                .markers
                .iter()
                .filter(|(_, marks)| marks.contains(&name))
                .map(|(id, _)| *id),
        );
        let text = prelude::join(&[self.engine.fence.clone(), prelude::unmark(&[name])]);
        let members = homes.iter().filter_map(|node| self.engine.job.members.get(node));
        // A mark that stays makes the op run once more: harmless.
        let removed =
            members.map(|member| enroll::run(member, Script::new(text.clone()), "cannot remove a mark"));
        futures_util::future::join_all(removed).await;
    }

    /// Ends the step on its node: ledger and marks in one round trip.
    pub(super) async fn settle_node(&self, made: Vec<LedgerEntry>, gone: &[LedgerEntry], unmark: &[String]) {
        let Venue::Node(node) = self.step.venue else { return };
        let (Some(book), Some(member)) = (self.engine.ledgers.get(&node), self.engine.job.members.get(&node))
        else {
            return;
        };
        let completed = book.complete(self.entries(|id| !self.is_pending(id)));
        let confirmed = book.confirm(made).or(completed);
        // Each snapshot is the whole ledger: the last one holds what the others do.
        let snapshot = book.forget(gone).or(confirmed);
        if snapshot.is_none() && unmark.is_empty() {
            return;
        }
        let text = prelude::join(&[
            self.engine.fence.clone(),
            snapshot.as_ref().map(prelude::ledger).unwrap_or_default(),
            prelude::unmark(unmark),
        ]);
        // When this is lost, the intents are still there, and marks make their op run once more.
        let ended = enroll::run(member, Script::new(text), "cannot write the ledger").await;
        if let Err(error) = ended {
            let (stage, node) = self.engine.names(self.stage(), self.step.venue);
            let text = format!("the ledger is not complete: {}", error.message);
            self.engine.job.events.emit(Event::StepLog { stage, node, text });
        }
    }

    /// What ops of this step leave behind on the node.
    pub(super) fn entries(&self, wanted: impl Fn(OpId) -> bool) -> Vec<LedgerEntry> {
        let Some(member) = self.engine.member(self.step.venue) else { return Vec::new() };
        let ops = self.stage().ops.iter().filter(|op| wanted(op.id) && op.nodes.contains(&member.node.id));
        ops.flat_map(|op| match &op.action {
            Action::Node(node_op) => {
                let work = Work { stage: self.stage(), op, venue: self.step.venue, prelude: "" };
                node_op.ledger(op::context(work, member))
            }
            Action::NodeApi(_) | Action::Cluster(_) | Action::Custom { .. } => Vec::new(),
        })
        .collect()
    }
}
