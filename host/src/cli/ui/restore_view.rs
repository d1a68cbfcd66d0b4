//! What a restore would do and what it did, as text. Pure: data in, text out.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::etcd_view;
use super::sanitize;
use super::style::Palette;
use super::text::age;
use crate::operations::etcd::archive::About;
use crate::operations::etcd::restore::{Done, Survey};
use crate::operations::etcd::status::Report;

/// What is shown before the question.
pub struct Intent<'a> {
    cluster: &'a str,
    about: &'a About,
    now: &'a Report,
    members: Vec<&'a str>,
    continues: bool,
    left_out: &'a [(String, String)],
}

impl<'a> Intent<'a> {
    /// Of what was found out.
    pub fn of(survey: &'a Survey) -> Self {
        Self {
            cluster: &survey.cluster,
            about: &survey.archive.about,
            now: &survey.now,
            members: survey.members(),
            continues: survey.continues,
            left_out: &survey.left_out,
        }
    }
}

/// What would be done, and what would be lost.
pub fn intent(intent: &Intent<'_>, now: Timestamp, palette: Palette) -> String {
    let Intent { cluster, about, .. } = intent;
    let ago = age(now.duration_since(about.time).as_secs_f64());
    let lost = palette.bad(&format!("everything written after {} ({ago} ago) is lost", about.time));
    let mut text =
        format!("This puts a backup into etcd of cluster {}: {lost}.\n\n", palette.strong(cluster));
    let _ = writeln!(
        text,
        "  backup   revision {}, {:.1} MiB, made on {}, etcd {}, kubernetes {}",
        about.revision,
        about.size as f64 / 1_048_576.0,
        sanitize::line(&about.node),
        sanitize::line(&about.etcd),
        sanitize::line(&about.kubernetes)
    );
    let revision = intent.now.revision.map_or(String::new(), |revision| format!(", revision {revision}"));
    let _ = writeln!(text, "  now      {}{revision}", etcd_view::quorum(intent.now.quorum, palette));
    let _ = writeln!(text, "  members  {}: the old data is kept beside the new", intent.members.join(", "));
    let _ = writeln!(
        text,
        "  API      stopped on every control plane until the new data is there; pods go on running\n"
    );
    if intent.now.healthy && !intent.continues {
        let _ = writeln!(
            text,
            "{}",
            palette.bad("etcd is healthy: a restore is for a cluster that lost its majority or its data.")
        );
    }
    if intent.continues {
        let _ = writeln!(
            text,
            "{}",
            palette.change("A restore of this backup was interrupted; this goes on with it.")
        );
    }
    for (node, reason) in intent.left_out {
        let line = format!("{node}   not reached, its kubelet is not restarted: {}", sanitize::line(reason));
        let _ = writeln!(text, "{}", palette.bad(&line));
    }
    text
}

/// What was done.
pub fn done(cluster: &str, about: &About, done: &Done, palette: Palette) -> String {
    let mut text = format!(
        "{}\n",
        palette.good(&format!(
            "etcd of cluster {cluster} has the data of {} (revision {}) again",
            about.time, about.revision
        ))
    );
    let _ = writeln!(
        text,
        "What was written after that is gone. The old data is kept; remove it when nobody needs it:"
    );
    for (node, path) in &done.kept {
        let _ = writeln!(text, "  {node}   {}", sanitize::line(path));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::RunReport;
    use crate::operations::etcd::archive::tests::about;
    use crate::operations::etcd::status::tests::{report, silent, working};

    #[test]
    fn what_is_lost_and_what_stays_is_said() {
        let (about, plain) = (about(), Palette { enabled: false });
        let lost = report(&[silent(0, true), silent(1, false), silent(2, false)]);
        let left_out = [("w1".to_owned(), "connection refused".to_owned())];
        let time: Timestamp = "2026-11-24T01:00:00Z".parse().unwrap();
        let all = |now, continues| Intent {
            cluster: "prod",
            about: &about,
            now,
            members: vec!["cp1", "cp2", "cp3"],
            continues,
            left_out: &left_out,
        };
        let mut text = intent(&all(&lost, true), time, plain);
        let healthy = report(&[working(0), working(1), working(2)]);
        assert!(intent(&all(&healthy, false), time, plain).contains("etcd is healthy"));
        let kept = [("cp1".to_owned(), "/var/lib/etcd.restore-0a1b/before".to_owned())].into();
        text.push_str(&done("prod", &about, &Done { report: RunReport::default(), kept }, plain));
        insta::assert_snapshot!(text);
    }
}
