//! What lies on nodes: whether a run has written anything that was there before, or anything new.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::scenario::Scenario;

/// Where ksp installs and configures.
const FOLDERS: &str = "/etc /usr/local /opt/cni";

/// Node → path → when its inode last changed, with size and kind: a file written again with the same bytes counts.
pub type Listing = BTreeMap<String, BTreeMap<String, String>>;

/// Of a scenario's nodes.
pub fn of(scenario: &Scenario) -> Result<Listing> {
    let names = scenario.nodes.iter().map(|node| node.name.as_str());
    names.map(|name| Ok((name.to_owned(), on(scenario, name)?))).collect()
}

fn on(scenario: &Scenario, name: &str) -> Result<BTreeMap<String, String>> {
    let line = format!("find {FOLDERS} ! -type d -printf '%p\\t%y %s %m %C@\\n'");
    let output = scenario.node(name)?.exec(&line)?;
    let pair = |line: &str| line.split_once('\t').map(|(path, rest)| (path.to_owned(), rest.to_owned()));
    Ok(output.lines().filter_map(pair).collect())
}

/// `node path` of every file that came, went or changed.
pub fn changed(before: &Listing, after: &Listing) -> Vec<String> {
    let mut changed = Vec::new();
    for (node, old) in before {
        let none = BTreeMap::new();
        let new = after.get(node).unwrap_or(&none);
        let gone = old.keys().filter(|path| !new.contains_key(*path));
        let other = new.iter().filter(|(path, what)| old.get(*path) != Some(what)).map(|(path, _)| path);
        changed.extend(gone.chain(other).map(|path| format!("{node} {path}")));
    }
    changed.sort();
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_went_and_changed() {
        let listing = |files: &[(&str, &str)]| {
            let files = files.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned()));
            Listing::from([("w1".to_owned(), files.collect())])
        };
        let before = listing(&[("/a", "1"), ("/b", "1"), ("/c", "1")]);
        assert!(changed(&before, &before).is_empty());
        let after = listing(&[("/a", "1"), ("/b", "2"), ("/d", "1")]);
        assert_eq!(changed(&before, &after), ["w1 /b", "w1 /c", "w1 /d"]);
    }
}
