//! Layers: gzipped tar files that come out the same from the same input.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder, write::GzEncoder};
use serde::{Deserialize, Serialize};

use crate::component::Image;
use crate::digest::Hashing;
use crate::{paths, release, rootfs, tell};

/// A layer in the cache.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Layer {
    /// The gzipped tar file.
    pub path: PathBuf,
    /// Its digest and size.
    pub digest: String,
    pub size: u64,
    /// The digest of the tar file within.
    pub diff_id: String,
    /// Removes the file when the layer is no longer needed.
    #[serde(skip)]
    _temporary: Option<tempfile::TempPath>,
}

/// What an image needs that has no base layer.
const ACCOUNTS: &[(&str, &str)] = &[
    ("/etc/group", "root:x:0:\nnogroup:x:65534:\n"),
    ("/etc/nsswitch.conf", "hosts: files dns\n"),
    (
        "/etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\n",
    ),
];

/// A tar file that is compressed and digested on its way to the disk.
type Sink = Hashing<GzEncoder<Hashing<File>>>;

/// A Debian system as a layer; compressed once.
pub(super) fn base(name: &str) -> Result<Layer> {
    let system = rootfs::archive(name)?;
    let folder = paths::cached("layers")?;
    let description = folder.join(format!("{}.json", system.key));
    if let Ok(text) = fs::read_to_string(&description) {
        return serde_json::from_str(&text).with_context(|| description.display().to_string());
    }
    tell::timed(&format!("compress the layer `{name}`"), || {
        let mut layer = write(|sink| {
            let mut tar = File::open(&system.path)?;
            io::copy(&mut tar, sink).map(drop).map_err(Into::into)
        })?;
        layer.path = folder.join(format!("{}.tar.gz", system.key));
        layer._temporary.take().context("the layer has no file")?.persist(&layer.path)?;
        fs::write(&description, serde_json::to_string(&layer)?)?;
        Ok(layer)
    })
}

/// An image's own files, texts and links.
pub(super) fn own(image: &Image, sources: &BTreeMap<String, PathBuf>) -> Result<Layer> {
    let accounts = if image.base.is_none() { ACCOUNTS } else { &[] };
    let mut texts: BTreeMap<&str, &str> = accounts.iter().copied().collect();
    texts.extend(image.text.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    let links: BTreeMap<String, &str> = image
        .links
        .iter()
        .flat_map(|links| {
            links.names.iter().map(|name| (format!("{}/{name}", links.dir), links.target.as_str()))
        })
        .collect();
    write(|sink| {
        let mut archive = tar::Builder::new(sink);
        let paths = sources
            .keys()
            .map(String::as_str)
            .chain(texts.keys().copied())
            .chain(links.keys().map(String::as_str));
        for folder in folders(paths, image.base.is_none()) {
            entry(
                &mut archive,
                tar::EntryType::Directory,
                &folder,
                if folder == "tmp" { 0o1777 } else { 0o755 },
                b"",
            )?;
        }
        for (path, source) in sources {
            release::append(&mut archive, relative(path), source)?;
        }
        for (path, text) in &texts {
            entry(&mut archive, tar::EntryType::Regular, relative(path), 0o644, text.as_bytes())?;
        }
        for (path, target) in &links {
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            header.set_mode(0o777);
            archive.append_link(&mut header, relative(path), target)?;
        }
        archive.finish().map_err(Into::into)
    })
}

/// Every folder that leads to a path, parents first.
fn folders<'a>(paths: impl Iterator<Item = &'a str>, whole: bool) -> BTreeSet<String> {
    let mut folders: BTreeSet<String> = paths
        .flat_map(|path| Path::new(relative(path)).ancestors().skip(1))
        .map(|folder| folder.to_string_lossy().into_owned())
        .filter(|folder| !folder.is_empty())
        .collect();
    if whole {
        folders.extend(["tmp", "root"].map(str::to_owned));
    }
    folders
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

fn entry<W: Write>(
    tar: &mut tar::Builder<W>,
    kind: tar::EntryType,
    path: &str,
    mode: u32,
    data: &[u8],
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(data.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, path, data)?;
    Ok(())
}

fn write(fill: impl FnOnce(&mut Sink) -> Result<()>) -> Result<Layer> {
    let (file, path) = tempfile::Builder::new().tempfile_in(paths::cached("layers")?)?.into_parts();
    let zip = GzBuilder::new().write(Hashing::new(file), Compression::default());
    let mut sink = Hashing::new(zip);
    fill(&mut sink)?;
    let (zip, diff_id, _) = sink.finish();
    let (_, digest, size) = zip.finish()?.finish();
    Ok(Layer { path: path.to_path_buf(), digest, size, diff_id, _temporary: Some(path) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_parents_first() {
        let found: Vec<String> = folders(["/usr/local/bin/a", "/b"].into_iter(), false).into_iter().collect();
        assert_eq!(found, ["usr", "usr/local", "usr/local/bin"]);
    }
}
