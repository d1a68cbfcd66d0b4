//! Building a component into the cache: a temporary folder, renamed when all its binaries are there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Component, Go};
use crate::process::run;
use crate::{lock, machine, tell};

/// A cold build of the largest component on two busy cores, with room to spare.
const DEADLINE_S: u64 = 3600;

/// What the binaries beside it were made from.
const RECIPE: &str = ".recipe";

pub(super) fn ensure(component: &Component) -> Result<()> {
    let done = component.built()?;
    let recipe = component.recipe()?;
    let present = || fs::read_to_string(done.join(RECIPE)).is_ok_and(|found| found == recipe);
    if present() {
        return Ok(());
    }
    let _lock = lock::take("components")?;
    if present() {
        return Ok(());
    }
    machine::packages(&component.debian)?;
    if component.go.is_some() {
        machine::go()?;
    }
    tell::timed(&format!("build {}", component.key()), || build(component, &recipe, &done))
        .with_context(|| format!("cannot build {}", component.key()))
}

fn build(component: &Component, recipe: &str, done: &Path) -> Result<()> {
    let parent = done.parent().context("the cache has no parent folder")?;
    fs::create_dir_all(parent)?;
    let temporary = tempfile::Builder::new().prefix(".building-").tempdir_in(parent)?;
    if let Some(go) = &component.go {
        go_tools(component, go, temporary.path())?;
    }
    for (binary, source) in &component.c {
        compile(&[component.folder().join(source)], &temporary.path().join(binary))?;
    }
    for (binary, from) in &component.module_c {
        let module = go_module(component, &from.module)?;
        let sources: Vec<PathBuf> = from.sources.iter().map(|source| module.join(source)).collect();
        compile(&sources, &temporary.path().join(binary))?;
    }
    for (binary, source) in &component.copy {
        fs::copy(source, temporary.path().join(binary))
            .with_context(|| format!("cannot copy {}", source.display()))?;
    }
    for (name, from) in &component.module_files {
        copy(&go_module(component, &from.module)?.join(&from.path), &temporary.path().join(name))?;
    }
    let missing: Vec<&String> =
        component.binaries.iter().filter(|b| !temporary.path().join(b).is_file()).collect();
    if !missing.is_empty() {
        bail!("the build did not make {missing:?}");
    }
    fs::write(temporary.path().join(RECIPE), recipe)?;
    if done.exists() {
        fs::remove_dir_all(done).context("cannot remove what an older recipe made")?;
    }
    // A rename is the mark of completeness; from here on the folder is no longer temporary.
    let temporary = temporary.keep();
    fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::rename(&temporary, done).context("cannot finish the build")
}

fn compile(sources: &[PathBuf], into: &Path) -> Result<()> {
    run("gcc")
        .args(["-Os", "-Wall", "-Wextra", "-static", "-s", "-o"])
        .arg(into)
        .args(sources)
        .output()
        .map(drop)
}

/// A file or a folder with all that is in it. Files of the module cache are read-only; these are not.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if !from.is_dir() {
        let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        return fs::write(to, bytes).with_context(|| format!("cannot write {}", to.display()));
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

/// Where the sources of a module are, which the folder's `go.mod` names.
fn go_module(component: &Component, module: &str) -> Result<PathBuf> {
    run("go")
        .args(["mod", "download", module])
        .dir(component.folder())
        .env("GOWORK", "off")
        .deadline(600)
        .output()?;
    let folder = run("go")
        .args(["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", module])
        .dir(component.folder())
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .output()?;
    Ok(PathBuf::from(folder.trim()))
}

fn go_tools(component: &Component, go: &Go, into: &Path) -> Result<()> {
    let mut build = run("nice");
    for (name, value) in &component.env {
        build = build.env(name, value);
    }
    build
        .args(["-n", "10", "go", "build", "-mod=readonly", "-buildvcs=false", "-trimpath"])
        .args(["-tags", &go.tags.join(",")])
        .args(["-ldflags", &go.ldflags.join(" ")])
        .arg("-o")
        .arg(format!("{}/", into.display()))
        .arg("tool")
        .dir(component.folder())
        .env("CGO_ENABLED", if go.cgo { "1" } else { "0" })
        .env("GOFLAGS", "")
        .env("GOWORK", "off")
        .deadline(DEADLINE_S)
        .output()?;
    for (from, to) in &go.rename {
        fs::rename(into.join(from), into.join(to)).with_context(|| format!("the build made no `{from}`"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_copied_whole_and_can_be_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("a/b")).unwrap();
        fs::write(from.join("a/b/c"), "text").unwrap();
        fs::set_permissions(from.join("a/b/c"), std::os::unix::fs::PermissionsExt::from_mode(0o444)).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(to.join("a/b/c")).unwrap(), "text");
        assert!(!fs::metadata(to.join("a/b/c")).unwrap().permissions().readonly());
        copy(&from.join("a/b/c"), &folder.path().join("one")).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("one")).unwrap(), "text");
        assert!(copy(&from.join("none"), &to).unwrap_err().to_string().contains("none"));
    }
}
