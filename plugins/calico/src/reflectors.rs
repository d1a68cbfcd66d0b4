//! Which nodes are route reflectors: Calico keeps that as an annotation of the Kubernetes node.

use ksp_sdk::prelude::*;

use crate::bgp::Bgp;

const KEY: &str = "projectcalico.org/RouteReflectorClusterID";
const ADMIN: &str = "--kubeconfig=/etc/kubernetes/admin.conf";

/// Their names.
///
/// # Errors
/// The selector is not understood.
pub fn names(cx: &Context, bgp: &Bgp) -> Result<Vec<String>> {
    if !bgp.enabled || bgp.route_reflectors.nodes.is_empty() {
        return Ok(Vec::new());
    }
    let nodes = crate::members(cx)?;
    let chosen = cx.nodes(&bgp.route_reflectors.nodes)?;
    Ok(chosen.iter().filter(|node| nodes.contains(node)).map(|node| node.name.clone()).collect())
}

/// Makes these and only these route reflectors, by the first control plane.
///
/// # Errors
/// The selector is not understood.
pub fn annotate(cx: &Context, bgp: &Bgp, control_planes: &Nodes) -> Result<()> {
    let Some(by) = control_planes.first() else { return Ok(()) };
    let wanted = names(cx, bgp)?;
    let id = &bgp.route_reflectors.cluster_id;
    for name in &wanted {
        let path = KEY.replace('.', "\\.");
        cx.plan()
            .exec(
                by,
                argv![
                    "kubectl",
                    ADMIN,
                    "annotate",
                    "--overwrite",
                    "node",
                    name.as_str(),
                    format!("{KEY}={id}")
                ],
            )
            .unless(argv![
                "kubectl",
                ADMIN,
                "wait",
                format!("node/{name}"),
                format!("--for=jsonpath={{.metadata.annotations.{path}}}={id}"),
                "--timeout=1s",
            ])
            // It may not have joined yet.
            .retry(60, Duration::from_secs(3))
            .summary(format!("make {name} a route reflector"));
    }
    for name in annotated(control_planes).into_iter().filter(|name| !wanted.contains(name)) {
        cx.plan()
            .exec(by, argv!["kubectl", ADMIN, "annotate", "node", name.as_str(), format!("{KEY}-")])
            .summary(format!("{name} is no route reflector any more"));
    }
    Ok(())
}

/// Those of the living cluster, as the first control plane that knows says.
fn annotated(control_planes: &Nodes) -> Vec<String> {
    let answers = control_planes.with_facts().filter_map(|(_, facts)| facts.probe("reflectors"));
    let known = answers.into_iter().find(|answer| answer.status == 0);
    known.map(|answer| parse(&answer.stdout)).unwrap_or_default()
}

/// A line each: a node, and its cluster id when it is one.
fn parse(stdout: &str) -> Vec<String> {
    let fields = stdout.lines().filter_map(|line| line.split_once(' '));
    fields.filter(|(_, id)| !id.trim().is_empty()).map(|(name, _)| name.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn only_nodes_with_a_cluster_id_are_reflectors() {
        assert_eq!(parse("cp1 244.0.0.1\nw1 \nw2\n"), ["cp1"]);
        assert!(parse("").is_empty());
    }
}
