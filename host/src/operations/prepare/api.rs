//! The Kubernetes API as the plan says how to reach it: the stage that provides slot `api` publishes `authority` (a name in the
//! PKI) and `endpoints` (a JSON list of "ip:port").

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::nodes;
use crate::diagnostic::Diagnostic;
use crate::exec::ClusterAccess;
use crate::facts::Gathered;
use crate::kubernetes::{self, Kubernetes, kubeconfig};
use crate::manifest::{Endpoint, Manifest};
use crate::node::{NodeId, Role};
use crate::op::OpError;
use crate::operations::{Class, Failure};
use crate::pki::Pki;
use crate::plan::Plan;
use crate::redact::Secret;
use crate::transport::Session;

/// The slot whose provider says how to reach the API.
const SLOT: &str = "api";
/// For a plan: without an answer the ops of the cluster are not known.
pub const QUICK: Duration = Duration::from_secs(3);
/// For people's kubeconfig: does a control plane take connections from here?
const FROM_HERE: Duration = Duration::from_secs(1);
/// For a run, which tries again.
const PATIENT: Duration = Duration::from_secs(10);

/// How to reach the API.
pub struct Access {
    sessions: Vec<Arc<dyn Session>>,
    endpoints: Vec<Endpoint>,
    authority: String,
    pki: Pki,
}

impl Access {
    /// None when the plan does not say how, or no control plane was reached.
    pub fn new(
        plan: &Plan,
        manifest: &Manifest,
        sessions: &BTreeMap<NodeId, Arc<dyn Session>>,
        pki: &Pki,
    ) -> Option<Self> {
        let endpoints: Vec<String> = serde_json::from_str(plan.output(SLOT, "endpoints")?).ok()?;
        let planes = manifest.nodes.iter().filter(|node| node.is(Role::ControlPlane));
        let sessions: Vec<_> = planes.filter_map(|node| sessions.get(&node.id)).map(Arc::clone).collect();
        (!sessions.is_empty()).then_some(Self {
            sessions,
            endpoints: endpoints.iter().filter_map(|text| endpoint(text)).collect(),
            authority: plan.output(SLOT, "authority")?.to_owned(),
            pki: pki.clone(),
        })
    }

    /// A client that has been answered, and the server's version without its `v`.
    ///
    /// # Errors
    /// No answer in time.
    pub async fn ask(&self, within: Duration) -> Result<(Kubernetes, String), OpError> {
        let client = kubernetes::connect(self.sessions.clone(), &self.endpoints, &self.pki, &self.authority)
            .map_err(|error| OpError::new("ksp::kubernetes::connect", error.to_string()))?;
        let silent = |why: String| {
            let mut error = OpError::new(
                "ksp::kubernetes::unreachable",
                format!("the API server does not answer: {why}"),
            );
            error.retryable = true;
            error.hint(
                "look at the API server's log on a control plane: `crictl logs` or `journalctl -u kubelet`",
            )
        };
        match tokio::time::timeout(within, client.client.apiserver_version()).await {
            Ok(Ok(version)) => Ok((client, version.git_version.trim_start_matches('v').to_owned())),
            Ok(Err(error)) => Err(silent(error.to_string())),
            Err(_) => Err(silent(format!("nothing within {}s", within.as_secs()))),
        }
    }

    /// A kubeconfig for people; none when the existing one is still good. Where the endpoint is loopback, which only nodes have,
    /// it names a control plane that answers, and each of them in a context of its own.
    ///
    /// # Errors
    /// The authority is not known.
    pub async fn kubeconfig(&self, manifest: &Manifest, existing: &str) -> Result<Option<Secret>, Failure> {
        let (server, others) = if manifest.cluster.endpoint.is_loopback() {
            let others = self.servers(manifest);
            (self.answering(existing).await, others)
        } else {
            (address(&manifest.cluster.endpoint), Vec::new())
        };
        let access = kubeconfig::Access {
            authority: &self.authority,
            cluster: &manifest.cluster.name,
            server: &server,
            others: &others,
            user: kubeconfig::USER,
            group: kubeconfig::KUBEADM_ADMINS,
        };
        if kubeconfig::still_good(existing, &self.pki, access) {
            return Ok(None);
        }
        kubeconfig::kubeconfig(&self.pki, access)
            .map(Some)
            .map_err(|error| Failure::new(Class::Failed, Diagnostic::error(error.code(), error.to_string())))
    }

    /// Name and server of every control plane.
    fn servers(&self, manifest: &Manifest) -> Vec<(String, String)> {
        let name = |endpoint: &Endpoint| {
            let found = manifest.nodes.iter().find(|node| node.address.to_string() == endpoint.host);
            found.map_or_else(|| endpoint.host.clone(), |node| node.name.clone())
        };
        self.endpoints.iter().map(|endpoint| (name(endpoint), address(endpoint))).collect()
    }

    /// The server that the existing file uses when it answers, else the first that does. When none answers here, because there is
    /// no way but SSH, the first.
    async fn answering(&self, existing: &str) -> String {
        let used = kubeconfig::current_server(existing);
        let mut servers: Vec<&Endpoint> = self.endpoints.iter().collect();
        servers.sort_by_key(|server| used.as_deref() != Some(address(server).as_str()));
        let dials = servers.iter().map(|server| async move {
            let dial = tokio::net::TcpStream::connect((server.host.as_str(), server.port));
            matches!(tokio::time::timeout(FROM_HERE, dial).await, Ok(Ok(_)))
        });
        let answers = futures_util::future::join_all(dials).await;
        let first = answers.iter().position(|answers| *answers).unwrap_or(0);
        servers.get(first).map(|server| address(server)).unwrap_or_default()
    }
}

fn address(server: &Endpoint) -> String {
    format!("https://{server}")
}

/// "10.0.0.1:6443" or "[fd00::1]:6443".
fn endpoint(text: &str) -> Option<Endpoint> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some(Endpoint { host: host.to_owned(), port: port.parse().ok()? })
}

/// True when a control plane listens where API servers do: asking one that cannot be there would cost seconds.
pub fn is_likely(manifest: &Manifest, gathered: &BTreeMap<NodeId, Gathered>) -> bool {
    let ports = [6443, u64::from(manifest.cluster.endpoint.port)];
    let planes = manifest.nodes.iter().filter(|node| node.is(Role::ControlPlane));
    planes.filter_map(|node| gathered.get(&node.id)).any(|it| nodes::listens_on(&it.facts, &ports))
}

#[async_trait]
impl ClusterAccess for Access {
    async fn connect(&self) -> Result<Kubernetes, OpError> {
        self.ask(PATIENT).await.map(|(client, _)| client)
    }
}

/// No stage provides an API.
pub struct Nowhere;

#[async_trait]
impl ClusterAccess for Nowhere {
    async fn connect(&self) -> Result<Kubernetes, OpError> {
        Err(OpError::new("ksp::kubernetes::nowhere", "no stage says how to reach the Kubernetes API")
            .hint("add a stage that provides slot `api` and publishes `authority` and `endpoints`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        assert_eq!(endpoint("10.0.0.1:6443"), Some(Endpoint { host: "10.0.0.1".into(), port: 6443 }));
        assert_eq!(endpoint("[fd00::1]:6443"), Some(Endpoint { host: "fd00::1".into(), port: 6443 }));
        assert_eq!(endpoint("10.0.0.1"), None);
    }
}
