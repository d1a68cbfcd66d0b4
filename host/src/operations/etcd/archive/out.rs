//! The file that an archive is written to. Counts, because tar pads.

use std::io::{self, Write};

use tempfile::NamedTempFile;

use super::BLOCK;

/// The file.
pub(super) struct Out {
    file: NamedTempFile,
    written: u64,
}

impl Out {
    pub fn new(file: NamedTempFile) -> Self {
        Self { file, written: 0 }
    }

    /// Zeros up to the next block.
    pub fn pad(&mut self) -> io::Result<()> {
        let over = self.written % BLOCK;
        if over > 0 {
            self.write_all(&vec![0; (BLOCK - over) as usize])?;
        }
        Ok(())
    }

    pub fn finish(self) -> NamedTempFile {
        self.file
    }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
