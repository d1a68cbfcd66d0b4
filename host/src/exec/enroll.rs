//! What a run writes on nodes about itself: at its beginning identity, fence and dirty mark, the cluster's state on control
//! planes, and at its end what was applied.

use futures_util::future::join_all;

use crate::diagnostic::Diagnostic;
use crate::exec::engine::{Engine, is_critical, lock};
use crate::exec::{Member, Refusal, prelude};
use crate::node::Role;
use crate::op::{FENCED_STATUS, OpError};
use crate::redact::Secret;
use crate::transport::quote::quote;
use crate::transport::{Output, Script, Stdin};

/// Makes every node that may be touched know this run, and gives control planes what the cluster remembers, before the first
/// effect. A worker that fails here fails again with its first op, and is reported there.
pub(super) async fn enroll(engine: &Engine) -> Result<(), Refusal> {
    lock(&engine.job.state).begin_chain(&engine.job.chain);
    // The memory comes before the first node that says it has one.
    engine.keep_state().await.map_err(|error| {
        let mut finding = Diagnostic::error(error.code, error.message);
        (finding.notes, finding.hints) = (error.tail, error.hints);
        Refusal::Unreachable(finding)
    })?;
    let touched =
        engine.job.members.values().filter(|member| {
            engine.job.filter.allows_node(member.node.id) || member.node.is(Role::ControlPlane)
        });
    let answers =
        join_all(touched.map(|member| async move { (member, introduce(engine, member).await) })).await;
    for (member, answer) in answers {
        if let Err(error) = answer
            && is_critical(&member.node)
        {
            return Err(Refusal::Unreachable(refusal(member, error)));
        }
    }
    Ok(())
}

fn refusal(member: &Member, error: OpError) -> Diagnostic {
    let mut finding = Diagnostic::error(error.code, error.message).on_node(&member.node.name);
    finding.notes = error.tail;
    finding.hints = error.hints;
    finding
}

async fn introduce(engine: &Engine, member: &Member) -> Result<(), OpError> {
    let identity = &engine.job.identity;
    let cluster_id = lock(&engine.job.state).cluster_id.clone();
    let about = serde_json::json!({
        "version": 1, "cluster": identity.cluster, "cluster-id": cluster_id, "node": member.node.name, "machine-id": "@",
    });
    // The machine's own id is filled in on the node: nothing else can have it wrong.
    let about = about.to_string();
    let (before, after) = about.split_once("@").unwrap_or((&about, ""));
    let dirty = if member.node.is(Role::ControlPlane) {
        format!("echo {} >\"$ksp_b/dirty\" || exit 1", quote(&identity.run))
    } else {
        String::new()
    };
    let text = prelude::join(&[
        engine.fence.clone(),
        format!(
            r#"umask 077; ksp_m=$(cat {machine_id}) && [ -n "$ksp_m" ] || exit 1
ksp_n={before}$ksp_m{after}
ksp_o=; {{ IFS= read -r ksp_o <"$ksp_b/node.json"; }} 2>/dev/null
[ "$ksp_o" = "$ksp_n" ] || {{ printf '%s\n' "$ksp_n" >"$ksp_b/.node.tmp" && mv -f "$ksp_b/.node.tmp" "$ksp_b/node.json"; }} || exit 1"#,
            machine_id = quote(&engine.job.options.layout.machine_id),
            before = quote(before),
            after = quote(after),
        ),
        dirty,
    ]);
    run(member, Script::new(text), "cannot prepare /var/lib/ksp").await
}

/// Writes the cluster's state to all control planes that were reached and do not have it: the highest generation wins when it
/// is read.
pub(super) async fn keep_state(engine: &Engine) -> Result<(), OpError> {
    let (content, generation, unsaved) = {
        let state = lock(&engine.job.state);
        match state.unsaved() {
            Some(unsaved) => (unsaved.content.clone(), unsaved.generation, Some(unsaved)),
            None => (state.content(), state.generation, None),
        }
    };
    let planes = engine.job.members.values().filter(|member| member.node.is(Role::ControlPlane));
    let behind =
        |member: &&Member| unsaved.is_some() || (!engine.is_kept() && member.generation != Some(generation));
    let writes = join_all(planes.filter(behind).map(|member| write_state(engine, member, &content))).await;
    // A key that exists nowhere but in this process must not be used.
    if let (Some(error), true) = (writes.into_iter().find_map(Result::err), unsaved.is_some()) {
        return Err(error);
    }
    if let Some(written) = &unsaved {
        lock(&engine.job.state).saved(written);
    }
    engine.note_kept();
    Ok(())
}

async fn write_state(engine: &Engine, member: &Member, content: &Secret) -> Result<(), OpError> {
    let text = prelude::join(&[
        engine.fence.clone(),
        r#"umask 077; cat >"$ksp_b/.state.tmp" && { sync "$ksp_b/.state.tmp" 2>/dev/null || sync; } && mv -f "$ksp_b/.state.tmp" "$ksp_b/state.json""#
            .to_owned(),
    ]);
    let script = Script::new(text).with_stdin(Stdin::Secret(content.clone()));
    run(member, script, "cannot write /var/lib/ksp/state.json").await
}

/// Ends the run on the control planes: after a good end nothing is dirty any more.
pub(super) async fn leave(engine: &Engine, good: bool) {
    if !good || !engine.job.filter.is_everything() {
        return;
    }
    lock(&engine.job.state).end_chain(&engine.job.chain);
    // What is not forgotten now is looked for once more by the next run, in vain.
    let _ = engine.keep_state().await;
    let identity = &engine.job.identity;
    let plugins: Vec<String> = engine
        .job
        .plan
        .stages
        .iter()
        .map(|stage| format!("{} {}", stage.plugin, stage.plugin.digest))
        .collect();
    let applied = serde_json::json!({
        "version": 1, "run": identity.run, "time": jiff::Timestamp::now().to_string(),
        "manifest": identity.manifest, "plugins": plugins, "ksp": env!("CARGO_PKG_VERSION"),
    });
    let text = prelude::join(&[
        engine.fence.clone(),
        format!(
            r#"umask 077; printf '%s\n' {} >"$ksp_b/.applied.tmp" && mv -f "$ksp_b/.applied.tmp" "$ksp_b/applied.json" && rm -f "$ksp_b/dirty""#,
            quote(&applied.to_string())
        ),
    ]);
    let planes = engine.job.members.values().filter(|member| member.node.is(Role::ControlPlane));
    // A mark that stays only makes the next run check its result again.
    join_all(planes.map(|member| run(member, Script::new(text.clone()), "cannot end the run"))).await;
}

/// Runs a script of the engine's own.
pub(super) async fn run(member: &Member, script: Script, what: &str) -> Result<(), OpError> {
    let output = member.session.run(script).await?;
    if output.ok() { Ok(()) } else { Err(failure(what, &output)) }
}

fn failure(what: &str, output: &Output) -> OpError {
    if output.status == FENCED_STATUS {
        let mut error = OpError::new("ksp::lease::lost", "another run has taken over this cluster");
        error.tail = output.tail(3);
        return error;
    }
    OpError::from_output(what, output)
}
