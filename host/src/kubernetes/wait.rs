//! Waiting until something in the cluster is as it should be: watches, a deadline, and a reason at every moment.

mod condition;
mod diagnose;

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use kube::api::{Api, DynamicObject, ListParams};
use kube::runtime::watcher::{self, Event};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use self::condition::{Condition, Subject};
use super::discovery::Kind;
use super::{Kubernetes, failure};
use crate::op::OpError;

/// How often pods are looked at for the cause of a delay, and how long a kind that is not served is not asked for.
const LOOK: Duration = Duration::from_secs(3);

/// For the question whether it holds now.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    subject: Subject,
    condition: Condition,
}

/// Where a wait stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It holds.
    Met,
    /// Why it does not hold yet.
    NotYet(String),
}

impl Wait {
    /// `object` is "kind/name" or "kind/*"; `condition` is "rollout", "exists", "deleted", "condition=<type>" or
    /// "condition=<type>=<status>". The namespace of objects that have none is not looked at.
    ///
    /// # Errors
    /// `ksp::kube::condition`: something else was written.
    pub fn new(object: &str, namespace: &str, condition: &str) -> Result<Self, OpError> {
        Ok(Self { subject: Subject::parse(object, namespace)?, condition: Condition::parse(condition)? })
    }

    /// Whether it holds now.
    ///
    /// # Errors
    /// The API cannot be asked.
    pub async fn check(&self, kubernetes: &Kubernetes) -> Result<Progress, OpError> {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let Some(kind) = kubernetes.kind_by_name(&self.subject.kind, deadline).await? else {
            return Ok(self.condition.judge(&self.subject, &[]));
        };
        let api = self.api(kubernetes, &kind);
        let params = self
            .subject
            .field()
            .map_or_else(ListParams::default, |field| ListParams::default().fields(&field));
        let list = || api.list(&params);
        let found = failure::retry(deadline, format!("cannot list {}", kind.resource.plural), list).await?;
        let values: Vec<Value> = found.items.into_iter().map(|object| with_kind(object, &kind)).collect();
        Ok(self.condition.judge(&self.subject, &values))
    }

