//! Sets of objects: applied server-side, remembered, pruned, removed.

use std::collections::BTreeSet;
use std::time::Duration;

use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, Preconditions};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::discovery::Kind;
use super::object::{Identity, Object, Rank};
use super::record::{SET_LABEL, SetName};
use super::wait::Wait;
use super::{FIELD_MANAGER, Kubernetes, LAST_QUESTION, diff, failure, record, side_by_side};
use crate::op::{Change, ChangeAction, OpError, Verdict};

/// How long an API may need to serve a kind whose definition was just applied.
const KIND_TIMEOUT: Duration = Duration::from_secs(30);

/// For all questions of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// Namespaces that the API server itself keeps.
const KEPT_NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// A named set of objects of one stage.
#[derive(Clone)]
pub struct ApplySet<'a> {
    kubernetes: &'a Kubernetes,
    name: SetName,
    /// Nothing of the objects but their names may be shown.
    quiet: bool,
}

/// How a declared object compares with the one that is there.
enum Standing {
    Same,
    Missing,
    Differs(Vec<String>),
}

impl<'a> ApplySet<'a> {
    /// A set of a stage. `quiet`: nothing of the objects but their names may be shown.
    pub fn new(kubernetes: &'a Kubernetes, stage: &str, set: &str, quiet: bool) -> Self {
        Self { kubernetes, name: SetName::new(stage, set), quiet }
    }

    /// Compares with the cluster, by dry runs: changes nothing.
    ///
    /// # Errors
    /// The API cannot be asked, or would refuse an object.
    pub async fn probe(&self, objects: &[Object]) -> Result<Verdict, OpError> {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let before = record::read(self.kubernetes, &self.name, deadline).await?;
        let questions = objects.iter().map(|object| self.compare(object, objects, deadline)).collect();
        let standings = side_by_side(questions).await?;
        let mut change = Change { action: ChangeAction::Modify, diff: Vec::new() };
        if before.is_none() && standings.iter().all(|(_, standing)| matches!(standing, Standing::Missing)) {
            change.action = ChangeAction::Create;
        }
        let declared: BTreeSet<Identity> = standings.iter().map(|(identity, _)| identity.clone()).collect();
        for (identity, standing) in standings {
            match standing {
                Standing::Same => {}
                Standing::Missing => change.diff.push(format!("+ {identity}")),
                Standing::Differs(lines) => {
                    change.diff.push(format!("  {identity}"));
                    change.diff.extend(lines);
                }
            }
        }
        let recorded: BTreeSet<Identity> = before.unwrap_or_default().into_iter().collect();
        change.diff.extend(recorded.difference(&declared).map(|gone| format!("- {gone}")));
        if recorded != declared && change.diff.is_empty() {
            change.diff.push("  the record of what was applied".into());
        }
        Ok(if change.diff.is_empty() { Verdict::Satisfied } else { Verdict::Change(change) })
    }

    /// Makes it so. Objects that are as declared are not written.
    ///
    /// # Errors
    /// The API refuses an object, or does not answer before the deadline.
    pub async fn apply(
        &self,
        objects: &[Object],
        deadline: Instant,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        let recorded = record::read(self.kubernetes, &self.name, deadline).await?;
        let before: BTreeSet<Identity> = recorded.iter().flatten().cloned().collect();
        let declared: BTreeSet<Identity> = self.declared(objects, deadline).await?.into_iter().collect();
        // Recorded before anything is created: an interrupted run leaves nothing that is not known.
        let union: Vec<Identity> = before.union(&declared).cloned().collect();
        if recorded.is_none() || union.len() != before.len() {
            record::write(self.kubernetes, &self.name, &union, deadline).await?;
        }
        let mut ranks: Vec<Rank> = objects.iter().map(|object| object.identity.rank()).collect();
        ranks.sort_unstable();
        ranks.dedup();
        for rank in ranks {
            let of_rank = objects.iter().filter(|object| object.identity.rank() == rank);
            side_by_side(of_rank.map(|object| self.apply_one(object, deadline, lines)).collect()).await?;
            if rank == Rank::Definition {
                self.established(objects, deadline, lines).await?;
            }
        }
        let gone: Vec<Identity> = before.difference(&declared).cloned().collect();
        if !gone.is_empty() {
            self.remove(&gone, deadline, lines, false).await?;
            record::write(self.kubernetes, &self.name, &Vec::from_iter(declared), deadline).await?;
        }
        Ok(())
    }

