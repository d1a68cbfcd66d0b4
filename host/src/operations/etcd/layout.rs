//! Where the cluster's etcd is: what the stage that runs it has published (`sdk/src/etcd.rs` writes it).

use serde::{Deserialize, Serialize};

use crate::diagnostic::Diagnostic;
use crate::node::Node;
use crate::operations::prepare::Prepared;
use crate::operations::{Class, Failure};
use crate::plan::Plan;
use crate::transport::quote;

/// The key of the output.
const OUTPUT: &str = "etcd";

/// The key under which a stage that makes timed backups says where, on each node with a member, it notes the last one.
const LAST_BACKUP: &str = "etcd-last-backup";

/// Where members listen for clients.
const CLIENT_PORT: u16 = 2379;

/// Where members listen for each other.
pub const PEER_PORT: u16 = 2380;

/// Below the data directory: the authority that peers are checked against. A member that lost its data has lost it too, and does
/// not start; whoever makes data for a member has to put it there.
pub const KEPT_WITH_DATA: &str = "member/ca.crt";

/// Who keeps a member running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunBy {
    /// A static pod, `/etc/kubernetes/manifests/etcd.yaml`.
    Kubelet,
    /// `etcd.service`.
    Systemd,
}

/// An etcd.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Etcd {
    /// Who keeps its members running.
    pub run_by: RunBy,
    /// The names of the nodes with a member; a member has the name of its node.
    pub nodes: Vec<String>,
    /// Where members keep their data.
    pub data_dir: String,
    /// On each of the nodes: the certificate of the authority.
    pub ca: String,
    /// On each of the nodes: a client's certificate that may do everything.
    pub certificate: String,
    /// On each of the nodes: its key.
    pub key: String,
    /// On each of the nodes: notes of the last timed backup.
    #[serde(skip)]
    pub last_backups: Vec<String>,
}

impl Etcd {
    /// Finds it in the outputs of a plan.
    ///
    /// # Errors
    /// No stage says how etcd is run, or not in a way that is understood.
    pub fn find(plan: &Plan) -> Result<Self, Failure> {
        let Some((stage, text)) =
            plan.stages.iter().find_map(|stage| Some((&stage.name, stage.outputs.get(OUTPUT)?)))
        else {
            let finding = Diagnostic::error("ksp::etcd::unknown", "no stage says how this cluster's etcd is run")
                .hint("`ksp etcd` needs a stage that publishes `etcd`, such as the one that makes the control plane");
            return Err(Failure::new(Class::Invalid, finding));
        };
        let etcd = serde_json::from_str::<Self>(text).map_err(|error| {
            let message = format!("what stage {stage} says of etcd cannot be understood: {error}");
            let finding = Diagnostic::error("ksp::etcd::unknown", message)
                .hint("use versions of ksp and of the plugin that belong together");
            Failure::new(Class::Invalid, finding)
        })?;
        let last_backups = plan.stages.iter().filter_map(|stage| stage.outputs.get(LAST_BACKUP).cloned());
        Ok(Self { last_backups: last_backups.collect(), ..etcd })
    }

    /// The beginning of an `etcdctl` command about the member on the node where it runs.
    pub fn ctl(&self) -> String {
        let argv = [
            "/usr/local/bin/etcdctl".to_owned(),
            format!("--endpoints=https://127.0.0.1:{CLIENT_PORT}"),
            format!("--cacert={}", self.ca),
            format!("--cert={}", self.certificate),
            format!("--key={}", self.key),
        ];
        quote::command(&argv)
    }

    /// The nodes with a member, in the manifest's order.
    pub fn members<'a>(&self, prepared: &'a Prepared) -> Vec<&'a Node> {
        prepared.manifest.nodes.iter().filter(|node| self.nodes.contains(&node.name)).collect()
    }

    /// The folder of the certificates.
    pub fn pki(&self) -> &str {
        self.ca.rsplit_once('/').map_or("/", |(folder, _)| folder)
    }
}

#[cfg(test)]
pub(crate) fn testing() -> Etcd {
    Etcd {
        run_by: RunBy::Kubelet,
        nodes: ["cp1", "cp2", "cp3"].map(str::to_owned).to_vec(),
        data_dir: "/var/lib/etcd".into(),
        ca: "/etc/kubernetes/pki/etcd/ca.crt".into(),
        certificate: "/etc/kubernetes/pki/etcd/healthcheck-client.crt".into(),
        key: "/etc/kubernetes/pki/etcd/healthcheck-client.key".into(),
        last_backups: vec!["/var/backups/etcd/last.json".into()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::testing;

    #[test]
    fn it_is_found_without_knowing_the_stage() {
        let mut stage = testing::stage("anything", &[]);
        assert_eq!(
            Etcd::find(&testing::plan(vec![stage.clone()])).unwrap_err().findings[0].code,
            "ksp::etcd::unknown"
        );
        // As the SDK writes it.
        let text = r#"{"run-by":"systemd","nodes":["e1"],"data-dir":"/d","ca":"/p/ca.crt","certificate":"/p/c.crt","key":"/p/c.key"}"#;
        stage.outputs.insert("etcd".into(), text.into());
        let mut timed = testing::stage("backups", &[]);
        timed.outputs.insert("etcd-last-backup".into(), "/b/last.json".into());
        let found = Etcd::find(&testing::plan(vec![stage, timed])).unwrap();
        assert_eq!(found.last_backups, ["/b/last.json"]);
        assert_eq!((found.run_by, found.pki()), (RunBy::Systemd, "/p"));
        assert!(
            found.ctl().ends_with("--cacert=/p/ca.crt --cert=/p/c.crt --key=/p/c.key")
                || found.ctl().contains("'--cacert=/p/ca.crt'")
        );
    }
}