    /// Waits until it holds; each new reason goes to `lines`.
    ///
    /// # Errors
    /// `ksp::kube::wait-timeout` at the deadline, or soon after another part of the run has failed, with the last reason and what the pods and their logs say.
    pub async fn run(
        &self,
        kubernetes: &Kubernetes,
        deadline: Instant,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        let started = Instant::now();
        let mut told = Told { lines, last: String::new() };
        let ended = tokio::select! {
            ended = tokio::time::timeout_at(deadline, self.watch(kubernetes, deadline, &mut told)) => ended.ok(),
            () = kubernetes.patience.end() => None,
        };
        match ended {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) if Instant::now() < deadline => Err(error),
            _ => Err(self.timed_out(kubernetes, started, told.last).await),
        }
    }

    async fn watch(
        &self,
        kubernetes: &Kubernetes,
        deadline: Instant,
        told: &mut Told<'_>,
    ) -> Result<(), OpError> {
        let kind = loop {
            if let Some(kind) = kubernetes.kind_by_name(&self.subject.kind, deadline).await? {
                break kind;
            }
            match self.condition.judge(&self.subject, &[]) {
                Progress::Met => return Ok(()),
                Progress::NotYet(_) => told.tell(format!("the API serves no {} yet", self.subject.kind)),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        };
        let config = self
            .subject
            .field()
            .map_or_else(watcher::Config::default, |field| watcher::Config::default().fields(&field));
        let mut events = pin!(watcher::watcher(self.api(kubernetes, &kind), config));
        let mut objects: BTreeMap<(Option<String>, Option<String>), Value> = BTreeMap::new();
        let mut complete = false;
        let mut look = tokio::time::interval(LOOK);
        look.tick().await;
        loop {
            let mut deeper = false;
            tokio::select! {
                event = events.next() => match event {
                    Some(Ok(Event::Init)) => { objects.clear(); complete = false; }
                    Some(Ok(Event::InitDone)) => complete = true,
                    Some(Ok(Event::Apply(object) | Event::InitApply(object))) => {
                        let key = (object.metadata.namespace.clone(), object.metadata.name.clone());
                        objects.insert(key, with_kind(object, &kind));
                    }
                    Some(Ok(Event::Delete(object))) => {
                        objects.remove(&(object.metadata.namespace, object.metadata.name));
                    }
                    Some(Err(error)) => {
                        told.tell(format!("the watch was interrupted: {}", innermost(&error)));
                        tokio::time::sleep(Duration::from_millis(500)).await;
                        continue;
                    }
                    // Watchers do not end.
                    None => return Ok(()),
                },
                _ = look.tick() => deeper = true,
            }
            if !complete {
                continue;
            }
            let values: Vec<Value> = objects.values().cloned().collect();
            match self.condition.judge(&self.subject, &values) {
                Progress::Met => return Ok(()),
                Progress::NotYet(reason) if deeper => {
                    let troubles = diagnose::troubles(kubernetes, &values).await;
                    told.tell(std::iter::once(reason).chain(troubles).collect::<Vec<_>>().join("; "));
                }
                Progress::NotYet(reason) if told.is_news(&reason) => told.tell(reason),
                Progress::NotYet(_) => {}
            }
        }
    }

    async fn timed_out(&self, kubernetes: &Kubernetes, started: Instant, last: String) -> OpError {
        let seconds = started.elapsed().as_secs();
        let reason = if last.is_empty() { "nothing was heard from the API".into() } else { last };
        let message = format!("{} {} within {seconds} s: {reason}", self.subject, self.condition.unmet());
        let mut error = OpError::new("ksp::kube::wait-timeout", message);
        error.retryable = true;
        let evidence = tokio::time::timeout(PROBE_TIMEOUT, self.evidence(kubernetes)).await;
        error.tail = evidence.unwrap_or_default();
        let namespace = if self.subject.namespace.is_empty() {
            String::new()
        } else {
            format!(" -n {}", self.subject.namespace)
        };
        error.hint(
            format!(
                "kubectl{namespace} describe {} {}",
                self.subject.kind,
                self.subject.name.as_deref().unwrap_or("")
            )
            .trim_end(),
        )
    }

    async fn evidence(&self, kubernetes: &Kubernetes) -> Vec<String> {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let Ok(Some(kind)) = kubernetes.kind_by_name(&self.subject.kind, deadline).await else {
            return Vec::new();
        };
        let api = self.api(kubernetes, &kind);
        let params = self
            .subject
            .field()
            .map_or_else(ListParams::default, |field| ListParams::default().fields(&field));
        let Ok(found) = api.list(&params).await else { return Vec::new() };
        let values: Vec<Value> = found.items.into_iter().map(|object| with_kind(object, &kind)).collect();
        diagnose::evidence(kubernetes, &values).await
    }

    fn api(&self, kubernetes: &Kubernetes, kind: &Kind) -> Api<DynamicObject> {
        let client = kubernetes.client.clone();
        match kind.namespaced {
            true if self.subject.namespace.is_empty() => {
                Api::namespaced_with(client, "default", &kind.resource)
            }
            true => Api::namespaced_with(client, &self.subject.namespace, &kind.resource),
            false => Api::all_with(client, &kind.resource),
        }
    }
}

/// Objects of a list do not say of what kind they are.
fn with_kind(object: DynamicObject, kind: &Kind) -> Value {
    let mut value = json!(object);
    value["kind"] = json!(kind.resource.kind);
    value
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// The last reason, told once.
struct Told<'a> {
    lines: &'a UnboundedSender<String>,
    last: String,
}

impl Told<'_> {
    /// Not when it is only the beginning of what was told: the pods' troubles are found a moment later again.
    fn is_news(&self, reason: &str) -> bool {
        !self.last.starts_with(reason)
    }

    fn tell(&mut self, reason: String) {
        if self.last != reason {
            let _ = self.lines.send(reason.clone());
            self.last = reason;
        }
    }
}
