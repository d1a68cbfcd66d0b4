//! Secrets are encrypted before they reach etcd, when the manifest wants it. The key is made once for a cluster and kept like its
//! authorities: on control planes, and in backups. Who loses it has lost the Secrets.

use ksp_sdk::prelude::*;

use crate::ControlPlane;
use crate::members::Own;
use crate::membership::own;

/// Where the API server finds key and providers; kubeadm mounts the folder into it.
pub const CONFIG: &str = "/etc/kubernetes/pki/encryption.yaml";

/// The API server's flag.
pub const FLAG: &str = "encryption-provider-config";

/// 43 letters and a `=` are 32 bytes in base64.
const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// What was written before is read as it is; what is written from now on is encrypted.
const FILE: &str = r#"{
  "apiVersion": "apiserver.config.k8s.io/v1",
  "kind": "EncryptionConfiguration",
  "resources": [
    {
      "resources": ["secrets"],
      "providers": [
        { "secretbox": { "keys": [{ "name": "key1", "secret": "{{ key }}=" }] } },
        { "identity": {} }
      ]
    }
  ]
}
"#;

/// The same file on every control plane, before its API server starts: what one has written the others have to read (T22).
pub fn place(cx: &Context, stage: &ControlPlane, nodes: &Nodes) -> Result<()> {
    if stage.encrypt_secrets {
        let key = cx.generate("encryption-key", LETTERS, 43)?;
        cx.plan().secret_file(nodes, CONFIG, &cx.render_secret(FILE, &json!({}), &[("key", &key)])?);
    }
    Ok(())
}

/// API servers are changed one after another: the first that encrypts would write what the others cannot read, and without the key
/// nobody reads what is encrypted. So a cluster stays as it was made (T22).
pub fn stays(cx: &Context, stage: &ControlPlane, nodes: &Nodes) {
    for (node, facts) in nodes.with_facts() {
        let Some(probe) = facts.probe("secrets-encrypted") else { continue };
        // Neither: there is no manifest to look into.
        let (Own::Complete { .. }, encrypts @ (0 | 1)) = (own(node), probe.status) else { continue };
        let encrypts = encrypts == 0;
        if encrypts != stage.encrypt_secrets {
            let (does, hint) = match encrypts {
                true => ("encrypts Secrets, and without the key nobody could read them", "true"),
                false => ("does not encrypt Secrets, and those that exist would not be", "false"),
            };
            let message = format!("the API server {does}: this is chosen when the cluster is made");
            let hint = format!("write `encrypt-secrets = {hint}`");
            cx.plan().finding(Some(node), Severity::Error, "control-plane.encryption", message, Some(&hint));
        }
    }
}
