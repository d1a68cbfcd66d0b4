//! Documents for kubeadm and the bootstrap tokens in them. A token is made for one run, lives for minutes, and never stands in an
//! argument list: kubeadm reads its configuration from standard input.

mod leave;

use base64::prelude::*;
use serde_json::{Value, json};

pub use leave::{dissolve, leave};

use crate::{Context, Error, Node, Op, Result, Secret, Spec};

/// The version of kubeadm's configuration that all supported releases read.
pub const API_VERSION: &str = "kubeadm.k8s.io/v1beta4";

/// Where every API server listens.
pub const API_PORT: u16 = 6443;

/// Stands for the token in a document until [`Token::put_into`].
pub const TOKEN: &str = "@BOOTSTRAP-TOKEN@";

/// What an interrupted `kubeadm init` or `join` leaves behind is where the next one goes on; kubeadm's preflight would refuse it.
pub const LEFT_BY_AN_INTERRUPTED_RUN: &[&str] = &[
    "DirAvailable--etc-kubernetes-manifests",
    "DirAvailable--var-lib-etcd",
    "FileAvailable--etc-kubernetes-bootstrap-kubelet.conf",
    "FileAvailable--etc-kubernetes-kubelet.conf",
    "FileAvailable--etc-kubernetes-manifests-etcd.yaml",
    "FileAvailable--etc-kubernetes-manifests-kube-apiserver.yaml",
    "FileAvailable--etc-kubernetes-manifests-kube-controller-manager.yaml",
    "FileAvailable--etc-kubernetes-manifests-kube-scheduler.yaml",
    "FileAvailable--etc-kubernetes-pki-ca.crt",
    "Port-10250",
    "Port-10257",
    "Port-10259",
    "Port-2379",
    "Port-2380",
    "Port-6443",
];

const ALPHABET: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const LIFE: &str = "15m0s";

/// A bootstrap token that the API does not know yet.
pub struct Token {
    id: Secret,
    secret: Secret,
}

impl Token {
    /// A token for this run. Needs the grants `secrets:<purpose>-token-id` and `secrets:<purpose>-token-secret`.
    ///
    /// # Errors
    /// Not granted.
    pub fn ephemeral(cx: &Context, purpose: &str) -> Result<Self> {
        // Six and sixteen characters, as the API wants them.
        Ok(Self {
            id: cx.ephemeral(&format!("{purpose}-token-id"), ALPHABET, 6)?,
            secret: cx.ephemeral(&format!("{purpose}-token-secret"), ALPHABET, 16)?,
        })
    }

    /// The document with this token in place of [`TOKEN`].
    ///
    /// # Errors
    /// Of the host's templates.
    pub fn put_into(&self, cx: &Context, document: &str) -> Result<Secret> {
        let parts: Vec<&str> = document.split(TOKEN).collect();
        let source = "{% for part in parts %}{% if not loop.first %}{{ id }}.{{ secret }}{% endif %}{{ part }}{% endfor %}";
        cx.render_secret(source, &json!({ "parts": parts }), &[("id", &self.id), ("secret", &self.secret)])
    }

    /// Makes the token known to the API, by kubeadm on a control plane that runs.
    ///
    /// # Errors
    /// Of the host's templates.
    pub fn mint(&self, cx: &Context, spec: &Spec, on: &Node) -> Result<Op> {
        // kubeadm asks the internet for a version when none is given.
        let document = documents(&[
            json!({ "apiVersion": API_VERSION, "kind": "InitConfiguration", "bootstrapTokens": bootstrap_tokens() }),
            json!({
                "apiVersion": API_VERSION,
                "kind": "ClusterConfiguration",
                "kubernetesVersion": format!("v{}", spec.kubernetes),
            }),
        ]);
        let argv =
            ["kubeadm", "token", "create", "--config=/dev/stdin", "--kubeconfig=/etc/kubernetes/admin.conf"];
        let document = self.put_into(cx, &document)?;
        Ok(cx
            .plan()
            .exec(on, argv)
            .summary("create a join token that lives for minutes")
            .stdin_secret(&document))
    }
}

/// Where the runtime of a node listens.
///
/// # Errors
/// No stage says so: none provides the runtime on this node.
pub fn cri_socket(cx: &Context, node: &Node) -> Result<String> {
    cx.output_on(node, "runtime", "cri-socket").ok_or_else(|| {
        Error::unsupported(
            "kubeadm.no-cri-socket",
            format!("no stage that provides `runtime` on {} publishes `cri-socket`", node.name),
        )
    })
}

/// `bootstrapTokens` of an `InitConfiguration`, with [`TOKEN`] in it.
pub fn bootstrap_tokens() -> Value {
    json!([{
        "token": TOKEN,
        "ttl": LIFE,
        "usages": ["signing", "authentication"],
        "groups": ["system:bootstrappers:kubeadm:default-node-token"],
    }])
}

/// Where a node that joins reads [`discovery_file`].
pub const DISCOVERY: &str = "/etc/kubernetes/discovery.conf";

/// Says where the API is and which authority vouches for it: a kubeconfig without credentials. With the authority itself in hand
/// a node trusts no answer of the network, and needs not wait until the controller manager has signed `cluster-info` for a token.
///
/// `authority` is its certificate as PEM.
pub fn discovery_file(endpoint: &str, authority: &str) -> String {
    documents(&[json!({
        "apiVersion": "v1",
        "kind": "Config",
        // kubeadm takes the cluster without a name when there is no context.
        "clusters": [{ "name": "", "cluster": {
            "server": format!("https://{endpoint}"),
            "certificate-authority-data": BASE64_STANDARD.encode(authority),
        } }],
    })])
}

/// `discovery` of a `JoinConfiguration`, for a node that has [`DISCOVERY`].
pub fn discovery() -> Value {
    json!({ "file": { "kubeConfigPath": DISCOVERY }, "tlsBootstrapToken": TOKEN })
}

/// `nodeRegistration` of a node; `ignored` names preflight checks of kubeadm to let pass.
pub fn registration(node: &Node, cri_socket: &str, ignored: &[String]) -> Value {
    let left = LEFT_BY_AN_INTERRUPTED_RUN.iter().map(|name| (*name).to_owned());
    let ignored: Vec<String> = left.chain(ignored.iter().cloned()).collect();
    json!({
        "name": node.name,
        "criSocket": cri_socket,
        "kubeletExtraArgs": [{ "name": "node-ip", "value": node.address }],
        "ignorePreflightErrors": ignored,
    })
}

/// Several documents as one text. JSON is YAML.
pub fn documents(values: &[Value]) -> String {
    values.iter().map(|value| format!("---\n{value:#}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_trusts_the_authority_and_nothing_else_t17() {
        let text = discovery_file("10.0.0.1:6443", "-----BEGIN");
        assert!(
            text.contains("\"https://10.0.0.1:6443\"") && text.contains("\"LS0tLS1CRUdJTg==\""),
            "{text}"
        );
        let text = documents(&[discovery()]);
        assert!(!text.contains("unsafeSkipCAVerification"), "{text}");
    }
}