    /// What [`Self::delete`] would remove.
    ///
    /// # Errors
    /// The API cannot be asked.
    pub async fn probe_delete(&self) -> Result<Verdict, OpError> {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let Some(recorded) = record::read(self.kubernetes, &self.name, deadline).await? else {
            return Ok(Verdict::Satisfied);
        };
        let diff = recorded.iter().map(|identity| format!("- {identity}")).collect();
        Ok(Verdict::Change(Change { action: ChangeAction::Remove, diff }))
    }

    /// Removes all objects of the set and waits until they are gone.
    ///
    /// # Errors
    /// The API refuses, or something is still there at the deadline.
    pub async fn delete(&self, deadline: Instant, lines: &UnboundedSender<String>) -> Result<(), OpError> {
        let Some(recorded) = record::read(self.kubernetes, &self.name, deadline).await? else {
            return Ok(());
        };
        self.remove(&recorded, deadline, lines, true).await?;
        record::remove(self.kubernetes, &self.name, deadline).await
    }

    /// Identities with the namespaces that the API will put them in.
    async fn declared(&self, objects: &[Object], deadline: Instant) -> Result<Vec<Identity>, OpError> {
        let mut declared = Vec::with_capacity(objects.len());
        for object in objects {
            let kind = self.kubernetes.kind(&object.kind, deadline).await?;
            let namespaced = kind.map_or_else(|| guess_scope(objects, object), |kind| kind.namespaced);
            declared.push(place(&object.identity, namespaced)?);
        }
        Ok(declared)
    }

    async fn compare(
        &self,
        object: &Object,
        objects: &[Object],
        deadline: Instant,
    ) -> Result<(Identity, Standing), OpError> {
        let Some(kind) = self.kubernetes.kind(&object.kind, deadline).await? else {
            return Ok((place(&object.identity, guess_scope(objects, object))?, Standing::Missing));
        };
        let identity = place(&object.identity, kind.namespaced)?;
        let api = self.api(&identity, &kind);
        let get = || api.get_opt(&identity.name);
        let Some(live) = failure::retry(deadline, format!("cannot read {identity}"), get).await? else {
            return Ok((identity, Standing::Missing));
        };
        let planned = self.patch(&api, &identity, object, true, deadline).await?;
        let (live, planned) = (diff::comparable(json!(live)), diff::comparable(json!(planned)));
        let standing = match live == planned {
            true => Standing::Same,
            false if self.quiet => Standing::Differs(vec!["~   (sensitive)".into()]),
            false => Standing::Differs(diff::lines(&live, &planned)),
        };
        Ok((identity, standing))
    }

    async fn apply_one(
        &self,
        object: &Object,
        deadline: Instant,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        let kind = self.served(object, deadline).await?;
        let identity = place(&object.identity, kind.namespaced)?;
        self.patch(&self.api(&identity, &kind), &identity, object, false, deadline).await?;
        let _ = lines.send(format!("applied {identity}"));
        Ok(())
    }

    async fn patch(
        &self,
        api: &Api<DynamicObject>,
        identity: &Identity,
        object: &Object,
        dry_run: bool,
        deadline: Instant,
    ) -> Result<DynamicObject, OpError> {
        let body = self.body(object, identity)?;
        let mut params = PatchParams::apply(FIELD_MANAGER).force();
        params.dry_run = dry_run;
        let body = Patch::Apply(&body);
        let patch = || api.patch(&identity.name, &params, &body);
        let answer = failure::retry(deadline, format!("cannot apply {identity}"), patch).await;
        answer.map_err(|error| if self.quiet { hushed(error, identity) } else { error })
    }

