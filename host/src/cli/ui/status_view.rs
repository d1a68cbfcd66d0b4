//! How a cluster is, as text. Pure: report in, text out.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::style::Palette;
use super::text::{age, columns, count};
use super::{etcd_view, sanitize};
use crate::operations::status::{Drift, Report, State};

/// How many stages with drift are named for a node.
const STAGES: usize = 2;

/// The status of a cluster; `manifest` is how the user named it.
pub fn render(report: &Report, manifest: &str, now: Timestamp, palette: Palette) -> String {
    let mut parts = vec![
        format!("Cluster {}", palette.strong(&report.cluster)),
        format!("kubernetes {}", report.kubernetes),
    ];
    if let Some(run) = &report.last_run {
        let result = match run.exit_code {
            Some(0) => palette.good("ok"),
            Some(130) => palette.change("interrupted"),
            Some(_) => palette.bad("failed"),
            None => palette.change("did not end"),
        };
        let when = run.started.map(|time| format!(" {} ago", age(now.duration_since(time).as_secs_f64())));
        parts.push(format!("last run {} {result}{}", run.run, when.unwrap_or_default()));
    }
    if let Some(first) = report.certificates.first() {
        let text = format!("certificates for {} days ({})", first.days_left, first.name);
        parts.push(if first.is_due() { palette.bad(&text) } else { text });
    }
    let mut text = format!("{}\n\n", parts.join("   "));
    text.push_str(&columns(&rows(report, palette), 2));
    text.push('\n');
    if let Some(etcd) = &report.etcd {
        let quorum = etcd_view::quorum(etcd.quorum, palette);
        let backup = etcd_view::backup(etcd.last_backup.as_ref(), etcd.failed_backup.as_ref(), now, palette);
        let _ = writeln!(text, "etcd: {quorum}; {backup}");
    }
    closing(&mut text, report, manifest, palette);
    text
}

fn rows(report: &Report, palette: Palette) -> Vec<Vec<String>> {
    let mut rows = vec![["NODE", "ROLE", "STATE", "VERSION", "ETCD", "DRIFT"].map(str::to_owned).to_vec()];
    for node in &report.nodes {
        let roles: Vec<String> = node.roles.iter().map(ToString::to_string).collect();
        let version = node.version.clone().unwrap_or_else(|| "-".into());
        let version = if node.version.as_ref().is_some_and(|it| *it != report.kubernetes) {
            palette.change(&version)
        } else {
            version
        };
        let etcd = match node.etcd.as_deref() {
            Some(works @ ("leader" | "follower")) => works.to_owned(),
            Some(wrong) => palette.bad(wrong),
            None => String::new(),
        };
        rows.push(vec![
            node.name.clone(),
            roles.join(","),
            state(&node.state, palette),
            version,
            etcd,
            drift(&node.drift, palette),
        ]);
    }
    rows
}

fn state(state: &State, palette: Palette) -> String {
    match state {
        State::Ready => palette.good("ready"),
        State::Reached => palette.good("reached"),
        State::Cordoned => palette.change("cordoned"),
        State::NotJoined => palette.change("not joined"),
        State::Unknown => palette.change("unknown"),
        State::NotReady(_) => palette.bad("not ready"),
        State::NotReached(_) => palette.bad("not reached"),
    }
}

fn drift(drift: &[Drift], palette: Palette) -> String {
    let named = drift.iter().take(STAGES);
    let mut words: Vec<String> =
        named.map(|it| format!("{}: {}", it.stage, count(it.items, "item"))).collect();
    if drift.len() > STAGES {
        words.push(format!("{} more", drift.len() - STAGES));
    }
    if words.is_empty() { "-".to_owned() } else { palette.change(&words.join(", ")) }
}

fn closing(text: &mut String, report: &Report, manifest: &str, palette: Palette) {
    if let Some(error) = &report.api_error {
        let _ = writeln!(text, "{} {}", palette.bad("The API cannot be asked:"), sanitize::line(error));
    }
    for node in &report.nodes {
        if let State::NotReady(reason) | State::NotReached(reason) = &node.state {
            let _ = writeln!(text, "{}: {}", palette.bad(&node.name), sanitize::line(reason));
        }
    }
    if report.etcd.as_ref().is_some_and(|etcd| !etcd.healthy) {
        let command = palette.name(&format!("`ksp etcd status {manifest}`"));
        let _ = writeln!(text, "{} {command}", palette.bad("etcd is not healthy:"));
    }
    if !report.cluster_drift.is_empty() {
        let _ = writeln!(text, "Objects in the cluster differ: {}", drift(&report.cluster_drift, palette));
    }
    let drifted = report.drifted();
    if let Some(first) = drifted.first() {
        let nodes = count(drifted.len() as u64, "node");
        let command = palette.name(&format!("`ksp plan {manifest} --node {first}`"));
        let _ = writeln!(text, "Drift on {nodes}: {command}");
    } else if report.healthy && report.cluster_drift.is_empty() {
        let _ = writeln!(text, "{}", palette.good("Healthy, and as the manifest says."));
    }
}

#[cfg(test)]
mod tests;
