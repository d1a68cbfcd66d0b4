//! A small Debian repository for the nodes, among the release files of the mirror: packages that stages install, with what they
//! depend on beyond the nodes' system. `rootfs/node/files/etc/apt/sources.list` names it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::process::run;
use crate::{digest, lock, machine, paths, rootfs, tell};

/// What stages install on nodes.
const PACKAGES: &[&str] = &["haproxy", "keepalived"];
/// Its place below the release files.
const FOLDER: &str = "apt/node";
/// What it was made of.
const RECIPE: &str = ".recipe";

/// Makes it unless it is there.
pub fn ensure() -> Result<()> {
    let _lock = lock::take("apt")?;
    let folder = paths::cached("files")?.join(FOLDER);
    let key = digest::of_bytes(format!("{} {PACKAGES:?}", rootfs::key("node")?));
    if fs::read_to_string(folder.join(RECIPE)).is_ok_and(|found| found == key) {
        return Ok(());
    }
    tell::timed("make the repository of Debian packages for nodes", || make(&folder, &key))
}

fn make(folder: &Path, key: &str) -> Result<()> {
    machine::packages(&["dpkg-dev"])?;
    let parent = folder.parent().context("no parent folder")?;
    fs::create_dir_all(parent)?;
    let temporary = tempfile::Builder::new()
        .prefix(".making-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir_in(parent)?;
    if download(temporary.path()).is_err() {
        run("apt-get").arg("update").deadline(300).output()?;
        download(temporary.path())?;
    }
    fs::remove_dir_all(temporary.path().join("partial"))?;
    let index = run("dpkg-scanpackages").args(["--multiversion", "."]).dir(temporary.path()).output()?;
    fs::write(temporary.path().join("Packages"), index)?;
    fs::write(temporary.path().join(RECIPE), key)?;
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::rename(temporary.keep(), folder).context("cannot finish the repository")
}

/// Into a folder, what the packages need on a machine that has what a node has.
fn download(into: &Path) -> Result<()> {
    fs::create_dir_all(into.join("partial"))?;
    let status = rootfs::tree("node")?.path.join("var/lib/dpkg/status");
    run("apt-get")
        .args(["install", "--download-only", "--yes", "--no-install-recommends"])
        .args(["-o", "Debug::NoLocking=true", "-o", "APT::Sandbox::User=root"])
        .arg("-o")
        .arg(format!("Dir::State::status={}", status.display()))
        .arg("-o")
        .arg(format!("Dir::Cache::archives={}", into.display()))
        .args(PACKAGES)
        .deadline(300)
        .output()
        .map(drop)
}
