//! Three fresh nodes: by hand and by ksp.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::table::{Table, time};
use super::{SCENARIO, script, three};
use crate::scenario::Scenario;
use crate::{paths, scenario, tell};

/// How long the script takes on fresh nodes.
pub fn by_hand() -> Result<Duration> {
    scenario::down(SCENARIO)?;
    scripted("kubeadm script, three fresh nodes", three()?)
}

/// How long the script takes on the nodes of a scenario, which are fresh.
pub fn scripted(what: &str, nodes: Scenario) -> Result<Duration> {
    // Neither side is the first to read the mirror's files from the disk.
    tell::timed("read the mirror's files once", || {
        read_all(&paths::cached("files")?)?;
        read_all(&paths::cached("registry")?)
    })?;
    let nodes = nodes.up()?;
    let (took, steps) = tell::timed(what, || script::run(&nodes))?;
    tell::say(format_args!("the script's steps:\n{}", steps.trim_end()));
    Ok(took)
}

/// Both, and the ratio.
pub fn compare(by_hand: Duration, by_ksp: Duration, table: &mut Table) {
    table.plain("kubeadm script, three fresh nodes", time(by_hand));
    table.plain("ksp up, three fresh nodes", time(by_ksp));
    table.ratio("ksp / script", by_ksp.as_secs_f64() / by_hand.as_secs_f64(), 1.1, ", aim 0.8");
}

fn read_all(folder: &Path) -> Result<()> {
    for entry in folder.read_dir()? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            read_all(&entry.path())?;
        } else if kind.is_file() {
            io::copy(&mut File::open(entry.path())?, &mut io::sink())?;
        }
    }
    Ok(())
}
