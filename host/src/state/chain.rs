//! The chain of stages that a cluster was made by, so that what a stage leaves behind is found when it has left the manifest.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::ClusterState;

/// A stage that has taken part in making the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChainLink {
    /// The stage's name in the manifest.
    pub name: String,
    /// The plugin's "publisher/name".
    pub plugin: String,
    /// Where the plugin came from, as the manifest's `use` says it.
    pub reference: String,
    /// What the operator granted to it.
    #[serde(default)]
    pub grants: Vec<String>,
    /// The slots that it provided.
    pub provides: Vec<String>,
    /// Its config as written. Secrets are in it by name only.
    pub config: Value,
}

impl ChainLink {
    /// True when it is the same stage, whatever its config says now.
    pub fn is(&self, other: &Self) -> bool {
        self.name == other.name && self.plugin == other.plugin
    }
}

impl ClusterState {
    /// Before a run has its first effect: everything that it is made by, beside what earlier runs were.
    pub fn begin_chain(&mut self, current: &[ChainLink]) {
        let gone = self.chain.iter().filter(|link| !current.iter().any(|own| own.is(link)));
        let union: Vec<ChainLink> = current.iter().chain(gone).cloned().collect();
        self.replace_chain(union);
    }

    /// After a good run: what is not part of the chain any more has left nothing behind.
    pub fn end_chain(&mut self, current: &[ChainLink]) {
        self.replace_chain(current.to_vec());
    }

    fn replace_chain(&mut self, chain: Vec<ChainLink>) {
        if self.chain != chain {
            self.chain = chain;
            self.touch();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, port: u16) -> ChainLink {
        ChainLink {
            name: name.into(),
            plugin: format!("ksp/{name}"),
            reference: name.into(),
            grants: Vec::new(),
            provides: vec!["network".into()],
            config: serde_json::json!({ "port": port }),
        }
    }

    fn names(state: &ClusterState) -> Vec<&str> {
        state.chain.iter().map(|link| link.name.as_str()).collect()
    }

    #[test]
    fn a_stage_is_remembered_until_a_good_run_without_it() {
        let mut state = ClusterState::default();
        state.begin_chain(&[link("flannel", 1)]);
        state.end_chain(&[link("flannel", 1)]);
        assert_eq!(state.changes, 1, "nothing new is nothing to write");
        state.begin_chain(&[link("calico", 1)]);
        assert_eq!(names(&state), ["calico", "flannel"]);
        state.begin_chain(&[link("calico", 2)]);
        assert_eq!(names(&state), ["calico", "flannel"]);
        state.end_chain(&[link("calico", 2)]);
        assert_eq!(names(&state), ["calico"]);
        assert_eq!(state.chain[0].config["port"], 2);
    }
}
