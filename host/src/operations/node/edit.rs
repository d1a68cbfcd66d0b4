//! Edits of a manifest's text. Only the tables of the nodes in question change; comments and order stay.

use toml_edit::{DocumentMut, Item, TableLike, value};

/// A machine that takes the place of another: labels, taints and roles stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Its name.
    pub name: String,
    /// Its address; none keeps the old one, for a machine that was set up anew.
    pub address: Option<String>,
}

/// Why a text cannot be edited: it is no TOML, or has no such node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The parser's words.
    #[error("the manifest is no TOML: {0}")]
    Syntax(String),
    /// No table with this name.
    #[error("the manifest has no node `{0}`")]
    NoSuchNode(String),
}

/// The text without these nodes.
///
/// # Errors
/// See [`EditError`].
pub fn without(text: &str, names: &[String]) -> Result<String, EditError> {
    let mut document = parse(text)?;
    for name in names {
        find(&mut document, name).ok_or_else(|| EditError::NoSuchNode(name.clone()))?;
    }
    let stays = |node: &dyn TableLike| !names.iter().any(|name| is_called(node, name));
    match document.get_mut("node") {
        Some(Item::ArrayOfTables(nodes)) => nodes.retain(|node| stays(node)),
        Some(Item::Value(nodes)) => {
            if let Some(nodes) = nodes.as_array_mut() {
                nodes.retain(|node| node.as_inline_table().is_none_or(|node| stays(node)));
            }
        }
        _ => {}
    }
    Ok(document.to_string())
}

/// The text with a node's place given to another machine. How the old machine was reached stays behind with it.
///
/// # Errors
/// See [`EditError`].
pub fn replaced(text: &str, old: &str, new: &Replacement) -> Result<String, EditError> {
    let mut document = parse(text)?;
    let node = find(&mut document, old).ok_or_else(|| EditError::NoSuchNode(old.to_owned()))?;
    set(node, "name", &new.name);
    if let Some(address) = &new.address {
        set(node, "address", address);
        if let Some(ssh) = node.get_mut("ssh").and_then(Item::as_table_like_mut) {
            ssh.remove("host");
        }
    }
    // The pinned key is the old machine's, also when the new one has its address.
    if let Some(ssh) = node.get_mut("ssh").and_then(Item::as_table_like_mut) {
        ssh.remove("host-key");
        if ssh.is_empty() {
            node.remove("ssh");
        }
    }
    Ok(document.to_string())
}

/// Keeps what stands around the old value, such as a comment at the end of the line.
fn set(node: &mut dyn TableLike, key: &str, text: &str) {
    let mut new = value(text);
    let decor = node.get(key).and_then(Item::as_value).map(|old| old.decor().clone());
    if let (Some(decor), Some(value)) = (decor, new.as_value_mut()) {
        *value.decor_mut() = decor;
    }
    node.insert(key, new);
}

fn parse(text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(|error: toml_edit::TomlError| EditError::Syntax(error.message().to_owned()))
}

fn is_called(node: &dyn TableLike, name: &str) -> bool {
    node.get("name").and_then(Item::as_str) == Some(name)
}

fn find<'a>(document: &'a mut DocumentMut, name: &str) -> Option<&'a mut dyn TableLike> {
    match document.get_mut("node")? {
        Item::ArrayOfTables(nodes) => {
            let node = nodes.iter_mut().find(|node| is_called(*node, name))?;
            Some(node as &mut dyn TableLike)
        }
        Item::Value(nodes) => {
            let nodes = nodes.as_array_mut()?.iter_mut().filter_map(toml_edit::Value::as_inline_table_mut);
            nodes.map(|node| node as &mut dyn TableLike).find(|node| is_called(*node, name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# The cluster.
[cluster]
name = "prod"

# The old one.
[[node]]
name = "cp1"      # by the window
address = "10.0.0.1"
roles = ["control-plane"]
ssh = { host-key = "SHA256:abc", port = 2222 }

[[node]]
name = "cp10"
address = "10.0.0.10"
roles = ["control-plane"]

[[stage]]
use = "ksp/containerd"
"#;

    #[test]
    fn only_the_named_node_goes() {
        insta::assert_snapshot!(without(TEXT, &["cp1".into()]).unwrap(), @r#"
        # The cluster.
        [cluster]
        name = "prod"

        [[node]]
        name = "cp10"
        address = "10.0.0.10"
        roles = ["control-plane"]

        [[stage]]
        use = "ksp/containerd"
        "#);
    }

    #[test]
    fn a_replacement_keeps_what_the_place_is_for() {
        let new = Replacement { name: "cp4".into(), address: Some("10.0.0.4".into()) };
        insta::assert_snapshot!(replaced(TEXT, "cp1", &new).unwrap(), @r#"
        # The cluster.
        [cluster]
        name = "prod"

        # The old one.
        [[node]]
        name = "cp4"      # by the window
        address = "10.0.0.4"
        roles = ["control-plane"]
        ssh = { port = 2222 }

        [[node]]
        name = "cp10"
        address = "10.0.0.10"
        roles = ["control-plane"]

        [[stage]]
        use = "ksp/containerd"
        "#);
    }

    #[test]
    fn nodes_may_stand_in_one_line() {
        let text = "node = [{ name = \"a\", address = \"1\" }, { name = \"b\", address = \"2\" }]\n";
        assert_eq!(without(text, &["a".into()]).unwrap(), "node = [ { name = \"b\", address = \"2\" }]\n");
        let new = Replacement { name: "b".into(), address: None };
        assert!(replaced(text, "b", &new).unwrap().contains("name = \"b\", address = \"2\""));
    }

    #[test]
    fn a_name_that_is_not_there_is_named() {
        assert_eq!(without(TEXT, &["cp".into()]), Err(EditError::NoSuchNode("cp".into())));
        assert!(matches!(without("a = [", &[]), Err(EditError::Syntax(_))));
    }
}
