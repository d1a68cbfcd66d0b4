//! What a reset would remove, as text. Pure: survey in, text out.

use std::fmt::Write as _;

use super::sanitize;
use super::style::Palette;
use super::text::count;
use crate::operations::reset::Survey;

/// The exact list, by node, in the order of removal.
pub fn list(survey: &Survey, whole: bool, palette: Palette) -> String {
    let cluster = palette.strong(&survey.manifest.cluster.name);
    let nodes = count(survey.nodes.len() as u64, "node");
    let mut text = if whole {
        let everything = palette.bad("removes Kubernetes and all its data");
        format!("This {everything} from {nodes} of cluster {cluster}.\n\n")
    } else {
        format!("This removes what ksp made from {nodes} of cluster {cluster}.\n\n")
    };
    for (stage, plan) in &survey.teardown.plans {
        let _ = writeln!(text, "{}   first, by its plugin", palette.strong(stage));
        let ops = plan.stages.iter().filter(|known| known.name == *stage).flat_map(|known| &known.ops);
        for op in ops {
            let _ = writeln!(text, "  {} {}", palette.change(">"), sanitize::line(&op.summary()));
        }
    }
    for node in &survey.nodes {
        let _ = writeln!(
            text,
            "{}   {}",
            palette.strong(&node.node.name),
            count(node.items.len() as u64, "item")
        );
        for item in &node.items {
            let what = sanitize::line(&format!("{} {}", item.entry.kind, item.entry.target));
            let stage = palette.dim(&format!("({})", item.entry.stage));
            let sign = if item.script.is_some() { palette.bad("-") } else { palette.dim("=") };
            let stays = if item.script.is_some() { "" } else { ", stays" };
            let _ = writeln!(text, "  {sign} {what} {stage}{stays}");
        }
    }
    for (node, reason) in &survey.unreachable {
        let _ = writeln!(
            text,
            "{}",
            palette.bad(&format!("{node}   not reached, stays as it is: {}", sanitize::line(reason)))
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::reset::tests::survey;
    use crate::transport::fake::FakeNode;

    #[test]
    fn the_list_is_exact_and_names_what_stays() {
        let survey = survey(&FakeNode::new(), &[("file", "/etc/x"), ("unknown-kind", "socat")]);
        insta::assert_snapshot!(list(&survey, true, Palette { enabled: false }));
    }
}
