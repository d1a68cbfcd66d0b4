//! The registry's storage, and a writable registry over it for the time of a push.
//! The mirror serves the same storage read-only.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::process::run;
use crate::{paths, rootfs, wait};

/// A registry on the loopback, stopped when dropped.
pub struct Registry {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Registry {
    /// Starts Debian's registry out of the mirror's system, so that nothing is installed on this machine.
    pub fn start() -> Result<Self> {
        let system = rootfs::tree("mirror")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let folder = tempfile::tempdir()?;
        let configuration = folder.path().join("config.yml");
        let storage = paths::cached("registry")?;
        fs::write(
            &configuration,
            format!(
                "version: 0.1\nlog: {{ level: warn }}\nstorage: {{ filesystem: {{ rootdirectory: '{}' }} }}\nhttp: {{ addr: '127.0.0.1:{port}' }}\n",
                storage.display()
            ),
        )?;
        let log = fs::File::create(folder.path().join("log"))?;
        let child = Command::new(system.path.join("usr/bin/docker-registry"))
            .arg("serve")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start docker-registry")?;
        let mut registry = Self { child, port, _folder: folder };
        wait::until("the registry answers", Duration::from_secs(20), || {
            if let Some(status) = registry.child.try_wait()? {
                bail!("docker-registry ended: {status}");
            }
            TcpStream::connect(("127.0.0.1", port)).map_err(Into::into)
        })?;
        Ok(registry)
    }

    /// Copies an OCI layout folder into it.
    pub fn push(&self, layout: &Path, repository: &str) -> Result<()> {
        run("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
            .arg(format!("oci:{}", layout.display()))
            .arg(format!("docker://127.0.0.1:{}/{repository}", self.port))
            .deadline(300)
            .output()
            .map(drop)
    }

    /// Whether the storage has this image.
    pub fn stores(reference: &str) -> Result<bool> {
        let repository = crate::image::repository(reference);
        let (name, tag) = repository.rsplit_once(':').with_context(|| format!("{reference} has no tag"))?;
        let tags = format!("docker/registry/v2/repositories/{name}/_manifests/tags/{tag}/current/link");
        Ok(paths::cached("registry")?.join(tags).is_file())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Nothing to do when it is already gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
