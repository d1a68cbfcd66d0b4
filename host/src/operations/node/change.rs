//! Nodes leave: what has to be true before, and the order of what follows. A node that still runs leaves the cluster first (its pods
//! evicted, its member of etcd removed); then the manifest is written; then everybody else is brought in line with it, which also
//! removes what the dead have left behind.

use std::path::Path;
use std::time::Duration;

use super::edit::{self, EditError, Replacement};
use k8s_openapi::api::core::v1::Node as KubeNode;
use kube::Api;
use kube::api::DeleteParams;

use crate::diagnostic::Diagnostic;
use crate::exec::RunReport;
use crate::manifest::{self, environment::Environment};
use crate::operations::context::Context;
use crate::operations::etcd::status::{self, Member, Report, State};
use crate::operations::prepare::{self, Prepared};
use crate::operations::reset::{self, Survey};
use crate::operations::{Class, Failure};
use crate::plan::Filter;
use crate::run::atomic;

/// How long the API may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// These nodes go.
    Remove(Vec<String>),
    /// A node goes, another machine takes its place.
    Replace(String, Replacement),
}

impl Wish {
    /// The nodes that go.
    pub fn leaving(&self) -> Vec<String> {
        match self {
            Wish::Remove(names) => names.clone(),
            Wish::Replace(old, _) => vec![old.clone()],
        }
    }

    fn applied(&self, text: &str) -> Result<String, EditError> {
        match self {
            Wish::Remove(names) => edit::without(text, names),
            Wish::Replace(old, new) => edit::replaced(text, old, new),
        }
    }
}

/// What would happen.
pub struct Change {
    /// The manifest as it will be.
    pub text: String,
    /// What is taken away from the nodes that go and were reached.
    pub survey: Survey,
    /// What the change means for etcd's majority; none when no member goes.
    pub arithmetic: Option<Arithmetic>,
    leaving: Vec<String>,
    prepared: Prepared,
}

/// The majority before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arithmetic {
    /// Members that vote, and how many of them answer.
    pub before: (usize, usize),
    /// The same without those that go.
    pub after: (usize, usize),
}

impl Arithmetic {
    fn of(report: &Report, leaving: &[String]) -> Option<Self> {
        let going: Vec<_> = report.members.iter().filter(|member| leaving.contains(&member.node)).collect();
        let votes = |member: &&&Member| member.id.is_some() && member.state != State::Learner;
        let voting = going.iter().filter(votes).count();
        let answering = going.iter().filter(|member| member.state.works()).count();
        let before = (report.quorum.voting, report.quorum.answering);
        let after = (before.0.saturating_sub(voting), before.1.saturating_sub(answering));
        (voting > 0).then_some(Self { before, after })
    }

    /// True when etcd goes on: a majority agrees to the change, and those that stay are one of their own.
    pub fn is_safe(&self) -> bool {
        let enough = |(voting, answering): (usize, usize)| answering > voting / 2;
        enough(self.before) && enough(self.after)
    }
}

impl std::fmt::Display for Arithmetic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ((voting, answering), (voting_after, answering_after)) = (self.before, self.after);
        write!(
            f,
            "etcd: {answering} of {voting} members answer now ({} needed), {answering_after} of {voting_after} afterwards ({} needed)",
            voting / 2 + 1,
            voting_after / 2 + 1
        )
    }
}

/// Looks at everything; changes nothing.
///
/// # Errors
/// The manifest would not be valid, a node is not in it, or etcd would lose its majority and `risk` does not allow that.
pub async fn survey(context: &Context, wish: &Wish, risk: bool) -> Result<Change, Failure> {
    let text = changed(&context.manifest, wish)?;
    let leaving = wish.leaving();
    let prepared = prepare::prepare(context, Filter::default()).await?;
    let arithmetic = Arithmetic::of(&status::status(&prepared).await?, &leaving);
    keeps_quorum(arithmetic, &leaving, risk)?;
    let survey = reset::survey(context, &leaving).await?;
    Ok(Change { text, survey, arithmetic, leaving, prepared })
}

/// Refuses what would cost etcd its majority, unless the risk is allowed.
fn keeps_quorum(arithmetic: Option<Arithmetic>, leaving: &[String], risk: bool) -> Result<(), Failure> {
    let Some(arithmetic) = arithmetic.filter(|it| !it.is_safe() && !risk) else { return Ok(()) };
    let finding = Diagnostic::error("ksp::node::quorum", format!("{} cannot go", leaving.join(", ")))
        .note(arithmetic.to_string())
        .hint("bring a member back first (`ksp etcd status`); `--allow-quorum-risk` goes on in spite of it");
    Err(Failure::new(Class::Failed, finding))
}

