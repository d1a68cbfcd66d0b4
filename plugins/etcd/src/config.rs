//! etcd's configuration file. JSON is YAML.

use ksp_sdk::etcd::{self, CLIENT_PORT};
use ksp_sdk::prelude::*;
use serde_json::{Map, Value};

use crate::Etcd;
use crate::layout::{DATA, METRICS, PKI, trusted};

/// How a member finds the others the first time it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beginning {
    /// With the others it begins a new cluster.
    New {
        /// Name and peer address of every founder.
        founders: Vec<(String, String)>,
        /// No other cluster has this token: members of two clusters never take each other for their own.
        token: String,
    },
    /// It joins a cluster that runs.
    Existing {
        /// Name and peer address of every member, its own too.
        members: Vec<(String, String)>,
    },
}

/// Keys that belong to this plugin: who a member is, where its data are, whom it trusts.
pub const OWN: &[&str] = &[
    "name",
    "data-dir",
    "wal-dir",
    "listen-peer-urls",
    "listen-client-urls",
    "initial-advertise-peer-urls",
    "advertise-client-urls",
    "initial-cluster",
    "initial-cluster-state",
    "initial-cluster-token",
    "force-new-cluster",
    "client-transport-security",
    "peer-transport-security",
    "discovery",
    "discovery-srv",
    "strict-reconfig-check",
    "unsafe-no-fsync",
];

/// The oldest and the newest minor of etcd 3 whose settings are known: `version_of` and `of_minor`.
const OLDEST_MINOR: u64 = 6;

/// Major and minor of a version that is supported.
pub fn minor_of(version: &str) -> Option<u64> {
    let mut parts = version.split('.').map(|part| part.parse::<u64>().ok());
    match (parts.next()??, parts.next()??, parts.next()??) {
        (3, minor, _) if minor >= OLDEST_MINOR => Some(minor),
        _ => None,
    }
}

/// Settings that had other names in other minors (T5). Until 3.5 both were flags that began with `experimental-`; 3.6 knows both
/// names, and 3.7 has dropped the old ones.
fn of_minor(minor: u64) -> Value {
    debug_assert!(minor >= OLDEST_MINOR);
    json!({
        // A member whose data differ from the others' does not serve.
        "feature-gates": "InitialCorruptCheck=true",
        // Nanoseconds. The API server's watch cache needs it to know that nothing was missed.
        "watch-progress-notify-interval": 5_000_000_000_u64,
    })
}

/// The file of the member on a node. Without a beginning for one that is a member: its data say who the others are, and should they
/// get lost, the file names nobody to begin with.
pub fn render(stage: &Etcd, node: &Node, beginning: Option<&Beginning>) -> String {
    let mut config = object(json!({
        "name": node.name,
        "data-dir": DATA,
        "listen-peer-urls": etcd::peer_url(node),
        "initial-advertise-peer-urls": etcd::peer_url(node),
        "listen-client-urls": format!("{},https://127.0.0.1:{CLIENT_PORT}", etcd::client_url(node)),
        "advertise-client-urls": etcd::client_url(node),
        "listen-metrics-urls": METRICS,
        "client-transport-security": security("server", &format!("{PKI}/ca.crt")),
        "peer-transport-security": security("peer", &trusted()),
        "tls-min-version": "TLS1.2",
        "strict-reconfig-check": true,
        "auto-compaction-mode": "periodic",
        "auto-compaction-retention": stage.compaction,
        "quota-backend-bytes": stage.quota << 20,
        "heartbeat-interval": stage.heartbeat,
        "election-timeout": stage.election,
        "snapshot-count": stage.snapshot_count,
    }));
    config.extend(object(of_minor(minor_of(&stage.version).unwrap_or(OLDEST_MINOR))));
    config.extend(stage.settings.clone());
    config.extend(object(match beginning {
        Some(Beginning::New { founders, token }) => json!({
            "initial-cluster": listed(founders),
            "initial-cluster-state": "new",
            "initial-cluster-token": token,
        }),
        Some(Beginning::Existing { members }) => {
            json!({ "initial-cluster": listed(members), "initial-cluster-state": "existing" })
        }
        None => json!({ "initial-cluster-state": "existing" }),
    }));
    format!("{:#}\n", Value::Object(config))
}

fn security(purpose: &str, trusted: &str) -> Value {
    json!({
        "cert-file": format!("{PKI}/{purpose}.crt"),
        "key-file": format!("{PKI}/{purpose}.key"),
        "trusted-ca-file": trusted,
        "client-cert-auth": true,
    })
}

fn listed(members: &[(String, String)]) -> String {
    let pairs: Vec<String> = members.iter().map(|(name, url)| format!("{name}={url}")).collect();
    pairs.join(",")
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        let spec = json!({ "name": "e1", "address": "10.0.0.1", "roles": ["etcd"] });
        Node::for_test(0, serde_json::from_value(spec).unwrap())
    }

    fn rendered(stage: &Etcd, beginning: Option<&Beginning>) -> Value {
        serde_json::from_str(&render(stage, &node(), beginning)).unwrap()
    }

    #[test]
    fn each_minor_has_its_names_t5() {
        for minor in [6, 7] {
            let text = of_minor(minor).to_string();
            assert!(!text.contains("experimental"), "3.{minor}: {text}");
            assert!(text.contains("InitialCorruptCheck=true"), "3.{minor}: {text}");
        }
        // T4: 3.5 leaves members behind that only 3.6 sees; a cluster never begins with it.
        let minors = ["3.6.8", "3.7.0", "3.5.26", "4.0.0", "3.6", "latest"].map(minor_of);
        assert_eq!(minors, [Some(6), Some(7), None, None, None, None]);
    }

    #[test]
    fn a_member_has_the_name_of_its_node_t9() {
        let founders = vec![
            ("e2".to_owned(), "https://10.0.0.2:2380".to_owned()),
            ("e1".to_owned(), "https://10.0.0.1:2380".to_owned()),
        ];
        let config = rendered(&Etcd::default(), Some(&Beginning::New { founders, token: "t".into() }));
        assert_eq!(config["name"], "e1");
        assert_eq!(config["initial-cluster"], "e2=https://10.0.0.2:2380,e1=https://10.0.0.1:2380");
        assert_eq!(config["initial-cluster-state"], "new");
    }

    #[test]
    fn a_member_with_a_past_could_not_begin_anything_t1() {
        let config = rendered(&Etcd::default(), None);
        assert_eq!(config["initial-cluster-state"], "existing");
        assert!(config.get("initial-cluster").is_none() && config.get("initial-cluster-token").is_none());
        assert_eq!(config["peer-transport-security"]["trusted-ca-file"], "/var/lib/etcd/member/ca.crt");
    }

    #[test]
    fn settings_are_laid_over() {
        let settings = object(json!({ "max-request-bytes": 3_145_728, "snapshot-count": 5000 }));
        let config = rendered(&Etcd { settings, ..Etcd::default() }, None);
        assert_eq!(
            (&config["max-request-bytes"], &config["snapshot-count"]),
            (&json!(3_145_728), &json!(5000))
        );
    }
}
