//! Whether what was started is one cluster with the data of the backup.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Survey;
use super::scripts::BUMP;
use crate::op::OpError;
use crate::operations::etcd::members::{self, Seen};
use crate::operations::etcd::status;

/// Members tell of each other within a second.
const WITHIN: Duration = Duration::from_secs(45);

/// Waits until all members are one cluster of the same revision.
pub async fn check(survey: &Survey) -> Result<(), OpError> {
    let deadline = Instant::now() + WITHIN;
    loop {
        let seen = members::ask(&survey.etcd, &survey.prepared).await;
        let wrong = wrong(survey, &seen);
        if wrong.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let mut error = OpError::new(
                "ksp::etcd::unhealthy",
                format!("etcd does not work as it should: {}", wrong.join("; ")),
            );
            error.retryable = true;
            return Err(error.hint("look at `ksp etcd status`; API servers were not started"));
        }
        sleep(Duration::from_secs(1)).await;
    }
}

fn wrong(survey: &Survey, seen: &[Seen]) -> Vec<String> {
    let report = status::compose(&survey.cluster, &survey.etcd, seen);
    let before = survey.now.cluster_id.as_deref().filter(|_| !survey.continues);
    compare(&report, before, survey.archive.about.revision)
}

/// All members vote and answer, they are a new cluster, and nobody has written yet: revisions are equal.
fn compare(report: &status::Report, before: Option<&str>, revision: u64) -> Vec<String> {
    let mut wrong = report.problems.clone();
    for member in report.members.iter().filter(|member| !member.state.works()) {
        wrong.push(format!("{} is {}", member.node, member.state.words()));
    }
    if before.is_some() && before == report.cluster_id.as_deref() {
        wrong.push("it is still the old cluster".to_owned());
    }
    let revisions: Vec<u64> = report.members.iter().filter_map(|member| member.revision).collect();
    if revisions.windows(2).any(|pair| pair[0] != pair[1]) {
        wrong.push(format!("members have different revisions: {revisions:?}"));
    }
    // The bump counts from the snapshot's own revision.
    if revisions.iter().any(|found| *found < revision + BUMP) {
        wrong.push(format!(
            "a revision of {} or more is expected, and {revisions:?} is there",
            revision + BUMP
        ));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::etcd::status::tests::{report, silent, working};

    fn with(revisions: [u64; 3]) -> status::Report {
        let seen = revisions.iter().enumerate().map(|(number, revision)| {
            let mut seen = working(number);
            seen.status.as_mut().unwrap().as_mut().unwrap().header.revision = *revision;
            seen
        });
        report(&seen.collect::<Vec<_>>())
    }

    #[test]
    fn one_new_cluster_of_one_revision_is_right() {
        let bumped = 800 + BUMP;
        assert_eq!(compare(&with([bumped; 3]), Some("old"), 800), Vec::<String>::new());
        assert_eq!(compare(&with([bumped; 3]), Some("c1"), 800), ["it is still the old cluster"]);
        assert!(compare(&with([bumped, bumped, bumped + 1]), None, 800)[0].contains("different revisions"));
        // T7: without the bump clients would take the past for the present.
        assert!(compare(&with([800; 3]), None, 800)[0].contains("is expected"));
        let partly = report(&[working(0), working(1), silent(2, true)]);
        assert!(compare(&partly, None, 0)[0].contains("cp3 is not answering"));
    }
}
