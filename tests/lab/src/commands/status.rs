//! `cargo lab status`.

#![expect(clippy::print_stdout, reason = "the status is this command's result")]

use std::collections::BTreeSet;

use anyhow::Result;

use crate::podman::{self, podman};
use crate::{mirror, paths, scenario};

pub(super) fn run() -> Result<()> {
    println!("cache    {}", paths::cache()?.display());
    let mirror_state = podman::state(mirror::CONTAINER)?.unwrap_or_else(|| "absent".to_owned());
    println!("mirror   {} {} {mirror_state}", mirror::files(), mirror::registry());
    for name in running()? {
        println!("scenario {name}  {}", scenario::shown(&paths::working(&name)));
        for container in podman::labelled(&format!("ksp.scenario={name}"))? {
            let values = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}} {{.State.Status}}";
            println!("  {container} {}", podman::inspect(&container, values)?.unwrap_or_default());
        }
    }
    Ok(())
}

/// Scenarios that have nodes.
pub(super) fn running() -> Result<BTreeSet<String>> {
    let labels = podman([
        "ps",
        "--all",
        "--filter",
        "label=ksp.scenario",
        "--format",
        "{{index .Labels \"ksp.scenario\"}}",
    ])?;
    Ok(labels.output()?.lines().map(str::to_owned).collect())
}
