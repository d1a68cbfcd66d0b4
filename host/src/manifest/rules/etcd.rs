//! The number of etcd members. Members are the nodes with the role `etcd`, or the control planes when there are none (T12).

use super::roles::with_role;
use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::codes;
use crate::manifest::describe::ordinal;
use crate::node::Role;

fn members(check: &Check<'_>) -> Option<(Role, Vec<(String, String)>)> {
    let etcd = with_role(check, Role::Etcd)?;
    if etcd.is_empty() {
        Some((Role::ControlPlane, with_role(check, Role::ControlPlane)?))
    } else {
        Some((Role::Etcd, etcd))
    }
}

fn even(check: &mut Check<'_>, role: Role, code: &str, noun: &str) {
    let Some((found, nodes)) = members(check) else { return };
    let (true, 2.., 0, Some((pointer, name))) = (found == role, nodes.len(), nodes.len() % 2, nodes.last())
    else {
        return;
    };
    let (count, survived) = (nodes.len(), (nodes.len() - 1) / 2);
    let message = match survived {
        0 => format!("{count} {noun}s cannot keep etcd quorum when one fails"),
        1 => format!("{count} {noun}s keep etcd quorum when one fails, no better than {}", count - 1),
        _ => format!("{count} {noun}s keep etcd quorum when {survived} fail, no better than {}", count - 1),
    };
    let finding = Diagnostic::error(code, message)
        .at(check.value(pointer, format!("`{name}` is the {} {noun}", ordinal(count))))
        .hint(format!("add a {} {noun}, or remove one", ordinal(count + 1)));
    check.report(pointer, finding);
}

/// With stacked etcd, every control plane is a member.
pub fn even_control_planes(check: &mut Check<'_>) {
    even(check, Role::ControlPlane, codes::EVEN_CONTROL_PLANES, "control plane");
}

/// With external etcd, the etcd nodes are the members.
pub fn even_etcd_nodes(check: &mut Check<'_>) {
    even(check, Role::Etcd, codes::EVEN_ETCD, "etcd node");
}

/// <https://etcd.io/docs/v3.6/faq/>: more than seven members cost writes without need.
pub fn many_members(check: &mut Check<'_>) {
    const MOST: usize = 7;
    let Some((_, nodes)) = members(check) else { return };
    if let Some((pointer, name)) = nodes.get(MOST) {
        let finding = Diagnostic::warning(
            codes::MANY_ETCD,
            format!("{} etcd members; more than {MOST} slow every write", nodes.len()),
        )
        .at(check.value(pointer, format!("`{name}` is the {}", ordinal(MOST + 1))))
        .hint("three survive one failure, five survive two");
        check.report(pointer, finding);
    }
}