    fn body(&self, object: &Object, identity: &Identity) -> Result<Value, OpError> {
        let mut body = object.value.clone();
        let metadata = body.get_mut("metadata").and_then(Value::as_object_mut);
        let Some(metadata) = metadata else { return Err(manifest_error(identity, "has no metadata")) };
        if let Some(namespace) = &identity.namespace {
            metadata.insert("namespace".into(), json!(namespace));
        }
        let labels = metadata.entry("labels").or_insert(Value::Null);
        if labels.is_null() {
            *labels = json!({});
        }
        let Some(labels) = labels.as_object_mut() else {
            return Err(manifest_error(identity, "has labels that are not a map"));
        };
        labels.insert(SET_LABEL.into(), json!(self.name.label()));
        Ok(body)
    }

    /// The kind, waiting a little for one whose definition is new.
    async fn served(&self, object: &Object, deadline: Instant) -> Result<Kind, OpError> {
        let patience = deadline.min(Instant::now() + KIND_TIMEOUT);
        loop {
            if let Some(kind) = self.kubernetes.kind(&object.kind, deadline).await? {
                return Ok(kind);
            }
            if Instant::now() + LAST_QUESTION >= patience {
                let (kind, version) = (&object.kind.kind, object.kind.api_version());
                let message =
                    format!("cannot apply {}: the API serves no {kind} in {version}", object.identity);
                return Err(OpError::new("ksp::kube::unknown-kind", message)
                    .hint("the stage that brings this kind must come earlier, or the name is misspelt"));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    async fn established(
        &self,
        objects: &[Object],
        deadline: Instant,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        for object in objects.iter().filter(|object| object.identity.rank() == Rank::Definition) {
            let name = format!("customresourcedefinition.apiextensions.k8s.io/{}", object.identity.name);
            let wait = Wait::new(&name, "", "condition=Established")?;
            wait.run(self.kubernetes, deadline, lines).await?;
        }
        self.kubernetes.forget_kinds().await;
        Ok(())
    }

    /// Removes what the set still owns; with `wait`, rank by rank until it is gone.
    async fn remove(
        &self,
        objects: &[Identity],
        deadline: Instant,
        lines: &UnboundedSender<String>,
        wait: bool,
    ) -> Result<(), OpError> {
        let mut ranks: Vec<u8> = objects.iter().map(Identity::delete_rank).collect();
        ranks.sort_unstable();
        ranks.dedup();
        for rank in ranks {
            let of_rank = objects.iter().filter(|identity| identity.delete_rank() == rank);
            side_by_side(of_rank.map(|identity| self.remove_one(identity, deadline, lines, wait)).collect())
                .await?;
        }
        self.kubernetes.forget_kinds().await;
        Ok(())
    }

    async fn remove_one(
        &self,
        identity: &Identity,
        deadline: Instant,
        lines: &UnboundedSender<String>,
        wait: bool,
    ) -> Result<(), OpError> {
        // A kind that is not served any more has no objects.
        let found = self.kubernetes.kind_of_group(&identity.group, &identity.kind, deadline).await?;
        let Some(kind) = found else { return Ok(()) };
        if identity.rank() == Rank::Namespace && KEPT_NAMESPACES.contains(&identity.name.as_str()) {
            return Ok(());
        }
        let api = self.api(identity, &kind);
        let get = || api.get_opt(&identity.name);
        let what = format!("cannot delete {identity}");
        let Some(live) = failure::retry(deadline, &what, get).await? else { return Ok(()) };
        if !record::owns(&self.name, &live) {
            let _ = lines.send(format!("left {identity}: it does not belong to this set any more"));
            return Ok(());
        }
        let preconditions = Preconditions { uid: live.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams::background().preconditions(preconditions);
        let delete = || async {
            match api.delete(&identity.name, &params).await {
                // Gone, or another object of this name has taken its place.
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
                other => other.map(drop),
            }
        };
        failure::retry(deadline, &what, delete).await?;
        let _ = lines.send(format!("deleted {identity}"));
        if wait { self.gone(&api, identity, live.metadata.uid.as_deref(), deadline).await } else { Ok(()) }
    }

    async fn gone(
        &self,
        api: &Api<DynamicObject>,
        identity: &Identity,
        uid: Option<&str>,
        deadline: Instant,
    ) -> Result<(), OpError> {
        let mut pause = Duration::from_millis(50);
        loop {
            let get = || api.get_opt(&identity.name);
            let live = failure::retry(deadline, format!("cannot read {identity}"), get).await?;
            let Some(live) = live.filter(|live| live.metadata.uid.as_deref() == uid) else { return Ok(()) };
            if Instant::now() + pause + LAST_QUESTION >= deadline {
                let finalizers = live.metadata.finalizers.unwrap_or_default();
                let message = format!("{identity} was deleted but is still there");
                let error = OpError::new("ksp::kube::not-deleted", message);
                return Err(match finalizers.is_empty() {
                    true => error,
                    false => error.hint(format!(
                        "whoever put these finalizers on it must take them off: {}",
                        finalizers.join(", ")
                    )),
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    fn api(&self, identity: &Identity, kind: &Kind) -> Api<DynamicObject> {
        let client = self.kubernetes.client.clone();
        match &identity.namespace {
            Some(namespace) => Api::namespaced_with(client, namespace, &kind.resource),
            None => Api::all_with(client, &kind.resource),
        }
    }
}

/// The identity with the namespace that the kind implies. A namespace on an object of the whole cluster is refused: grants are
/// by namespace, and it would pretend to be less than it is.
fn place(identity: &Identity, namespaced: bool) -> Result<Identity, OpError> {
    let mut placed = identity.clone();
    match (namespaced, &identity.namespace) {
        (true, None) => placed.namespace = Some("default".into()),
        (false, Some(_)) => {
            return Err(manifest_error(
                identity,
                "must not have a namespace: its kind belongs to the whole cluster",
            ));
        }
        _ => {}
    }
    Ok(placed)
}

/// Whether an object whose kind is not served yet will live in a namespace: by the kind's definition in the same set, or by
/// what it says of itself.
fn guess_scope(objects: &[Object], wanted: &Object) -> bool {
    let defines = |object: &&Object| {
        object.identity.rank() == Rank::Definition
            && object.value.pointer("/spec/group") == Some(&json!(wanted.kind.group))
            && object.value.pointer("/spec/names/kind") == Some(&json!(wanted.kind.kind))
    };
    match objects.iter().find(defines) {
        Some(definition) => definition.value.pointer("/spec/scope") != Some(&json!("Cluster")),
        None => wanted.identity.namespace.is_some(),
    }
}

fn manifest_error(identity: &Identity, reason: &str) -> OpError {
    OpError::new("ksp::kube::manifest", format!("{identity} {reason}"))
}

/// The API quotes values when it refuses them.
fn hushed(error: OpError, identity: &Identity) -> OpError {
    if matches!(error.code, "ksp::kube::unreachable" | "ksp::kube::timeout" | "ksp::kube::busy") {
        return error;
    }
    OpError {
        message: format!(
            "cannot apply {identity}: the API refused it (the reason is hidden, as it may quote a secret)"
        ),
        ..error
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_follows_from_the_kind() {
        let identity = Identity { group: String::new(), kind: "X".into(), namespace: None, name: "a".into() };
        assert_eq!(place(&identity, true).unwrap().to_string(), "X default/a");
        assert_eq!(place(&identity, false).unwrap(), identity);
        let disguised = Identity { namespace: Some("mine".into()), ..identity };
        assert_eq!(place(&disguised, false).unwrap_err().code, "ksp::kube::manifest");
    }
}
