//! `plan.op`: what modifiers say. Whether an op knows a modifier, the op's code says.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::{check, millis};
use crate::op::{Action, Modifiers, OpId};
use crate::plugin::capability::Need;
use crate::runtime::bindings::ksp::plugin::plan::HostOp;
use crate::runtime::convert::clean;
use crate::runtime::handles::{Blob, OpHandle, SecretHandle};
use crate::runtime::state::State;
use crate::transport::Stdin;

/// Further attempts.
const MOST_RETRIES: u32 = 100;

impl State {
    /// Changes the modifiers of an op.
    fn modify(
        &mut self,
        op: &Resource<OpHandle>,
        wrong: Vec<String>,
        change: impl FnOnce(&mut Modifiers),
    ) -> Result<()> {
        self.require_plan()?;
        let id = self.table.get(op)?.0;
        let key = clean(&self.draft.op(id)?.key(), 200);
        for text in wrong {
            self.draft.mistake(format!("{key}: {text}"));
        }
        change(&mut self.draft.op(id)?.modifiers);
        Ok(())
    }

    /// As [`Self::modify`] for a modifier that only some kinds of ops know.
    fn modify_kind(
        &mut self,
        op: &Resource<OpHandle>,
        modifier: &str,
        mut wrong: Vec<String>,
        change: impl FnOnce(&mut Modifiers),
    ) -> Result<()> {
        let id = self.table.get(op)?.0;
        let known = match &self.draft.op(id)?.action {
            Action::Node(op) => op.accepts().contains(&modifier),
            Action::NodeApi(_) | Action::Cluster(_) | Action::Custom { .. } => false,
        };
        if !known {
            wrong.push(format!("this kind of op has no `{modifier}`"));
        }
        self.modify(op, wrong, change)
    }

    fn other(&mut self, op: &Resource<OpHandle>, other: &Resource<OpHandle>) -> Result<(OpId, Vec<String>)> {
        let (own, other) = (self.table.get(op)?.0, self.table.get(other)?.0);
        let wrong = if own == other { vec!["it refers to itself".to_owned()] } else { Vec::new() };
        Ok((other, wrong))
    }
}

impl HostOp for State {
    fn summary(&mut self, op: Resource<OpHandle>, text: String) -> Result<()> {
        self.modify(&op, Vec::new(), |modifiers| modifiers.summary = Some(clean(&text, 500)))
    }

    fn after(&mut self, op: Resource<OpHandle>, other: Resource<OpHandle>) -> Result<()> {
        let (other, wrong) = self.other(&op, &other)?;
        self.modify(&op, wrong, |modifiers| modifiers.after.push(other))
    }

    fn on_change(&mut self, op: Resource<OpHandle>, watched: Resource<OpHandle>) -> Result<()> {
        let (watched, wrong) = self.other(&op, &watched)?;
        self.modify(&op, wrong, |modifiers| modifiers.on_change.push(watched))
    }

    fn only_for(&mut self, op: Resource<OpHandle>, dependent: Resource<OpHandle>) -> Result<()> {
        let (dependent, wrong) = self.other(&op, &dependent)?;
        self.modify(&op, wrong, |modifiers| modifiers.only_for.push(dependent))
    }

    fn prepare(&mut self, op: Resource<OpHandle>) -> Result<()> {
        self.modify(&op, Vec::new(), |modifiers| modifiers.prepare = true)
    }

    fn provides(&mut self, op: Resource<OpHandle>, slot: String) -> Result<()> {
        let offered = self.stage.metadata.provides.iter().any(|offer| offer.slot == slot);
        let wrong = if offered {
            Vec::new()
        } else {
            vec![format!("the plugin's manifest does not provide slot {slot:?}")]
        };
        self.modify(&op, wrong, |modifiers| modifiers.provides.push(slot))
    }

    fn gate(&mut self, op: Resource<OpHandle>) -> Result<()> {
        self.modify(&op, Vec::new(), |modifiers| modifiers.gate = true)
    }

