//! Plugins as a table. Pure: data in, text out.

use super::sanitize;
use super::style::Palette;
use super::text::columns;
use crate::operations::plugin::Row;

/// How many digits of a digest are shown.
const DIGEST: usize = "sha256:".len() + 12;

/// How many capabilities are shown.
const CAPABILITIES: usize = 4;

/// One line a plugin.
pub fn table(rows: &[Row], palette: Palette) -> String {
    let staged = rows.iter().any(|row| row.stage.is_some());
    let mut header = vec!["PLUGIN", "VERSION", "DIGEST", "PROVIDES", "NEEDS", "CAPABILITIES"];
    if staged {
        header.insert(0, "STAGE");
    }
    let mut lines = vec![header.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for row in rows {
        let mut line = vec![
            palette.name(&row.name),
            row.version.clone(),
            row.digest.chars().take(DIGEST).collect(),
            join(&row.provides, " "),
            join(&row.requires, " "),
            short(&row.capabilities),
        ];
        if staged {
            line.insert(0, row.stage.clone().unwrap_or_default());
        }
        lines.push(line);
    }
    columns(&lines, 0)
}

/// The first few; `-o json` has them all.
fn short(capabilities: &[String]) -> String {
    let shown = join(&capabilities[..capabilities.len().min(CAPABILITIES)], " ");
    match capabilities.len().saturating_sub(CAPABILITIES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn join(values: &[String], separator: &str) -> String {
    if values.is_empty() { "-".to_owned() } else { sanitize::line(&values.join(separator)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_a_line() {
        let row = |stage: Option<&str>| Row {
            stage: stage.map(str::to_owned),
            name: "ksp/containerd".into(),
            version: "0.1.0".into(),
            digest: format!("sha256:{:064x}", 7),
            summary: "installs containerd".into(),
            provides: vec!["runtime".into()],
            requires: Vec::new(),
            capabilities: vec!["exec".into(), "files:/etc/containerd/**\u{1b}[2J".into()],
        };
        let plain = Palette { enabled: false };
        insta::assert_snapshot!(format!(
            "{}\n{}",
            table(&[row(None)], plain),
            table(&[row(Some("runtime"))], plain)
        ));
    }
}
