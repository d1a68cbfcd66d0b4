//! A node: a container that boots systemd and sshd, and can lose power, reboot or lose its disk.

use std::collections::BTreeMap;
use std::net::{IpAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::podman::{self, podman};
use crate::process::{Run, run};
use crate::{paths, rootfs, tell, wait};

/// Users that accept the scenario's key; `ksp` has sudo.
const USERS: &[&str] = &["root", "ksp"];
/// Folders that cannot be on an overlay.
const VOLUMES: &[&str] = &["/var/lib/containerd", "/var/lib/containers", "/var/lib/kubelet", "/var/lib/etcd"];
/// What a container that boots systemd needs. Podman's own `--systemd` would do the same, but on cgroups v1
/// it also lays the machine's whole `name=systemd` hierarchy over the container's part of it: then all nodes
/// are in one `/system.slice`, and one that goes down ends processes of the others.
const SYSTEMD: &[&str] = &[
    "--systemd=false",
    "--tmpfs=/run:mode=755,exec",
    "--tmpfs=/run/lock",
    "--tmpfs=/tmp:exec",
    "--env=container=podman",
    "--stop-signal=SIGRTMIN+3",
];
/// A boot takes about three seconds; a busy machine takes longer.
const BOOT: Duration = Duration::from_secs(120);

/// One node of a scenario.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Node {
    /// Its name in the cluster.
    pub name: String,
    /// Its address on the lab's network.
    pub address: IpAddr,
    /// `control-plane`, `worker`, …
    #[serde(default)]
    pub roles: Vec<String>,
    /// Labels for the manifest.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Boots with the others and is not in the manifest: for tests that replace a node.
    #[serde(default)]
    pub spare: bool,
    /// The folder under `tests/lab/rootfs/` that it boots from.
    #[serde(default = "default_system")]
    pub system: String,
    /// Its scenario.
    #[serde(skip)]
    pub(crate) scenario: String,
}

fn default_system() -> String {
    "node".to_owned()
}

impl Node {
    /// The container's name.
    pub fn container(&self) -> String {
        format!("ksp-{}-{}", self.scenario, self.name)
    }

    /// The container's state (`running`, `exited`, …); nothing when there is none.
    pub fn state(&self) -> Result<Option<String>> {
        podman::state(&self.container())
    }

    /// Boots it unless it runs, waits until systemd and sshd are up, lets the scenario's key in.
    pub fn ensure(&self) -> Result<()> {
        match self.state()?.as_deref() {
            Some("running") => self.ready(false),
            Some(podman::LOST) => {
                tell::say(format_args!("{} was ended from outside: it gets an empty disk", self.container()));
                self.replace()
            }
            Some(_) => self.start(),
            None => {
                self.create()?;
                self.ready(true)
            }
        }
    }

    /// Power off, without a goodbye.
    pub fn kill(&self) -> Result<()> {
        podman(["kill", "--signal", "KILL", &self.container()])?.output()?;
        wait::until(&format!("{} is off", self.name), Duration::from_secs(30), || {
            match self.state()?.as_deref() {
                Some("running") => bail!("it is still running"),
                _ => Ok(()),
            }
        })
    }

    /// Power on: the disk is as it was.
    pub fn start(&self) -> Result<()> {
        podman(["start", &self.container()])?.output()?;
        self.ready(false)
    }

    /// An orderly reboot; the power is cut when it has not gone down after half a minute.
    pub fn restart(&self) -> Result<()> {
        podman(["stop", "--time", "30", &self.container()])?.deadline(120).output()?;
        self.start()
    }

    /// A new machine with the same name and address and an empty disk. Its host keys are new.
    pub fn replace(&self) -> Result<()> {
        self.remove()?;
        self.ensure()
    }

    /// Removes it with its disk.
    pub fn remove(&self) -> Result<()> {
        podman::remove(&self.container())
    }

    /// A shell line inside, not over ssh; what it wrote.
    pub fn exec(&self, line: &str) -> Result<String> {
        podman(["exec", &self.container(), "sh", "-c", line])?
            .output()
            .with_context(|| format!("on {}", self.name))
    }

    /// Its public host keys, read inside and not from the network: lines of a `known_hosts` file.
    pub fn known_hosts(&self) -> Result<String> {
        let keys = self.exec("cat /etc/ssh/ssh_host_*_key.pub")?;
        let line = |key: &str| {
            let mut words = key.split_whitespace();
            Some(format!("{} {} {}\n", self.address, words.next()?, words.next()?))
        };
        Ok(keys.lines().filter_map(line).collect())
    }

    /// An ssh command to it, with the scenario's key and known hosts.
    pub fn ssh(&self, user: &str) -> Run {
        let folder = self.ssh_folder();
        run("ssh")
            .args([
                "-F",
                "none",
                "-o",
                "IdentitiesOnly=yes",
                "-o",
                "ConnectTimeout=10",
                "-o",
                "LogLevel=ERROR",
            ])
            .arg("-o")
            .arg(format!("UserKnownHostsFile={}", folder.join("known_hosts").display()))
            .arg("-i")
            .arg(folder.join("id_ed25519"))
            .arg(format!("{user}@{}", self.address))
    }

    fn ssh_folder(&self) -> PathBuf {
        paths::working(&self.scenario).join("ssh")
    }

    fn create(&self) -> Result<()> {
        let system = rootfs::tree(&self.system)?;
        tell::say(format_args!("boot {} ({})", self.container(), self.address));
        let labels = [format!("ksp.scenario={}", self.scenario), format!("ksp.node={}", self.name)];
        let tree = format!("{}:O", system.path.display());
        let mut arguments = vec!["--hostname", &self.name, "--label", &labels[0], "--label", &labels[1]];
        arguments.extend(["--privileged", "--cgroupns=private"]);
        arguments.extend(SYSTEMD);
        arguments.extend(VOLUMES.iter().flat_map(|volume| ["--volume", volume]));
        arguments.extend(["--rootfs", &tree, "/sbin/init"]);
        podman::create(&self.container(), self.address, &arguments)
    }

    /// A first boot is awaited to its end; a machine that comes back has work to do, which tests want to see.
    fn ready(&self, whole: bool) -> Result<()> {
        let up = wait::until(&format!("{} has booted", self.name), BOOT, || {
            let state = self.exec("systemctl is-system-running || true")?;
            if whole && !matches!(state.trim(), "running" | "degraded") {
                bail!("systemd says {:?}", state.trim());
            }
            self.exec("systemctl is-active ssh.service systemd-user-sessions.service")
                .context("no logins yet")?;
            let sshd = TcpStream::connect_timeout(&(self.address, 22).into(), Duration::from_secs(2));
            sshd.map(drop).context("sshd does not answer")
        });
        up.with_context(|| format!("see `podman logs {}`", self.container()))?;
        self.let_in()
    }

    fn let_in(&self) -> Result<()> {
        let key = self.ssh_folder().join("id_ed25519.pub");
        let key = std::fs::read(&key).with_context(|| format!("cannot read {}", key.display()))?;
        for user in USERS {
            let line = format!(
                "umask 077; home=$(getent passwd {user} | cut -d: -f6); cat > $home/.ssh/authorized_keys; chown {user}: $home/.ssh/authorized_keys"
            );
            podman(["exec", "--interactive", &self.container(), "sh", "-c", &line])?
                .input(key.clone())
                .output()?;
        }
        Ok(())
    }
}
