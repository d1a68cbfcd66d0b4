//! Release files in upstream's shapes, in a tree that mimics upstream's addresses:
//! `files/<host>/<path>`, and `files/SHA256SUMS`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::{Compression, GzBuilder};

use crate::component::{Component, ReleaseFile};
use crate::{digest, lock, paths, tell};

/// The checksums of the whole tree, in the form that `sha256sum --check` reads.
pub fn checksums_path() -> Result<PathBuf> {
    Ok(paths::cached("files")?.join("SHA256SUMS"))
}

/// Makes what is missing of these components' release files.
pub fn ensure(components: &[Component]) -> Result<()> {
    let _lock = lock::take("files")?;
    let tree = paths::cached("files")?;
    let list = checksums_path()?;
    let mut sums = parse(&fs::read_to_string(&list).unwrap_or_default());
    // Beside the checksums: what each file was made from.
    let keys_path = tree.join(".recipes");
    let mut keys = parse(&fs::read_to_string(&keys_path).unwrap_or_default());
    let mut present = 0;
    for component in components {
        for file in &component.files {
            let address = address(&file.url);
            let path = tree.join(address);
            let mut recipe = format!("{} {file:?}", component.recipe()?);
            for other in BTreeSet::from_iter(component.others()) {
                recipe += &Component::load(other)?.recipe()?;
            }
            let key = digest::of_bytes(recipe);
            if sums.contains_key(address) && keys.get(address) == Some(&key) && path.is_file() {
                present += 1;
                continue;
            }
            make(component, file, &path).with_context(|| format!("cannot make {}", path.display()))?;
            sums.insert(address.to_owned(), digest::of_file(&path)?);
            tell::say(format_args!("file {address}"));
            keys.insert(address.to_owned(), key);
            fs::write(&list, render(&sums))?;
            fs::write(&keys_path, render(&keys))?;
        }
    }
    if present > 0 {
        tell::say(format_args!("release files: {present} present"));
    }
    Ok(())
}

/// An address without its scheme: where the mirror serves it.
fn address(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, rest)| rest)
}

fn make(component: &Component, file: &ReleaseFile, path: &Path) -> Result<()> {
    let folder = path.parent().context("no parent folder")?;
    fs::create_dir_all(folder)?;
    let temporary =
        tempfile::Builder::new().prefix(".making-").permissions(mode(0o644)).tempfile_in(folder)?;
    if let Some(binary) = &file.binary {
        fs::copy(component.binary(binary)?, temporary.path())?;
        fs::set_permissions(temporary.path(), mode(0o644))?;
    } else {
        // No name and no time in the header: the same binaries give the same bytes.
        let zip = GzBuilder::new().write(temporary.as_file(), Compression::default());
        let mut archive = tar::Builder::new(zip);
        for member in &file.archive {
            let source = binary_of(component, &member.binary)?;
            if source.is_dir() {
                append_tree(&mut archive, &member.member, &source)?;
            } else {
                append(&mut archive, &member.member, &source)?;
            }
        }
        archive.into_inner()?.finish()?;
    }
    temporary.persist(path)?;
    Ok(())
}

/// A binary of the component, or of another one by `component/binary`.
fn binary_of(component: &Component, name: &str) -> Result<PathBuf> {
    match name.split_once('/') {
        Some((owner, binary)) => Component::load(owner)?.binary(binary),
        None => component.binary(name),
    }
}

/// Adds an executable with nothing in its header that differs between two builds.
pub(crate) fn append<W: std::io::Write>(
    archive: &mut tar::Builder<W>,
    member: &str,
    binary: &Path,
) -> Result<()> {
    append_as(archive, member, binary, 0o755)
}

/// Adds all files of a folder, by their names in order: such as a chart.
fn append_tree<W: std::io::Write>(archive: &mut tar::Builder<W>, member: &str, folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).context("a file's name is not text")?;
        let member = format!("{member}/{name}");
        if path.is_dir() {
            append_tree(archive, &member, &path)?;
        } else {
            append_as(archive, &member, &path, 0o644)?;
        }
    }
    Ok(())
}

fn append_as<W: std::io::Write>(
    archive: &mut tar::Builder<W>,
    member: &str,
    path: &Path,
    mode: u32,
) -> Result<()> {
    let source = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut header = tar::Header::new_gnu();
    header.set_size(source.metadata()?.len());
    header.set_mode(mode);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, member, source)?;
    Ok(())
}

fn mode(bits: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}

fn parse(list: &str) -> BTreeMap<String, String> {
    list.lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, path)| (path.into(), sum.into()))
        .collect()
}

fn render(sums: &BTreeMap<String, String>) -> String {
    sums.iter().map(|(path, sum)| format!("{sum}  {path}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_read_back_as_written() {
        let sums = BTreeMap::from([
            ("dl.k8s.io/b".to_owned(), digest::of_bytes("b")),
            ("a.test/x y".to_owned(), digest::of_bytes("a")),
        ]);
        let text = render(&sums);
        assert_eq!(parse(&text), sums);
        let first = text.lines().next().unwrap();
        assert_eq!(first, format!("{}  a.test/x y", digest::of_bytes("a")));
    }

    #[test]
    fn a_folder_is_packed_in_the_order_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("b/c")).unwrap();
        for name in ["z", "b/c/d", "a"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        let mut archive = tar::Builder::new(Vec::new());
        append_tree(&mut archive, "top", folder.path()).unwrap();
        let bytes = archive.into_inner().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["top/a", "top/b/c/d", "top/z"]);
    }

    #[test]
    fn addresses() {
        assert_eq!(address("https://dl.k8s.io/release/v1/kubelet"), "dl.k8s.io/release/v1/kubelet");
    }
}
