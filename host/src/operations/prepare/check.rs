//! Everything that can be told before anything is contacted: what the manifest's rules say, then plugins, their slots and schemas, and
//! what plugins themselves say of their configs. One mistake does not hide another: all findings are in one report.

use std::sync::Arc;

use super::stages::{self, Loaded};
use super::{Phase, blocking};
use crate::diagnostic::Diagnostic;
use crate::facts::Probe;
use crate::manifest::{self, Manifest};
use crate::operations::Failure;
use crate::operations::context::Context;
use crate::plugin::resolve::{self, Examined};

/// A manifest whose chain is accepted.
pub(super) struct Checked {
    pub manifest: Arc<Manifest>,
    /// The plugins, ready to be called.
    pub loaded: Loaded,
    /// The commands that they want to be run with the facts.
    pub probes: Vec<Probe>,
    /// What is worth saying and refuses nothing.
    pub notes: Vec<Diagnostic>,
}

/// Checks the manifest of a command.
///
/// # Errors
/// All findings together, in the order of the text; nothing was contacted.
pub(super) async fn check(context: &Context) -> Result<Checked, Failure> {
    let manifest::Loaded { manifest, refused, mut findings } = manifest::load(&context.manifest);
    let accepted = manifest.is_some();
    let Some(manifest) = manifest.or(refused).map(Arc::new) else {
        return Err(refusal(findings));
    };
    let phase = Phase::begin(context, "plugins");
    let examined = {
        let manifest = Arc::clone(&manifest);
        blocking(move || examine(&manifest, accepted)).await?
    };
    let good = accepted && !examined.any_error();
    let Examined { mut stages, findings: found, .. } = examined;
    add(&mut findings, found);
    // What `ksp.lock` does not vouch for is not run, not even to ask it for more findings.
    stages.retain(|stage| good || stage.trusted);
    let probes = stages::probes(&stages);
    let count = stages.len();
    let (loaded, broken) = stages::load(stages, context.paths.cache.clone()).await?;
    add(&mut findings, broken);
    add(&mut findings, loaded.validate(context, &manifest).await);
    phase.end(context, format!("{count} plugins"));
    if findings.iter().any(Diagnostic::is_error) {
        return Err(refusal(findings));
    }
    Ok(Checked { manifest, loaded, probes, notes: findings })
}

fn examine(manifest: &Manifest, accepted: bool) -> Examined {
    let mut examined = resolve::examine(manifest);
    if accepted && !examined.any_error() {
        examined.settle(manifest, resolve::Options::default());
    }
    examined
}

fn refusal(mut findings: Vec<Diagnostic>) -> Failure {
    manifest::sort(&mut findings);
    Failure::all(stages::class_of(&findings), findings)
}

/// Adds findings, but for those about a value that is refused already: they say the same in other words.
fn add(findings: &mut Vec<Diagnostic>, more: Vec<Diagnostic>) {
    let place = |finding: &Diagnostic| finding.spans.first().map(|span| span.range.clone());
    let taken: Vec<_> = findings.iter().filter(|known| known.is_error()).filter_map(place).collect();
    findings.extend(more.into_iter().filter(|it| place(it).is_none_or(|range| !taken.contains(&range))));
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