    fn mode(&mut self, op: Resource<OpHandle>, mode: u32) -> Result<()> {
        let wrong = if mode <= 0o7777 {
            Vec::new()
        } else {
            vec![format!("{mode:o} (octal) is not a set of permission bits")]
        };
        self.modify_kind(&op, "mode", wrong, |modifiers| modifiers.mode = Some(mode))
    }

    fn owner(&mut self, op: Resource<OpHandle>, user: String, group: String) -> Result<()> {
        let mut wrong = check::word("user", &user, "_.-");
        wrong.extend(check::word("group", &group, "_.-"));
        self.modify_kind(&op, "owner", wrong, |modifiers| modifiers.owner = Some((user, group)))
    }

    fn creates(&mut self, op: Resource<OpHandle>, path: String) -> Result<()> {
        let wrong = check::path(&path);
        self.modify_kind(&op, "creates", wrong, |modifiers| modifiers.creates = Some(path))
    }

    fn unless(&mut self, op: Resource<OpHandle>, argv: Vec<String>) -> Result<()> {
        let wrong = check::argv(&argv);
        self.grant_or_deny(&[Need::Exec]);
        self.modify_kind(&op, "unless", wrong, |modifiers| modifiers.unless = Some(argv))
    }

    fn env(&mut self, op: Resource<OpHandle>, name: String, value: String) -> Result<()> {
        let mut wrong = check::word("environment variable", &name, "_");
        wrong.extend(check::text("value", &value));
        self.modify_kind(&op, "env", wrong, |modifiers| modifiers.env.push((name, value)))
    }

    fn stdin(&mut self, op: Resource<OpHandle>, content: Resource<Blob>) -> Result<()> {
        let bytes = self.table.get(&content)?.bytes.clone();
        self.modify_kind(&op, "stdin", Vec::new(), |modifiers| modifiers.stdin = Some(Stdin::Plain(bytes)))
    }

    fn stdin_secret(&mut self, op: Resource<OpHandle>, content: Resource<SecretHandle>) -> Result<()> {
        let secret = self.table.get(&content)?.secret.clone();
        self.modify_kind(&op, "stdin", Vec::new(), |modifiers| modifiers.stdin = Some(Stdin::Secret(secret)))
    }

    fn verify(&mut self, op: Resource<OpHandle>, argv: Vec<String>, deadline_ms: u32) -> Result<()> {
        let mut wrong = check::argv(&argv);
        wrong.extend(check::duration("deadline", deadline_ms));
        self.grant_or_deny(&[Need::Exec]);
        self.modify(&op, wrong, |modifiers| modifiers.verify = Some((argv, millis(deadline_ms))))
    }

    fn timeout(&mut self, op: Resource<OpHandle>, ms: u32) -> Result<()> {
        let wrong = check::duration("timeout", ms);
        self.modify(&op, wrong, |modifiers| modifiers.timeout = Some(millis(ms)))
    }

    fn retry(&mut self, op: Resource<OpHandle>, times: u32, delay_ms: u32) -> Result<()> {
        let mut wrong = Vec::new();
        if times > MOST_RETRIES {
            wrong.push(format!("{times} retries are too many (at most {MOST_RETRIES})"));
        }
        if delay_ms > 0 {
            wrong.extend(check::duration("pause", delay_ms));
        }
        self.modify(&op, wrong, |modifiers| modifiers.retry = Some((times, millis(delay_ms))))
    }

    fn batch(&mut self, op: Resource<OpHandle>, n: u32) -> Result<()> {
        let wrong = if n == 0 { vec!["a batch of no nodes never ends".to_owned()] } else { Vec::new() };
        self.modify(&op, wrong, |modifiers| modifiers.batch = Some(n))
    }

    fn disruptive(&mut self, op: Resource<OpHandle>, reason: String) -> Result<()> {
        self.modify(&op, Vec::new(), |modifiers| modifiers.disruptive = Some(clean(&reason, 500)))
    }

    fn drop(&mut self, op: Resource<OpHandle>) -> Result<()> {
        self.table.delete(op)?;
        Ok(())
    }
}
