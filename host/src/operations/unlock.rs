//! `ksp unlock`: takes the lease away from a run that is dead. Needs the run's id, so that nobody unlocks a run that began since.

use super::context::Context;
use super::{Class, Failure, reach};
use crate::diagnostic::Diagnostic;
use crate::exec::Layout;
use crate::exec::lease::{self, Holder};
use crate::node::Role;
use crate::run::RunId;

/// What one control plane said.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its name.
    pub node: String,
    /// Unlocked, or why not.
    pub result: Result<(), String>,
}

/// Asks every control plane.
///
/// # Errors
/// The manifest is invalid, or no control plane answers.
pub async fn unlock(context: &Context, run: &RunId) -> Result<Vec<Answer>, Failure> {
    let manifest = reach::load(&context.manifest)?;
    let planes: Vec<_> = manifest.nodes.iter().filter(|node| node.is(Role::ControlPlane)).collect();
    let (reached, unreachable) = reach::reach(context, &planes).await;
    if reached.is_empty() {
        let mut finding =
            Diagnostic::error("ksp::unlock::failed", "no control plane answers: there is nothing to ask");
        finding.notes = unreachable.into_iter().map(|(node, reason)| format!("{node}: {reason}")).collect();
        return Err(Failure::new(Class::Unreachable, finding));
    }
    let holder =
        |node: &reach::Reached| Holder { node: node.node.name.clone(), session: node.session.clone() };
    let holders: Vec<Holder> = reached.iter().map(holder).collect();
    let answers = lease::unlock(&holders, run.as_str(), &Layout::default()).await;
    let answers = answers.into_iter().map(|(node, result)| Answer { node, result });
    Ok(answers
        .chain(unreachable.into_iter().map(|(node, reason)| Answer { node, result: Err(reason) }))
        .collect())
}
