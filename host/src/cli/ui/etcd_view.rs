//! How etcd is, as text. Pure: report in, text out.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::sanitize;
use super::style::Palette;
use super::text::{age, columns, count};
use crate::operations::etcd::disk;
use crate::operations::etcd::members::LastBackup;
use crate::operations::etcd::status::{Member, Quorum, Report, State};

/// Certificates with fewer days left are shown as a reason to act.
const CERTIFICATE_DAYS: i64 = 30;

/// Bytes in one MiB.
const MIB: f64 = 1_048_576.0;

/// The status of etcd.
pub fn render(report: &Report, now: Timestamp, palette: Palette) -> String {
    let mut head = vec![format!("etcd of cluster {}", palette.strong(&report.cluster))];
    head.push(quorum(report.quorum, palette));
    head.extend(report.revision.map(|revision| format!("revision {revision}")));
    let mut text = format!("{}\n\n", head.join("   "));
    text.push_str(&columns(&rows(report, palette), 2));
    text.push('\n');
    for problem in &report.problems {
        let _ = writeln!(text, "{}", palette.bad(&sanitize::line(problem)));
    }
    for member in &report.members {
        for reason in &member.reasons {
            let _ = writeln!(text, "{}: {}", palette.bad(name(member)), sanitize::line(reason));
        }
    }
    if let Some(first) = report.certificates.first() {
        let line = format!("certificates for {} days ({} {})", first.days_left, first.node, first.path);
        let line = sanitize::line(&line);
        let _ =
            writeln!(text, "{}", if first.days_left < CERTIFICATE_DAYS { palette.bad(&line) } else { line });
    }
    let _ = writeln!(
        text,
        "{}",
        backup(report.last_backup.as_ref(), report.failed_backup.as_ref(), now, palette)
    );
    if report.healthy {
        let _ = writeln!(text, "{}", palette.good("Healthy."));
    }
    text
}

/// "3 of 3 voting members answer; 1 more may fail".
pub fn quorum(quorum: Quorum, palette: Palette) -> String {
    let Quorum { voting, answering, needed, may_fail } = quorum;
    if voting == 0 {
        return palette.bad("no member answers");
    }
    let text = format!("{answering} of {} answer", count(voting as u64, "voting member"));
    match may_fail {
        None => palette.bad(&format!("{text}, {needed} are needed")),
        Some(0) if voting > 1 => palette.change(&format!("{text}; none more may fail")),
        Some(more) => {
            format!("{text}; {} may fail", if more == 0 { "none".to_owned() } else { format!("{more} more") })
        }
    }
}

/// The last backup and its age, and the failure since.
pub fn backup(
    good: Option<&LastBackup>,
    failed: Option<&LastBackup>,
    now: Timestamp,
    palette: Palette,
) -> String {
    let ago = |it: &LastBackup| age(now.duration_since(it.time).as_secs_f64());
    let mut text = match good {
        None => palette.change("no backup is known"),
        Some(it) => {
            let node = sanitize::line(&it.node);
            format!(
                "last backup {} ago on {node}: revision {}, {:.1} MiB",
                ago(it),
                it.revision,
                it.size as f64 / MIB
            )
        }
    };
    if let Some(it) = failed {
        let why = sanitize::line(&it.error);
        text.push_str(&format!(
            "; {}",
            palette.bad(&format!("it failed {} ago on {}: {why}", ago(it), sanitize::line(&it.node)))
        ));
    }
    text
}

fn name(member: &Member) -> &str {
    if member.node.is_empty() { "(no name)" } else { &member.node }
}

fn rows(report: &Report, palette: Palette) -> Vec<Vec<String>> {
    let heads = ["NODE", "MEMBER", "STATE", "VERSION", "SIZE", "IN USE", "TERM", "INDEX", "LAG", "FSYNC P99"];
    let mut rows = vec![heads.map(str::to_owned).to_vec()];
    for member in &report.members {
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |it| it.to_string());
        let size = |value: Option<u64>| {
            value.map_or_else(|| "-".to_owned(), |it| format!("{:.1} MiB", it as f64 / MIB))
        };
        rows.push(vec![
            sanitize::line(name(member)),
            member.id.clone().unwrap_or_else(|| "-".into()),
            state(member.state, palette),
            sanitize::line(member.version.as_deref().unwrap_or("-")),
            size(member.db_size),
            size(member.db_size_in_use),
            number(member.raft_term),
            number(member.raft_index),
            number(member.lag),
            fsync(member.fsync_p99_ms, palette),
        ]);
    }
    rows
}

/// How long the disk takes.
fn fsync(milliseconds: Option<f64>, palette: Palette) -> String {
    match milliseconds {
        None => "-".into(),
        Some(time) if time > disk::SLOW_MS => palette.change(&format!("{time:.0} ms (slow)")),
        Some(time) => format!("{time:.0} ms"),
    }
}

fn state(state: State, palette: Palette) -> String {
    match state {
        State::Leader | State::Follower => palette.good(state.words()),
        State::Learner | State::NotJoined => palette.change(state.words()),
        _ => palette.bad(state.words()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::etcd::status::tests::{report, silent, working};

    fn shown(report: &Report) -> String {
        render(report, "2026-11-23T22:00:00Z".parse().unwrap(), Palette { enabled: false })
    }

    fn note(result: &str, time: &str) -> Option<LastBackup> {
        Some(LastBackup {
            time: time.parse().unwrap(),
            result: result.into(),
            node: "cp2".into(),
            revision: 790,
            size: 5 << 20,
            hash: 1,
            error: "no space left on device\u{1b}[2J".into(),
        })
    }

    #[test]
    fn a_healthy_etcd_is_short() {
        let mut second = working(1);
        second.backup = note("done", "2026-11-23T19:00:00Z");
        insta::assert_snapshot!(shown(&report(&[working(0), second, working(2)])));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut first = working(0);
        first.backup = note("failed", "2026-11-23T21:30:00Z");
        insta::assert_snapshot!(shown(&report(&[first, silent(1, true), silent(2, false)])));
    }
}
