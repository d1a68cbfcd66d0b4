//! Certificates and ways in.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ksp::kubernetes::connect_directly;
use ksp::kubernetes::kubeconfig::{KUBEADM_ADMINS, MASTERS};
use ksp::manifest::Endpoint;
use ksp::pki::Pki;
use ksp::redact::Redactor;
use ksp::state::ClusterState;

use crate::cluster::{AUTHORITY, Cluster, kubernetes_program};

pub async fn a_certificate_of_ours_is_accepted(cluster: &Cluster) {
    assert!(cluster.kubernetes.is_ready().await);
    let version = cluster.kubernetes.client.apiserver_version().await.unwrap();
    assert_eq!(version.git_version, "v1.36.3");
    // No kubeadm has been here.
    assert_eq!(cluster.kubernetes.admin_group().await, MASTERS);
}

pub async fn a_certificate_of_another_authority_is_not(cluster: &Cluster) {
    let stranger = Pki::new(Arc::new(Mutex::new(ClusterState::default())), Redactor::default());
    stranger.authority(AUTHORITY, "kubernetes", 10).unwrap();
    let other = connect_directly(std::slice::from_ref(&cluster.endpoint), &stranger, AUTHORITY).unwrap();
    assert!(!other.is_ready().await);
    let error = other.wait_ready(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error.code, "ksp::kube::unreachable");
    assert!(error.message.contains("certificate"), "{error}");
}

pub async fn kubectl_works_with_our_kubeconfig(cluster: &Cluster) {
    let folder = cluster.folder("kubeconfig");
    let kubectl = |config: &std::path::Path| {
        let output = Command::new(kubernetes_program("kubectl"))
            .args([
                "--kubeconfig",
                &config.to_string_lossy(),
                "auth",
                "whoami",
                "-o",
                "jsonpath={.status.userInfo}",
            ])
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let admin = kubectl(&cluster.kubeconfig(&folder, "kubernetes-admin", KUBEADM_ADMINS));
    assert!(admin.contains("kubernetes-admin") && admin.contains(KUBEADM_ADMINS), "{admin}");
}

pub async fn a_dead_endpoint_is_passed_over(cluster: &Cluster) {
    let dead = Endpoint { host: "127.0.0.1".into(), port: 1 };
    let kubernetes = connect_directly(&[dead, cluster.endpoint.clone()], &cluster.pki, AUTHORITY).unwrap();
    assert!(kubernetes.is_ready().await);
}

pub async fn nothing_that_answers_is_an_error_with_every_way(cluster: &Cluster) {
    let dead = [1, 2].map(|port| Endpoint { host: "127.0.0.1".into(), port });
    let kubernetes = connect_directly(&dead, &cluster.pki, AUTHORITY).unwrap();
    let error = kubernetes.wait_ready(Duration::from_millis(500)).await.unwrap_err();
    assert_eq!(error.code, "ksp::kube::unreachable");
    assert!(error.message.contains("127.0.0.1:1") && error.message.contains("127.0.0.1:2"), "{error}");
}

/// kubeadm uses the authorities and the key pair as it finds them, and signs with them.
pub async fn kubeadm_takes_our_authorities(cluster: &Cluster) {
    let folder = cluster.folder("kubeadm");
    let pki = &cluster.pki;
    std::fs::create_dir_all(folder.join("etcd")).unwrap();
    let authorities = [
        ("ca", AUTHORITY, "kubernetes"),
        ("front-proxy-ca", "front-proxy", "front-proxy-ca"),
        ("etcd/ca", "etcd", "etcd-ca"),
    ];
    for (file, name, common_name) in authorities {
        let made = pki.authority(name, common_name, 3650).unwrap();
        std::fs::write(folder.join(format!("{file}.crt")), made.certificate).unwrap();
        std::fs::write(folder.join(format!("{file}.key")), made.key).unwrap();
    }
    let pair = pki.keypair("service-accounts").unwrap();
    std::fs::write(folder.join("sa.pub"), &pair.certificate).unwrap();
    std::fs::write(folder.join("sa.key"), &pair.key).unwrap();
    let config = folder.join("kubeadm.yaml");
    std::fs::write(
        &config,
        format!(
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nlocalAPIEndpoint: {{advertiseAddress: 10.0.0.4}}\n\
             nodeRegistration: {{name: n1, criSocket: 'unix:///run/containerd/containerd.sock'}}\n---\n\
             apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.36.3\n\
             encryptionAlgorithm: ECDSA-P256\ncertificatesDir: {}\n",
            folder.display()
        ),
    )
    .unwrap();
    let output = Command::new(kubernetes_program("kubeadm"))
        .args(["init", "phase", "certs", "all", "--config", &config.to_string_lossy()])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{told}");
    for kept in [
        "Using existing ca certificate authority",
        "Using existing front-proxy-ca",
        "Using existing etcd/ca",
        "Using the existing \"sa\" key",
    ] {
        assert!(told.contains(kept), "{kept} not in {told}");
    }
    assert_eq!(std::fs::read_to_string(folder.join("sa.key")).unwrap(), pair.key);
    let verified = Command::new("openssl")
        .arg("verify")
        .args(["-x509_strict", "-CAfile"])
        .args([folder.join("ca.crt"), folder.join("apiserver.crt")])
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}
