//! SHA-256 of bytes and files, in hex.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// Of bytes in memory.
pub fn of_bytes(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Of a file, read in pieces.
pub fn of_file(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hashing = Hashing::new(io::sink());
    io::copy(&mut file, &mut hashing)?;
    Ok(hashing.finish().1)
}

/// Of a folder, as one line a file in order: its path and its digest. Files at the top can be left out.
pub fn of_folder(folder: &Path, without: &[&str]) -> Result<String> {
    let mut listing = String::new();
    list(folder, folder, without, &mut listing)
        .with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(of_bytes(listing))
}

fn list(top: &Path, folder: &Path, without: &[&str], listing: &mut String) -> Result<()> {
    let mut entries: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    entries.sort();
    for path in entries {
        let inner = path.strip_prefix(top)?;
        if path.is_dir() {
            list(top, &path, without, listing)?;
        } else if !without.iter().any(|name| Path::new(name) == inner) {
            let mode = fs::metadata(&path)?.permissions().mode() & 0o111;
            writeln!(listing, "{} {mode} {}", inner.display(), of_file(&path)?)?;
        }
    }
    Ok(())
}

/// A writer that passes bytes on and knows their digest and count.
pub struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    size: u64,
}

impl<W: Write> Hashing<W> {
    /// Around another writer.
    pub fn new(inner: W) -> Self {
        Self { inner, hasher: Sha256::new(), size: 0 }
    }

    /// The inner writer, the digest in hex, and how many bytes passed.
    pub fn finish(self) -> (W, String, u64) {
        (self.inner, hex::encode(self.hasher.finalize()), self.size)
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_files() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        fs::write(folder.path().join("b/c"), "1").unwrap();
        let first = of_folder(folder.path(), &["a"]).unwrap();
        fs::write(folder.path().join("a"), "left out").unwrap();
        assert_eq!(of_folder(folder.path(), &["a"]).unwrap(), first);
        assert_ne!(of_folder(folder.path(), &[]).unwrap(), first);
        fs::write(folder.path().join("b/c"), "2").unwrap();
        assert_ne!(of_folder(folder.path(), &["a"]).unwrap(), first);
    }
}
