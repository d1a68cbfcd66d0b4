//! The file that a backup is: a tar with `backup.json` (what it is), `snapshot.db`, and for the day when machines are lost too
//! `state.json` (the cluster's authorities and secrets) and `control-plane.tar` (a control plane's certificates and manifests).
//! The timer of the stage that makes backups writes the same, without the last two.
//!
//! With recipients the whole of it is encrypted with age, on the workstation: <https://age-encryption.org/v1>.

mod read;
mod seal;

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;
use tokio::io::AsyncWrite;

pub use read::{Archive, open};
pub use seal::{Recipient, recipients};

/// The format that this program writes and the newest that it reads.
pub const FORMAT: u32 = 1;

/// Names in the archive.
pub const ABOUT: &str = "backup.json";
/// See [`ABOUT`].
pub const SNAPSHOT: &str = "snapshot.db";
/// See [`ABOUT`].
pub const STATE: &str = "state.json";
/// See [`ABOUT`].
pub const CONTROL_PLANE: &str = "control-plane.tar";

/// What tar counts in.
const BLOCK: u64 = 512;

/// What a backup says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct About {
    /// [`FORMAT`].
    pub format: u32,
    /// The cluster's name.
    pub cluster: String,
    /// ksp's id of the cluster.
    pub cluster_id: String,
    /// etcd's id of the cluster, in hex.
    #[serde(default)]
    pub etcd_cluster_id: String,
    /// When the snapshot was made, by the clock of whoever made it.
    pub time: Timestamp,
    /// The node whose member it is from.
    pub node: String,
    /// The names of all members.
    #[serde(default)]
    pub members: Vec<String>,
    /// "stacked" or "external".
    #[serde(default)]
    pub topology: String,
    /// etcd's version.
    #[serde(default)]
    pub etcd: String,
    /// The version of Kubernetes in the manifest.
    #[serde(default)]
    pub kubernetes: String,
    /// The revision in it.
    pub revision: u64,
    /// The hash that `etcdutl snapshot status` computes.
    pub hash: u64,
    /// Keys in it.
    #[serde(default)]
    pub keys: u64,
    /// Bytes of the snapshot.
    pub size: u64,
    /// Of the snapshot.
    pub sha256: String,
}

impl About {
    /// The name of its file.
    pub fn file_name(&self, sealed: bool) -> String {
        let time = self.time.strftime("%Y%m%dT%H%M%SZ");
        format!("{}-{time}.etcd-backup.tar{}", self.cluster, if sealed { ".age" } else { "" })
    }
}

/// An archive that is being written: it has its name when it is whole, and is gone when it never gets there.
pub struct Writer {
    out: seal::Out,
    folder: PathBuf,
    name: String,
    time: u64,
    /// Bytes that the open member still lacks.
    open: u64,
}

impl Writer {
    /// Begins an archive in a folder, for its owner only. With recipients it is encrypted.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn create(folder: &Path, about: &About, recipients: &[Recipient]) -> io::Result<Self> {
        let file = tempfile::Builder::new()
            .prefix(".ksp-tmp.")
            .permissions(Permissions::from_mode(0o600))
            .tempfile_in(folder)?;
        let out = seal::Out::new(file, recipients)?;
        let name = about.file_name(!recipients.is_empty());
        let time = u64::try_from(about.time.as_second()).unwrap_or(0);
        let mut writer = Self { out, folder: folder.to_owned(), name, time, open: 0 };
        writer.whole(ABOUT, &serde_json::to_vec_pretty(about)?)?;
        Ok(writer)
    }

    /// A member of the archive.
    ///
    /// # Errors
    /// The disk is full.
    pub fn whole(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.begin(name, content.len() as u64)?;
        self.write_all(content)?;
        self.end()
    }

    /// Begins a member of so many bytes, which have to be written next.
    ///
    /// # Errors
    /// The disk is full.
    pub fn begin(&mut self, name: &str, size: u64) -> io::Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_path(name)?;
        header.set_size(size);
        header.set_mode(0o600);
        header.set_mtime(self.time);
        header.set_cksum();
        self.out.write_all(header.as_bytes())?;
        self.open = size;
        Ok(())
    }

    /// Ends a member.
    ///
    /// # Errors
    /// More or fewer bytes were written than announced, or the disk is full.
    pub fn end(&mut self) -> io::Result<()> {
        if self.open != 0 {
            return Err(io::Error::other(format!("{} bytes are missing", self.open)));
        }
        self.out.pad()
    }

    /// Gives the archive its name. The file, which is on the disk then.
    ///
    /// # Errors
    /// The disk is full, or there is such a file already.
    pub fn finish(mut self) -> io::Result<PathBuf> {
        self.out.write_all(&[0; 2 * BLOCK as usize])?;
        let file: NamedTempFile = self.out.finish()?;
        file.as_file().sync_all()?;
        let path = self.folder.join(&self.name);
        file.persist_noclobber(&path).map_err(|error| error.error)?;
        std::fs::File::open(&self.folder)?.sync_all()?;
        Ok(path)
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.open {
            return Err(io::Error::other("more came than was announced"));
        }
        let written = self.out.write(bytes)?;
        self.open -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Takes a member in as it arrives, and computes its sha256. The writes block for as long as the disk does.
pub struct Sink<'a> {
    writer: &'a mut Writer,
    hash: Sha256,
}

impl<'a> Sink<'a> {
    /// Into the member that was begun.
    pub fn new(writer: &'a mut Writer) -> Self {
        Self { writer, hash: Sha256::new() }
    }

    /// The sha256 of what came, in hex.
    pub fn digest(self) -> String {
        hex::encode(self.hash.finalize())
    }
}

impl AsyncWrite for Sink<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.writer.write(bytes);
        if let Ok(written) = written {
            self.hash.update(&bytes[..written]);
        }
        Poll::Ready(written)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
pub(crate) mod tests;
