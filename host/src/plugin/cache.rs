//! The compiled plugins on this workstation. Whoever can write here can run code as this user, so the folder belongs to its
//! owner alone, and what is read back has the digest that was noted when it was written.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::plugin::error::PluginError;
use crate::plugin::package;

/// A folder of compiled plugins; none when there is no place for one.
#[derive(Debug, Clone)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// `<cache_dir>/compiled`, made when it is not there. Without a writable place nothing is kept, which costs time only.
    ///
    /// # Errors
    /// Others can write there: `ksp::plugin::unsafe-cache`.
    pub fn open(cache_dir: &Path) -> Result<Self, PluginError> {
        let folder = cache_dir.join("compiled");
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        if let Err(error) = made {
            tracing::warn!(folder = %folder.display(), %error, "compiled plugins are not kept");
            return Ok(Self { folder: None });
        }
        check(&folder)?;
        Ok(Self { folder: Some(folder) })
    }

    /// The file of a compiled plugin, when it is there and whole.
    pub fn compiled(&self, name: &str) -> Option<PathBuf> {
        let path = self.path(name)?;
        let noted = fs::read_to_string(path.with_extension("sha256")).ok()?;
        let found = package::digest(&fs::read(&path).ok()?);
        (noted == found).then_some(path)
    }

    /// Keeps a compiled plugin; none when nothing is kept.
    ///
    /// # Errors
    /// Of the file system.
    pub fn keep_compiled(&self, name: &str, code: &[u8]) -> io::Result<Option<PathBuf>> {
        let Some(path) = self.path(name) else { return Ok(None) };
        write_whole(&path, code)?;
        write_whole(&path.with_extension("sha256"), package::digest(code).as_bytes())?;
        Ok(Some(path))
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(format!("{name}.cwasm")))
    }
}

/// A file appears whole or not at all, also to another ksp that does the same now.
pub(crate) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("no folder"))?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    fs::File::open(folder)?.sync_all()
}

/// The folder is a folder, ours, and closed to others. One of ours that is open is closed.
fn check(folder: &Path) -> Result<(), PluginError> {
    let refuse = |reason: String| {
        PluginError::machinery(
            "ksp::plugin::unsafe-cache",
            format!("the cache of compiled plugins {} is not safe: {reason}", folder.display()),
        )
        .hint(format!(
            "remove it (`rm -r {}`), or set KSP_CACHE_DIR to a folder of your own",
            folder.display()
        ))
    };
    let found = fs::symlink_metadata(folder).map_err(|error| refuse(error.to_string()))?;
    if !found.is_dir() {
        return Err(refuse("it is not a folder".into()));
    }
    let owner = fs::metadata("/proc/self").map(|me| me.uid()).unwrap_or_else(|_| found.uid());
    if found.uid() != owner {
        return Err(refuse(format!("it belongs to user {}", found.uid())));
    }
    if found.mode() & 0o022 != 0 {
        return Err(refuse(format!("others can write to it (mode {:03o})", found.mode() & 0o777)));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .map_err(|error| refuse(error.to_string()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_found_and_what_is_damaged_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path()).unwrap();
        assert!(cache.compiled("x").is_none());
        let path = cache.keep_compiled("x", b"code").unwrap().unwrap();
        assert_eq!(cache.compiled("x").as_deref(), Some(path.as_path()));
        fs::write(&path, b"c0de").unwrap();
        assert!(cache.compiled("x").is_none());
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("compiled");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
        let error = Cache::open(dir.path()).unwrap_err();
        assert_eq!(error.code, "ksp::plugin::unsafe-cache");
        assert!(error.message.contains("mode 777"), "{}", error.message);
    }

    #[test]
    fn a_symbolic_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), dir.path().join("compiled")).unwrap();
        assert_eq!(Cache::open(dir.path()).unwrap_err().code, "ksp::plugin::unsafe-cache");
    }
}
