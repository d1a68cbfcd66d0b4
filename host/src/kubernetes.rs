//! The Kubernetes API, reached through the SSH connection to a living control plane.

pub mod apply;
pub mod cordon;
pub mod dial;
pub mod drain;
pub mod kubeconfig;
pub mod node_settings;
pub mod object;
pub mod recreate;
pub mod wait;

mod connector;
mod diff;
mod discovery;
mod failure;
mod patience;
mod record;

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use kube::client::middleware::BaseUriLayer;
use tokio::time::Instant;
use tower::Layer;

use self::connector::ApiConnector;
use self::dial::{Dial, Direct, Through};
use self::discovery::Kinds;
pub use self::patience::Patience;
pub use self::record::sets;
use crate::manifest::Endpoint;
use crate::op::OpError;
use crate::pki::{Pki, PkiError, Request, Usage};
use crate::transport::Session;

/// Who writes fields in server-side apply.
pub const FIELD_MANAGER: &str = "ksp";

/// How long one request may take before its answer begins.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long polling for something ends before the deadline, so that the answer is "it is not there" and not silence.
const LAST_QUESTION: Duration = Duration::from_secs(1);

/// How many requests are under way at once.
const PARALLEL: usize = 16;

/// A value as YAML, long texts on one line.
fn yaml(value: &serde_json::Value) -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false, compact_list_indent: true };
    // Maps with text keys: cannot fail.
    serde_saphyr::to_string_with_options(value, options).unwrap_or_else(|_| value.to_string())
}

/// Runs requests side by side and keeps their order; the first failure ends all.
async fn side_by_side<T>(requests: Vec<impl Future<Output = Result<T, OpError>>>) -> Result<Vec<T>, OpError> {
    stream::iter(requests).buffered(PARALLEL).try_collect().await
}

/// A client for one cluster. Cheap to clone; all clones share connections.
#[derive(Clone)]
pub struct Kubernetes {
    /// Tunnelled; field manager `ksp`.
    pub client: kube::Client,
    /// How long waits of this run go on.
    pub patience: Patience,
    kinds: Arc<Kinds>,
    connector: ApiConnector,
}

/// Why there can be no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KubernetesError {
    /// No API server is known.
    #[error("no address of an API server is known")]
    NoEndpoint,
    /// No control plane can be reached.
    #[error("no control plane can be reached")]
    NoSession,
    /// The client's certificate could not be made.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The certificates do not make a TLS client.
    #[error("no TLS client: {0}")]
    Tls(String),
}

impl KubernetesError {
    /// Stable.
    pub fn code(&self) -> &'static str {
        match self {
            KubernetesError::NoEndpoint => "ksp::kube::no-endpoint",
            KubernetesError::NoSession => "ksp::kube::no-control-plane",
            KubernetesError::Pki(error) => error.code(),
            KubernetesError::Tls(_) => "ksp::kube::tls",
        }
    }
}

/// A client that reaches the API servers at `endpoints` through the sessions of living control planes, in their order, and
/// dials again when a connection is lost. Connects when it is first used. It acts as `system:masters`, with a certificate of
/// `authority` that lives one day and is not kept: RBAC may not be there yet, and the host must be able to mend it.
///
/// # Errors
/// Nothing to reach, or no such authority.
pub fn connect(
    sessions: Vec<Arc<dyn Session>>,
    endpoints: &[Endpoint],
    pki: &Pki,
    authority: &str,
) -> Result<Kubernetes, KubernetesError> {
    if sessions.is_empty() {
        return Err(KubernetesError::NoSession);
    }
    connect_with(through(sessions), endpoints, pki, authority)
}

/// As [`connect`], over plain TCP from this machine.
///
/// # Errors
/// As [`connect`].
pub fn connect_directly(
    endpoints: &[Endpoint],
    pki: &Pki,
    authority: &str,
) -> Result<Kubernetes, KubernetesError> {
    connect_with(vec![Arc::new(Direct)], endpoints, pki, authority)
}

fn through(sessions: Vec<Arc<dyn Session>>) -> Vec<Arc<dyn Dial>> {
    sessions.into_iter().map(|session| Arc::new(Through(session)) as Arc<dyn Dial>).collect()
}

fn connect_with(
    dialers: Vec<Arc<dyn Dial>>,
    endpoints: &[Endpoint],
    pki: &Pki,
    authority: &str,
) -> Result<Kubernetes, KubernetesError> {
    if endpoints.is_empty() {
        return Err(KubernetesError::NoEndpoint);
    }
    let request = Request {
        common_name: "ksp".into(),
        organizations: vec!["system:masters".into()],
        usages: vec![Usage::Client],
        valid_days: 1,
        ..Request::default()
    };
    let identity = pki.issue_transient(authority, &request)?;
    let trusted =
        pki.find_authority(authority).ok_or_else(|| PkiError::UnknownAuthority(authority.into()))?;
    let connector = ApiConnector::new(dialers, endpoints.to_vec(), &trusted.certificate, &identity)?;
    let http = connector::http_client(connector.clone());
    // The connector picks the address; this one only fills the requests' Host header.
    let base = http::Uri::from_static("https://kubernetes.default.svc");
    let client = kube::Client::new(BaseUriLayer::new(base).layer(http), "default");
    Ok(Kubernetes { client, patience: Patience::default(), kinds: Arc::default(), connector })
}

impl Kubernetes {
    /// Uses these control planes from the next connection on.
    pub fn set_sessions(&self, sessions: Vec<Arc<dyn Session>>) {
        self.connector.set_dialers(through(sessions));
    }

    /// True when an API server answers that it is ready.
    pub async fn is_ready(&self) -> bool {
        matches!(tokio::time::timeout(Duration::from_secs(10), self.readiness()).await, Ok(Ok(())))
    }

    /// Waits until an API server answers that it is ready.
    ///
    /// # Errors
    /// None did within the time; the error holds the last reason.
    pub async fn wait_ready(&self, within: Duration) -> Result<(), OpError> {
        let deadline = Instant::now() + within;
        failure::retry(deadline, "the API server is not ready", || self.readiness()).await
    }

    async fn readiness(&self) -> kube::Result<()> {
        let request = http::Request::get("/readyz").body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request_text(request).await.map(drop)
    }

    /// The group that a person's kubeconfig should name: kubeadm's, whose rights an administrator can take away, when the
    /// cluster knows it, and otherwise the one that is above RBAC.
    pub async fn admin_group(&self) -> &'static str {
        let request = http::Request::get(
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kubeadm:cluster-admins",
        )
        .body(Vec::new());
        let Ok(request) = request else { return kubeconfig::MASTERS };
        match tokio::time::timeout(REQUEST_TIMEOUT, self.client.request_text(request)).await {
            Ok(Ok(_)) => kubeconfig::KUBEADM_ADMINS,
            _ => kubeconfig::MASTERS,
        }
    }
}
