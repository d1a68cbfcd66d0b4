//! Selectors: which nodes a plugin or a command line means. The words are those of `wit/v0.1/cluster.wit`.

use crate::node::{Node, NodeId, Role};

enum Term<'a> {
    All,
    Role(Role),
    Label(&'a str, Option<&'a str>),
    Name(&'a str),
}

impl Term<'_> {
    fn holds(&self, node: &Node) -> bool {
        match self {
            Term::All => true,
            Term::Role(role) => node.is(*role),
            Term::Label(key, None) => node.labels.contains_key(*key),
            Term::Label(key, Some(value)) => node.labels.get(*key).is_some_and(|found| found == value),
            Term::Name(name) => node.name == *name,
        }
    }
}

/// Numbers of the nodes that match, in the manifest's order. Comma-separated terms, all of which must hold: `*`,
/// `role=control-plane`, `label=disk`, `label=disk:ssd`, `name=w1`; `!` before a term negates it.
///
/// # Errors
/// Names the term that is not understood. No match is no error.
pub fn select(nodes: &[Node], selector: &str) -> Result<Vec<NodeId>, String> {
    let terms = selector.split(',').map(parse).collect::<Result<Vec<_>, _>>()?;
    let matching = nodes.iter().filter(|node| terms.iter().all(|(wanted, term)| term.holds(node) == *wanted));
    Ok(matching.map(|node| node.id).collect())
}

/// Whether a selector can be understood.
///
/// # Errors
/// Names the term that is not.
pub fn check(selector: &str) -> Result<(), String> {
    selector.split(',').try_for_each(|term| parse(term).map(drop))
}

fn parse(text: &str) -> Result<(bool, Term<'_>), String> {
    const FORMS: &str =
        "expected `*`, `role=…`, `label=…`, `label=key:value` or `name=…`, with `!` before it to negate";
    let text = text.trim();
    let (wanted, term) = text.strip_prefix('!').map_or((true, text), |rest| (false, rest.trim_start()));
    let term = match term.split_once('=') {
        None if term == "*" => Term::All,
        Some(("role", "control-plane")) => Term::Role(Role::ControlPlane),
        Some(("role", "etcd")) => Term::Role(Role::Etcd),
        Some(("role", "worker")) => Term::Role(Role::Worker),
        Some(("role", role)) => {
            return Err(format!("no role `{role}`: there are control-plane, etcd and worker"));
        }
        Some(("label", label)) if !label.is_empty() && !label.starts_with(':') => match label.split_once(':')
        {
            Some((key, value)) => Term::Label(key, Some(value)),
            None => Term::Label(label, None),
        },
        Some(("name", name)) if !name.is_empty() => Term::Name(name),
        _ => return Err(format!("selector term `{text}` is not understood: {FORMS}")),
    };
    Ok((wanted, term))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Connection;

    fn nodes() -> Vec<Node> {
        let node = |id, name: &str, roles: &[Role], labels: &[(&str, &str)]| Node {
            id: NodeId(id),
            name: name.into(),
            address: [10, 0, 0, 1].into(),
            roles: roles.to_vec(),
            labels: labels.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            taints: Vec::new(),
            connection: Connection::Local,
        };
        vec![
            node(0, "cp1", &[Role::ControlPlane], &[]),
            node(1, "w1", &[Role::Worker], &[("disk", "ssd")]),
            node(2, "w2", &[Role::Worker, Role::Etcd], &[("disk", "hdd"), ("example.com/gpu", "")]),
        ]
    }

    #[test]
    fn terms_are_joined_by_and() {
        for (selector, expected) in [
            ("*", vec![0, 1, 2]),
            ("!*", vec![]),
            ("role=worker", vec![1, 2]),
            ("role=worker,role=etcd", vec![2]),
            ("!role=worker", vec![0]),
            ("label=disk", vec![1, 2]),
            ("label=disk:ssd", vec![1]),
            ("label=disk,!label=disk:ssd", vec![2]),
            ("label=example.com/gpu", vec![2]),
            ("label=example.com/gpu:", vec![2]),
            ("name=w1", vec![1]),
            ("name=w9", vec![]),
            (" role=worker , !name=w2 ", vec![1]),
        ] {
            let found: Vec<u32> = select(&nodes(), selector).unwrap().iter().map(|id| id.0).collect();
            assert_eq!(found, expected, "{selector}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for selector in [
            "",
            ",",
            "*,",
            "worker",
            "role=",
            "role=master",
            "label=",
            "label=:x",
            "name=",
            "!",
            "!!*",
            "zone=a",
            "ROLE=worker",
        ] {
            assert!(select(&nodes(), selector).is_err(), "{selector:?}");
        }
    }
}
