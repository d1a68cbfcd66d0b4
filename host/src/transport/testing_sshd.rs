//! A real sshd on a loopback port, with keys of its own in a temporary folder; it ends when dropped. Needs root and
//! `/usr/sbin/sshd` (Debian: openssh-server).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::node::{Connection, Node, NodeId, Role, SshTarget};

/// A running server.
pub(crate) struct Sshd {
    pub folder: TempDir,
    pub port: u16,
    child: Child,
}

impl Sshd {
    /// With an Ed25519 host key and one authorised key.
    pub fn start() -> Self {
        Self::with("")
    }

    /// With more lines for sshd_config; `{folder}` stands for the folder.
    pub fn with(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        keygen(folder.path(), "host", "ed25519");
        keygen(folder.path(), "user", "ed25519");
        std::fs::copy(folder.path().join("user.pub"), folder.path().join("authorized_keys")).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        // Somebody else may take a free port before sshd does.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if let Some(child) = spawn(folder.path(), port, config) {
                return Self { folder, port, child };
            }
        }
        panic!(
            "sshd does not start: {}",
            std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
        );
    }

    /// Ends it and starts it again on the same port with another host key.
    pub fn change_host_key(&mut self) {
        self.stop();
        for file in ["host", "host.pub"] {
            std::fs::remove_file(self.path(file)).unwrap();
        }
        keygen(self.folder.path(), "host", "ed25519");
        self.child = spawn(self.folder.path(), self.port, "").unwrap();
    }

    /// Ends it; connections end too.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How to reach it, the host key known.
    pub fn target(&self) -> SshTarget {
        let known_hosts = self.path("known_hosts");
        let key = std::fs::read_to_string(self.path("host.pub")).unwrap();
        std::fs::write(&known_hosts, format!("[127.0.0.1]:{} {key}", self.port)).unwrap();
        SshTarget {
            host: "127.0.0.1".into(),
            port: self.port,
            user: "root".into(),
            identities: vec![self.path("user")],
            host_key: None,
            known_hosts,
            via: Vec::new(),
        }
    }

    /// "SHA256:…" of the host key.
    pub fn fingerprint(&self) -> String {
        fingerprint(&self.path("host.pub"))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A node that is reached so.
pub(crate) fn node(target: SshTarget) -> Node {
    Node {
        id: NodeId(0),
        name: "n1".into(),
        address: "127.0.0.1".parse().unwrap(),
        roles: vec![Role::Worker],
        labels: Default::default(),
        taints: Vec::new(),
        connection: Connection::Ssh(target),
    }
}

/// Makes a key pair without a passphrase.
pub(crate) fn keygen(folder: &Path, name: &str, kind: &str) {
    ssh_keygen(&["-q", "-t", kind, "-N", "", "-f", folder.join(name).to_str().unwrap()]);
}

pub(crate) fn ssh_keygen(argv: &[&str]) -> String {
    let out = Command::new("ssh-keygen").args(argv).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

pub(crate) fn fingerprint(public: &Path) -> String {
    let line = ssh_keygen(&["-lf", public.to_str().unwrap()]);
    line.split(' ').nth(1).unwrap().to_owned()
}

fn spawn(folder: &Path, port: u16, config: &str) -> Option<Child> {
    let at = folder.to_str().unwrap();
    let text = format!(
        "{}\nListenAddress 127.0.0.1:{port}\nHostKey {at}/host\nPidFile none\nAuthorizedKeysFile {at}/authorized_keys\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n\
         PermitRootLogin prohibit-password\nMaxStartups 100\n",
        config.replace("{folder}", at)
    );
    std::fs::write(folder.join("config"), text).unwrap();
    let mut child = Command::new("/usr/sbin/sshd")
        .args(["-D", "-E", &format!("{at}/log"), "-f", &format!("{at}/config")])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}