/// The manifest's text after the change, checked as a whole.
fn changed(path: &Path, wish: &Wish) -> Result<String, Failure> {
    let old = std::fs::read_to_string(path)
        .map_err(|error| Failure::io(format!("read {}", path.display()), &error))?;
    let text = wish.applied(&old).map_err(|error| {
        let finding = Diagnostic::error("ksp::usage::unknown-node", error.to_string());
        Failure::new(Class::Usage, finding.hint("`ksp status` lists the nodes"))
    })?;
    let checked = manifest::check_text(path, &text, String::new(), &Environment::real());
    match checked.manifest {
        Some(_) => Ok(text),
        None => Err(Failure::all(Class::Invalid, checked.findings)),
    }
}

/// Takes the nodes that were reached out of the cluster, and writes the manifest when that went well. What remains is `ksp up`.
///
/// # Errors
/// The cluster is locked, or the manifest cannot be written.
pub async fn execute(context: &Context, change: &mut Change, run: &str) -> Result<RunReport, Failure> {
    let report = if change.survey.is_empty() {
        RunReport::default()
    } else {
        reset::execute(context, &mut change.survey, run).await?
    };
    if report.failed == 0 && report.not_started == 0 && !report.interrupted {
        forget(&change.prepared, &change.leaving).await?;
        write(&context.manifest, &change.text)?;
    }
    Ok(report)
}

/// Deletes the node objects that are left: those of machines that could not leave by themselves.
async fn forget(prepared: &Prepared, names: &[String]) -> Result<(), Failure> {
    let Some(kubernetes) = &prepared.kubernetes else { return Ok(()) };
    let nodes: Api<KubeNode> = Api::all(kubernetes.client.clone());
    for name in names {
        match tokio::time::timeout(ANSWER_WITHIN, nodes.delete(name, &DeleteParams::default())).await {
            Ok(Ok(_)) => {}
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {}
            Ok(Err(error)) => return Err(undeleted(name, &error.to_string())),
            Err(_) => return Err(undeleted(name, "the API server does not answer")),
        }
    }
    Ok(())
}

fn undeleted(name: &str, why: &str) -> Failure {
    let finding =
        Diagnostic::error("ksp::node::object", format!("the node object of {name} cannot be deleted: {why}"));
    Failure::new(Class::Failed, finding.hint("the manifest is as it was; run the same command again"))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).map_or(0o644, |it| it.permissions().mode() & 0o777);
    atomic::write(path, text.as_bytes(), mode)
        .map_err(|error| Failure::io(format!("write {}", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_allows_the_risk_is_not_refused() {
        let leaving = ["cp3".to_owned()];
        let (safe, risky) = ([(3, 3), (2, 2)], [(3, 2), (2, 1)]);
        let of = |[before, after]: [(usize, usize); 2]| Some(Arithmetic { before, after });
        assert!(
            keeps_quorum(None, &leaving, false).is_ok() && keeps_quorum(of(safe), &leaving, false).is_ok()
        );
        assert!(keeps_quorum(of(risky), &leaving, true).is_ok());
        let refused = keeps_quorum(of(risky), &leaving, false).unwrap_err();
        assert_eq!(refused.findings[0].code, "ksp::node::quorum");
        assert!(refused.findings[0].notes[0].contains("1 of 2 afterwards (2 needed)"), "{refused}");
    }

    /// T12: the node that goes is not counted afterwards.
    #[test]
    fn a_majority_is_counted_before_and_after() {
        let safe = |before, after| Arithmetic { before, after }.is_safe();
        // Three to one, and a dead one of three.
        assert!(safe((3, 3), (1, 1)) && safe((3, 2), (2, 2)));
        // A living one while another is down; one of two; nobody left.
        assert!(!safe((3, 2), (2, 1)) && !safe((2, 1), (1, 1)) && !safe((1, 1), (0, 0)));
        let shown = Arithmetic { before: (3, 2), after: (2, 1) }.to_string();
        assert_eq!(shown, "etcd: 2 of 3 members answer now (2 needed), 1 of 2 afterwards (2 needed)");
    }
}
