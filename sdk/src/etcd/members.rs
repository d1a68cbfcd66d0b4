//! What `etcdctl -w json` says of the members. A member is known by its peer URL and its id, never by its place in a list.

use std::collections::BTreeMap;

use serde::Deserialize;

/// An entry of the member list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Member {
    /// Never given twice.
    #[serde(rename = "ID")]
    pub id: u64,
    /// Its node's name. Empty when it was added and has never started.
    #[serde(default)]
    pub name: String,
    /// Where other members reach it.
    #[serde(default, rename = "peerURLs")]
    pub peer_urls: Vec<String>,
    /// Where clients reach it. Empty until it has started.
    #[serde(default, rename = "clientURLs")]
    pub client_urls: Vec<String>,
    /// Copies, and does not vote yet.
    #[serde(default, rename = "isLearner")]
    pub is_learner: bool,
}

impl Member {
    /// Whether it is the one with this peer URL.
    pub fn is_at(&self, peer_url: &str) -> bool {
        self.peer_urls.iter().any(|url| url == peer_url)
    }

    /// Its id as etcdctl prints it and wants it.
    pub fn hex(&self) -> String {
        format!("{:x}", self.id)
    }

    /// For people.
    pub fn called(&self) -> String {
        let address = self.peer_urls.join(",");
        if self.name.is_empty() { address } else { format!("{} ({address})", self.name) }
    }
}

/// What `etcdctl member list` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// Of the cluster that they are members of.
    pub cluster_id: u64,
    /// In no order.
    pub members: Vec<Member>,
}

impl Members {
    /// Reads the answer of `etcdctl member list -w json`. None when it is no such answer.
    pub fn read(answer: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Header {
            cluster_id: u64,
        }
        #[derive(Deserialize)]
        struct List {
            header: Header,
            members: Vec<Member>,
        }
        let list: List = serde_json::from_str(answer).ok()?;
        Some(Self { cluster_id: list.header.cluster_id, members: list.members })
    }
}

/// Which client URLs answer, with a read that a majority confirms: the answer of `etcdctl endpoint health --cluster -w json`. That
/// command fails when one is silent, and says so of each all the same.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health(BTreeMap<String, bool>);

impl Health {
    /// Empty when it is no such answer.
    pub fn read(answer: &str) -> Self {
        #[derive(Deserialize)]
        struct Endpoint {
            endpoint: String,
            health: bool,
        }
        let endpoints: Vec<Endpoint> = serde_json::from_str(answer).unwrap_or_default();
        endpoints.into_iter().map(|it| (it.endpoint, it.health)).collect()
    }

    /// Whether a member answers under one of its URLs.
    pub fn of(&self, member: &Member) -> bool {
        member.client_urls.iter().any(|url| self.0.get(url) == Some(&true))
    }
}

impl FromIterator<(String, bool)> for Health {
    fn from_iter<I: IntoIterator<Item = (String, bool)>>(endpoints: I) -> Self {
        Self(endpoints.into_iter().collect())
    }
}

/// How many of so many voting members a decision takes.
pub fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answers_of_etcdctl_are_read() {
        let list = r#"{"header":{"cluster_id":17296283186482114562},"members":[
            {"ID":17296283186482114561,"name":"cp1","peerURLs":["https://10.0.0.1:2380"],"clientURLs":["https://10.0.0.1:2379"]},
            {"ID":2,"peerURLs":["https://[fd00::2]:2380"],"isLearner":true}]}"#;
        let health = r#"[{"endpoint":"https://10.0.0.1:2379","health":true,"took":"5ms"},{"endpoint":"https://[fd00::2]:2379","health":false,"error":"x"}]"#;
        let Members { cluster_id, members } = Members::read(list).unwrap();
        let health = Health::read(health);
        assert_eq!((cluster_id, members[0].hex().as_str()), (17_296_283_186_482_114_562, "f008bdeb20d3f001"));
        assert_eq!([health.of(&members[0]), health.of(&members[1])], [true, false]);
        assert_eq!([members[0].is_learner, members[1].is_learner], [false, true]);
        assert_eq!(members[0].called(), "cp1 (https://10.0.0.1:2380)");
        assert_eq!(members[1].called(), "https://[fd00::2]:2380");
        assert_eq!(Members::read(""), None);
        assert_eq!(Health::read("connection refused"), Health::default());
    }

    /// One address may begin as another does.
    #[test]
    fn peer_urls_are_compared_whole() {
        let one = Member {
            id: 1,
            name: "cp1".into(),
            peer_urls: vec!["https://10.0.0.1:2380".into()],
            client_urls: Vec::new(),
            is_learner: false,
        };
        assert!(one.is_at("https://10.0.0.1:2380"));
        assert!(!one.is_at("https://10.0.0.11:2380") && !one.is_at("https://10.0.0.1:23800"));
    }

    #[test]
    fn a_majority_is_more_than_half() {
        assert_eq!([1, 2, 3, 4, 5].map(majority), [1, 2, 2, 3, 3]);
    }
}
