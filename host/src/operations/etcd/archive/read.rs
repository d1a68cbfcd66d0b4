//! Reading a backup: whole, and checked before anything relies on it.

use std::fs::File;
use std::io::{self, BufReader, Read, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, ReadBuf};

use super::{ABOUT, About, FORMAT, SNAPSHOT};
use crate::diagnostic::Diagnostic;
use crate::operations::{Class, Failure};

/// How a file begins that age wrote.
const SEALED: &[u8] = b"age-encryption.org/";

/// More than any `backup.json` has.
const ABOUT_LIMIT: u64 = 1 << 20;

/// What is read at once.
const CHUNK: usize = 256 << 10;

/// A backup whose snapshot is what it says.
#[derive(Debug)]
pub struct Archive {
    /// What it says of itself.
    pub about: About,
    snapshot: Arc<File>,
}

impl Archive {
    /// The snapshot from its beginning; any number of them can be read at a time.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { file: Arc::clone(&self.snapshot), at: 0 }
    }
}

/// Reads a backup. `spool` is a folder for the snapshot while it is needed: it has no name there, and only its owner reads it.
///
/// # Errors
/// It is no backup, it is damaged, or it is encrypted for somebody else.
pub fn open(path: &Path, identity: Option<&Path>, spool: &Path) -> Result<Archive, Failure> {
    let shown = path.display();
    let mut file = File::open(path).map_err(|error| {
        let finding =
            Diagnostic::error("ksp::etcd::backup-unreadable", format!("cannot read {shown}: {error}"))
                .hint("give the path of a file that `ksp etcd backup` wrote");
        Failure::new(Class::Usage, finding)
    })?;
    let mut begin = [0; 19];
    let sealed = file.read(&mut begin).is_ok_and(|length| begin[..length] == *SEALED);
    let unreadable = |why: String| {
        let finding =
            Diagnostic::error("ksp::etcd::backup-unreadable", format!("{shown} is no whole backup: {why}"))
                .hint("use another copy of it, or another backup");
        Failure::new(Class::Invalid, finding)
    };
    io::Seek::rewind(&mut file).map_err(|error| unreadable(error.to_string()))?;
    std::fs::create_dir_all(spool)
        .map_err(|error| Failure::io(format!("make {}", spool.display()), &error))?;
    let spool = tempfile::tempfile_in(spool)
        .map_err(|error| Failure::io(format!("write in {}", spool.display()), &error))?;
    let read = if sealed {
        let reader = decrypt(BufReader::new(file), path, identity)?;
        unpack(reader, spool)
    } else {
        unpack(BufReader::new(file), spool)
    };
    read.map_err(unreadable)
}

fn decrypt<R: io::BufRead>(
    file: R,
    path: &Path,
    identity: Option<&Path>,
) -> Result<age::stream::StreamReader<R>, Failure> {
    let refuse = |message: String, hint: &str| {
        Failure::new(Class::Usage, Diagnostic::error("ksp::etcd::backup-encrypted", message).hint(hint))
    };
    let Some(identity) = identity else {
        let message = format!("{} is encrypted with age", path.display());
        return Err(refuse(message, "pass the file with the key: `--identity KEYFILE`"));
    };
    let wrong = |why: String| {
        let message = format!("the identity in {} cannot be used: {why}", identity.display());
        refuse(message, "pass a file that `age-keygen` made")
    };
    let text = File::open(identity).map_err(|error| wrong(error.to_string()))?;
    let keys = age::IdentityFile::from_buffer(BufReader::new(text))
        .map_err(|error| wrong(error.to_string()))?
        .into_identities()
        .map_err(|error| wrong(error.to_string()))?;
    let decryptor = age::Decryptor::new_buffered(file).map_err(|error| {
        refuse(format!("{} cannot be decrypted: {error}", path.display()), "use another copy of it")
    })?;
    decryptor.decrypt(keys.iter().map(|key| &**key as &dyn age::Identity)).map_err(|error| {
        let message = format!("{} cannot be decrypted: {error}", path.display());
        refuse(message, "pass the key that it was encrypted for")
    })
}

/// Reads to the end: a file that was cut off anywhere is refused.
fn unpack(reader: impl Read, spool: File) -> Result<Archive, String> {
    let text = |error: io::Error| error.to_string();
    let mut archive = tar::Archive::new(reader);
    let mut about: Option<About> = None;
    let mut found: Option<(u64, String)> = None;
    for entry in archive.entries().map_err(text)? {
        let mut entry = entry.map_err(text)?;
        match entry.path().map_err(text)?.to_str() {
            Some(ABOUT) => {
                let mut content = Vec::new();
                entry.by_ref().take(ABOUT_LIMIT).read_to_end(&mut content).map_err(text)?;
                about = Some(read_about(&content)?);
            }
            Some(SNAPSHOT) => found = Some(copy(&mut entry, &spool).map_err(text)?),
            _ => {}
        }
        // What nobody needs is read as well: a cut is noticed, and a damaged encryption too.
        io::copy(&mut entry, &mut io::sink()).map_err(text)?;
    }
    let about = about.ok_or("it holds no backup.json")?;
    let (size, sha256) = found.ok_or("it holds no snapshot.db")?;
    if (size, &sha256) != (about.size, &about.sha256) {
        return Err(format!(
            "its snapshot has {size} bytes with sha256 {sha256}, and backup.json says {} bytes with {}",
            about.size, about.sha256
        ));
    }
    Ok(Archive { about, snapshot: Arc::new(spool) })
}

fn read_about(content: &[u8]) -> Result<About, String> {
    #[derive(serde::Deserialize)]
    struct Versioned {
        format: u32,
    }
    let broken = |error: serde_json::Error| format!("its backup.json cannot be understood: {error}");
    let Versioned { format } = serde_json::from_slice(content).map_err(broken)?;
    if format > FORMAT {
        return Err(format!("it has format {format}; this ksp knows formats up to {FORMAT}"));
    }
    serde_json::from_slice(content).map_err(broken)
}

fn copy(from: &mut impl Read, mut to: &File) -> io::Result<(u64, String)> {
    let mut hash = Sha256::new();
    let mut size = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            return Ok((size, hex::encode(hash.finalize())));
        }
        to.write_all(&chunk[..length])?;
        hash.update(&chunk[..length]);
        size += length as u64;
    }
}

/// Reads the snapshot at its own place. Reads block for as long as the disk does.
pub struct Snapshot {
    file: Arc<File>,
    at: u64,
}

impl AsyncRead for Snapshot {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut chunk = vec![0; buffer.remaining().min(CHUNK)];
        match self.file.read_at(&mut chunk, self.at) {
            Ok(length) => {
                buffer.put_slice(&chunk[..length]);
                self.at += length as u64;
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}
