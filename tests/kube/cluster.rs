//! etcd, API server and controller manager on loopback, ended when dropped.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ksp::kubernetes::kubeconfig::{Access, MASTERS, kubeconfig};
use ksp::kubernetes::{Kubernetes, connect_directly};
use ksp::manifest::Endpoint;
use ksp::pki::{Pki, Request, Usage};
use ksp::redact::Redactor;
use ksp::state::{ClusterState, KeyAndCertificate};
use tempfile::TempDir;

/// The name of the authority in the PKI.
pub const AUTHORITY: &str = "kubernetes";

const KUBERNETES: &str = "kubernetes-1.36.3";
const ETCD: &str = "etcd-3.6.8";

/// A running control plane.
pub struct Cluster {
    pub pki: Pki,
    pub kubernetes: Kubernetes,
    pub endpoint: Endpoint,
    namespaces: AtomicU32,
    children: Vec<Child>,
    folder: TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Cluster {
    pub async fn start() -> Result<Self, String> {
        let programs = [
            program(ETCD, "etcd")?,
            program(KUBERNETES, "kube-apiserver")?,
            program(KUBERNETES, "kube-controller-manager")?,
        ];
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let state = ClusterState::new().map_err(|error| error.to_string())?;
        let pki = Pki::new(Arc::new(Mutex::new(state)), Redactor::default());
        let ports = free_ports()?;
        write_certificates(&pki, folder.path()).map_err(|error| error.to_string())?;
        let endpoint = Endpoint { host: "127.0.0.1".into(), port: ports[2] };
        let kubernetes = connect_directly(std::slice::from_ref(&endpoint), &pki, AUTHORITY)
            .map_err(|error| error.to_string())?;
        let mut cluster =
            Self { pki, kubernetes, endpoint, namespaces: AtomicU32::new(0), children: Vec::new(), folder };
        cluster.spawn(&programs[0], &etcd_arguments(ports))?;
        cluster.spawn(&programs[1], &api_server_arguments(ports))?;
        if let Err(error) = cluster.kubernetes.wait_ready(Duration::from_secs(90)).await {
            return Err(format!("{error}\n{}", cluster.logs()));
        }
        cluster.own_kubeconfig();
        cluster.spawn(&programs[2], &controller_manager_arguments())?;
        Ok(cluster)
    }

    /// A name that no other case uses, for namespaces, sets and objects of the cluster.
    pub fn unique(&self, name: &str) -> String {
        format!("{name}-{}", self.namespaces.fetch_add(1, Ordering::Relaxed))
    }

    /// A fresh folder below the cluster's own.
    pub fn folder(&self, name: &str) -> PathBuf {
        let path = self.folder.path().join(self.unique(name));
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub fn server(&self) -> String {
        format!("https://{}", self.endpoint)
    }

    fn spawn(&mut self, program: &Path, arguments: &[String]) -> Result<(), String> {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let log = fs::File::create(self.folder.path().join(format!("{name}.log")))
            .map_err(|error| error.to_string())?;
        // Ends with this thread, also when the test is killed.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).args(arguments).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().map_err(|error| error.to_string())?).stderr(log);
        self.children.push(command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?);
        Ok(())
    }

    fn logs(&self) -> String {
        let tail = |name: &str| {
            let text = fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("{name}:\n{}", lines[lines.len().saturating_sub(15)..].join("\n"))
        };
        ["etcd.log", "kube-apiserver.log"].map(tail).join("\n")
    }
}

/// Waits until something is so.
pub async fn eventually<T, Answer: Future<Output = Option<T>>>(
    what: &str,
    mut ask: impl FnMut() -> Answer,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// The path of a program that the lab builds.
pub fn program(component: &str, name: &str) -> Result<PathBuf, String> {
    let cache = std::env::var_os("KSP_LAB_CACHE").map(PathBuf::from).unwrap_or_else(|| {
        std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from).join(".cache/ksp-lab")
    });
    let path = cache.join("components").join(component).join(name);
    match path.is_file() {
        true => Ok(path),
        false => Err(format!("{} is missing: build it with `cargo lab build`", path.display())),
    }
}

/// kubectl, kubeadm, … of the tested version.
pub fn kubernetes_program(name: &str) -> PathBuf {
    program(KUBERNETES, name).unwrap()
}

fn free_ports() -> Result<[u16; 3], String> {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0"));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        let listener = listener.as_ref().map_err(ToString::to_string)?;
        *port = listener.local_addr().map_err(|error| error.to_string())?.port();
    }
    Ok(ports)
}

fn write_certificates(pki: &Pki, folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let request = |name: &str, usages: &[Usage]| Request {
        common_name: name.into(),
        organizations: Vec::new(),
        usages: usages.to_vec(),
        dns_names: vec!["localhost".into(), "kubernetes".into()],
        ip_addresses: vec!["127.0.0.1".into()],
        valid_days: 365,
    };
    let both = [Usage::Server, Usage::Client];
    write(folder, "ca", "crt", &pki.authority(AUTHORITY, "kubernetes", 3650)?)?;
    write(folder, "etcd-ca", "crt", &pki.authority("etcd", "etcd-ca", 3650)?)?;
    write(folder, "etcd", "crt", &pki.issue("etcd", "server", &request("etcd", &both))?)?;
    write(
        folder,
        "etcd-client",
        "crt",
        &pki.issue("etcd", "client", &request("apiserver", &[Usage::Client]))?,
    )?;
    write(
        folder,
        "apiserver",
        "crt",
        &pki.issue(AUTHORITY, "apiserver", &request("kube-apiserver", &[Usage::Server]))?,
    )?;
    write(folder, "sa", "pub", &pki.keypair("service-accounts")?)?;
    Ok(())
}

fn write(folder: &Path, name: &str, extension: &str, pair: &KeyAndCertificate) -> std::io::Result<()> {
    fs::write(folder.join(format!("{name}.{extension}")), &pair.certificate)?;
    fs::write(folder.join(format!("{name}.key")), &pair.key)
}

fn etcd_arguments([client, peer, _]: [u16; 3]) -> Vec<String> {
    let (client, peer) = (format!("https://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    [
        "--name=test".into(),
        "--data-dir=etcd-data".into(),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=test={peer}"),
        "--cert-file=etcd.crt".into(),
        "--key-file=etcd.key".into(),
        "--client-cert-auth=true".into(),
        "--trusted-ca-file=etcd-ca.crt".into(),
        "--unsafe-no-fsync=true".into(),
    ]
    .to_vec()
}

fn api_server_arguments([etcd, _, port]: [u16; 3]) -> Vec<String> {
    [
        format!("--etcd-servers=https://127.0.0.1:{etcd}"),
        "--etcd-cafile=etcd-ca.crt".into(),
        "--etcd-certfile=etcd-client.crt".into(),
        "--etcd-keyfile=etcd-client.key".into(),
        "--bind-address=127.0.0.1".into(),
        format!("--secure-port={port}"),
        "--endpoint-reconciler-type=none".into(),
        "--tls-cert-file=apiserver.crt".into(),
        "--tls-private-key-file=apiserver.key".into(),
        "--client-ca-file=ca.crt".into(),
        "--service-account-key-file=sa.pub".into(),
        "--service-account-signing-key-file=sa.key".into(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".into(),
        "--service-cluster-ip-range=10.96.0.0/24".into(),
        "--authorization-mode=Node,RBAC".into(),
        "--anonymous-auth=false".into(),
    ]
    .to_vec()
}

fn controller_manager_arguments() -> Vec<String> {
    [
        "--kubeconfig=controller-manager.conf",
        "--service-account-private-key-file=sa.key",
        "--root-ca-file=ca.crt",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        "--secure-port=0",
        "--use-service-account-credentials=false",
    ]
    .map(str::to_owned)
    .to_vec()
}

impl Cluster {
    /// A kubeconfig of the given group in a file.
    pub fn kubeconfig(&self, folder: &Path, user: &str, group: &str) -> PathBuf {
        let server = self.server();
        let access =
            Access { authority: AUTHORITY, cluster: "test", server: &server, others: &[], user, group };
        let path = folder.join(format!("{user}.conf"));
        fs::write(&path, kubeconfig(&self.pki, access).unwrap().expose()).unwrap();
        path
    }

    /// The one the controller manager uses.
    pub fn own_kubeconfig(&self) -> PathBuf {
        self.kubeconfig(self.folder.path(), "controller-manager", MASTERS)
    }
}
