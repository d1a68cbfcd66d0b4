//! What nodes are for.

use std::collections::BTreeSet;

use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::codes;
use crate::manifest::schema::ConnectionKind;
use crate::node::Role;

/// The nodes with a role, by JSON pointer and name; none when some node's roles are not known.
pub fn with_role(check: &Check<'_>, role: Role) -> Option<Vec<(String, String)>> {
    let known = check.nodes().all(|(pointer, _)| check.findings.is_intact(&format!("{pointer}/roles")));
    known.then(|| {
        let nodes = check.nodes().filter(|(_, node)| node.roles.contains(&role));
        nodes.map(|(pointer, node)| (pointer, node.name.clone())).collect()
    })
}

/// A node without a role would be contacted for nothing.
pub fn each_node_has_some(check: &mut Check<'_>) {
    for (pointer, node) in check.nodes().filter(|(_, node)| node.roles.is_empty()) {
        let finding = Diagnostic::error(codes::NO_ROLES, format!("node `{}` has no role", node.name))
            .hint("give it some of `control-plane`, `etcd`, `worker`, or remove it");
        check.report(&format!("{pointer}/roles"), finding);
    }
}

/// Most likely another role was meant.
pub fn duplicates(check: &mut Check<'_>) {
    for (pointer, node) in check.nodes() {
        let mut seen = BTreeSet::new();
        for (index, role) in node.roles.iter().enumerate() {
            if !seen.insert(role) {
                let finding = Diagnostic::error(
                    codes::DUPLICATE_ROLE,
                    format!("`{role}` twice for node `{}`", node.name),
                );
                check.report(&format!("{pointer}/roles/{index}"), finding);
            }
        }
    }
}

/// There is no cluster without one.
pub fn control_plane(check: &mut Check<'_>) {
    if with_role(check, Role::ControlPlane).is_some_and(|nodes| nodes.is_empty()) {
        let finding = Diagnostic::error(codes::NO_CONTROL_PLANE, "no node has the role `control-plane`")
            .hint("give it to one node, or to three for high availability: `roles = [\"control-plane\"]`");
        check.report("/node", finding);
    }
}

/// Control planes refuse workloads unless they are workers too.
pub fn worker(check: &mut Check<'_>) {
    let empty = |role| with_role(check, role).is_some_and(|nodes| nodes.is_empty());
    if !empty(Role::ControlPlane) && empty(Role::Worker) {
        let finding =
            Diagnostic::warning(codes::NO_WORKER, "no node has the role `worker`: no workload can run").hint(
                "add a worker, or let control planes be workers: `roles = [\"control-plane\", \"worker\"]`",
            );
        check.report("/node", finding);
    }
}

/// There is only one machine that ksp runs on.
pub fn one_local_node(check: &mut Check<'_>) {
    let local: Vec<_> = check.nodes().filter(|(_, node)| node.connection == ConnectionKind::Local).collect();
    let Some(((first, first_node), others)) = local.split_first() else { return };
    for (pointer, node) in others {
        let pointer = format!("{pointer}/connection");
        let message = format!("`{}` and `{}` cannot both be this machine", first_node.name, node.name);
        let finding = Diagnostic::error(codes::MANY_LOCAL, message)
            .at(check.value(&pointer, ""))
            .at(check.value(&format!("{first}/connection"), "this is one"))
            .hint("`connection = \"local\"` belongs to the machine that ksp runs on");
        check.report(&pointer, finding);
    }
}
