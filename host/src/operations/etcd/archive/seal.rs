//! Encryption with age: for whom a backup is written, and who reads it.

use std::io::{self, Write};

use age::stream::StreamWriter;
use tempfile::NamedTempFile;

use super::BLOCK;
use crate::diagnostic::Diagnostic;
use crate::operations::{Class, Failure};

/// Somebody who can decrypt a backup.
pub type Recipient = age::x25519::Recipient;

/// Reads recipients.
///
/// # Errors
/// One is no `age1…` key.
pub fn recipients(texts: &[String]) -> Result<Vec<Recipient>, Failure> {
    let read = |text: &String| {
        text.trim().parse().map_err(|why: &str| {
            let message = format!("`{text}` is no age recipient: {why}");
            let finding = Diagnostic::error("ksp::etcd::recipient", message)
                .hint("`age-keygen` makes a key and prints its recipient, which begins with `age1`");
            Failure::new(Class::Usage, finding)
        })
    };
    texts.iter().map(read).collect()
}

/// A file, encrypted or not. Counts, because tar pads.
pub(super) struct Out {
    file: Kind,
    written: u64,
}

enum Kind {
    Plain(NamedTempFile),
    Sealed(Box<StreamWriter<NamedTempFile>>),
}

impl Out {
    pub fn new(file: NamedTempFile, recipients: &[Recipient]) -> io::Result<Self> {
        if recipients.is_empty() {
            return Ok(Self { file: Kind::Plain(file), written: 0 });
        }
        let recipients = recipients.iter().map(|it| it as &dyn age::Recipient);
        let encryptor = age::Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
        Ok(Self { file: Kind::Sealed(Box::new(encryptor.wrap_output(file)?)), written: 0 })
    }

    /// Zeros up to the next block.
    pub fn pad(&mut self) -> io::Result<()> {
        let over = self.written % BLOCK;
        if over > 0 {
            self.write_all(&vec![0; (BLOCK - over) as usize])?;
        }
        Ok(())
    }

    pub fn finish(self) -> io::Result<NamedTempFile> {
        match self.file {
            Kind::Plain(file) => Ok(file),
            Kind::Sealed(writer) => writer.finish(),
        }
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.file {
            Kind::Plain(file) => file.write(bytes)?,
            Kind::Sealed(writer) => writer.write(bytes)?,
        };
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Kind::Plain(file) => file.flush(),
            Kind::Sealed(writer) => writer.flush(),
        }
    }
}
