//! The mirror: one container that serves the cache's release files and images to all scenarios,
//! as a company's mirror behind an air gap would.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::podman::{self, podman};
use crate::{lock, paths, rootfs, tell, wait};

/// The container's name.
pub const CONTAINER: &str = "ksp-mirror";
/// Its address.
pub const ADDRESS: &str = "10.89.7.2";
/// Release files: `http://<address>:8080/<host>/<path>`.
pub const FILES_PORT: u16 = 8080;
/// Images.
pub const REGISTRY_PORT: u16 = 5000;

/// The address under which release files are served.
pub fn files() -> String {
    format!("http://{ADDRESS}:{FILES_PORT}")
}

/// The address of the registry.
pub fn registry() -> String {
    format!("http://{ADDRESS}:{REGISTRY_PORT}")
}

/// Starts it unless it runs, and waits until it answers.
pub fn ensure() -> Result<()> {
    let _lock = lock::take("mirror")?;
    podman::network()?;
    let system = rootfs::tree("mirror")?;
    // Another recipe or another cache is another mirror.
    let own = format!("{} {}", system.key, paths::cache()?.display());
    let found = podman::inspect(CONTAINER, "{{index .Config.Labels \"ksp.mirror\"}}")?;
    let state = podman::state(CONTAINER)?;
    if found.as_deref() != Some(&own) || state.as_deref() == Some(podman::LOST) {
        podman::remove(CONTAINER)?;
        tell::say(format_args!("start the mirror at {ADDRESS}"));
        let files = format!("{}:/srv/files:ro", paths::cached("files")?.display());
        let registry = format!("{}:/srv/registry:ro", paths::cached("registry")?.display());
        let tree = format!("{}:O", system.path.display());
        let label = format!("ksp.mirror={own}");
        let address = ADDRESS.parse()?;
        let mounts = ["--label", &label, "--volume", &files, "--volume", &registry];
        podman::create(
            CONTAINER,
            address,
            &[&mounts[..], &["--rootfs", &tree, "/usr/local/bin/ksp-mirror"]].concat(),
        )?;
    } else if state.as_deref() != Some("running") {
        tell::say("start the mirror again");
        podman(["start", CONTAINER])?.output()?;
    }
    podman::steady_bridge()?;
    wait::until("the mirror answers", Duration::from_secs(30), || {
        answers(FILES_PORT, "/")?;
        answers(REGISTRY_PORT, "/v2/")
    })
    .with_context(|| format!("see `podman logs {CONTAINER}`"))
}

fn answers(port: u16, path: &str) -> Result<()> {
    let address = format!("{ADDRESS}:{port}").parse()?;
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {ADDRESS}\r\n\r\n")?;
    let mut head = [0; 12];
    stream.read_exact(&mut head)?;
    let head = String::from_utf8_lossy(&head);
    if !head.ends_with(" 200") {
        bail!("port {port} says {head:?}");
    }
    Ok(())
}
