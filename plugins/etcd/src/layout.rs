//! Where things are on an etcd node. The probes in plugin.toml name the same paths.

use ksp_sdk::etcd::{Etcd, KEPT_WITH_DATA, RunBy};
use ksp_sdk::prelude::*;

/// Programs: etcd, etcdctl, etcdutl.
pub const PROGRAMS: &str = "/usr/local/bin";
/// Configuration.
pub const FOLDER: &str = "/etc/etcd";
/// What etcd is started with.
pub const CONFIG: &str = "/etc/etcd/etcd.yaml";
/// What etcd is started with instead while a member is made: this one says who the others are. Gone afterwards, so that a member
/// without its data has nobody to begin with.
pub const BEGINNING: &str = "/etc/etcd/beginning.yaml";
/// Certificates and keys.
pub const PKI: &str = "/etc/etcd/pki";
/// Written last: the node is a voting member. Lies outside the data, so that lost data are noticed.
pub const COMPLETE: &str = "/etc/etcd/.member-complete";
/// The members' data.
pub const DATA: &str = "/var/lib/etcd";
/// The unit's file.
pub const UNIT_FILE: &str = "/etc/systemd/system/etcd.service";
/// The unit.
pub const UNIT: &str = "etcd.service";
/// User and group of members.
pub const USER: &str = "etcd";
/// Where members tell Prometheus how they are; nobody else on the network.
pub const METRICS: &str = "http://127.0.0.1:2381";

/// The authority that a member checks the others against: see [`KEPT_WITH_DATA`].
pub fn trusted() -> String {
    format!("{DATA}/{KEPT_WITH_DATA}")
}

/// How others find this etcd.
pub fn published(nodes: &Nodes) -> Etcd {
    Etcd {
        run_by: RunBy::Systemd,
        nodes: nodes.iter().map(|node| node.name.clone()).collect(),
        data_dir: DATA.into(),
        ca: format!("{PKI}/ca.crt"),
        certificate: format!("{PKI}/admin.crt"),
        key: format!("{PKI}/admin.key"),
    }
}
