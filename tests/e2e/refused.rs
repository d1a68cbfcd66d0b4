//! Refusals and failures: clear, with the right exit code, and nothing half-written.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::support::Lab;

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn bad_keys_bad_files_full_disks_and_second_runs_are_refused() -> Result<()> {
    let lab = Lab::fresh("single")?;
    a_changed_host_key_stops_everything(&lab)?;
    a_file_with_another_checksum_is_not_used(&lab)?;
    a_full_disk_is_named(&lab)?;
    lab.only_one_of_two_runs_goes_on()?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    Ok(())
}

fn a_changed_host_key_stops_everything(lab: &Lab) -> Result<()> {
    let path = lab.scenario.folder().join("ssh/known_hosts");
    let right = fs::read_to_string(&path)?;
    let other = "AAAAC3NzaC1lZDI1NTE5AAAAIGJsYWhibGFoYmxhaGJsYWhibGFoYmxhaGJsYWhibGFo";
    let address = lab.scenario.node("cp1")?.address;
    fs::write(&path, format!("{address} ssh-ed25519 {other}\n"))?;
    let refused = lab.ksp(&["up", "--yes", "--accept-new"]);
    fs::write(&path, right)?;
    refused?.expect(4)?.says("cp1")?;
    ensure!(lab.on("cp1", "ls -d /var/lib/ksp 2>/dev/null || true")?.is_empty(), "the node was touched");
    Ok(())
}

/// T45.
fn a_file_with_another_checksum_is_not_used(lab: &Lab) -> Result<()> {
    let path = lab.scenario.folder().join("SHA256SUMS");
    let right = fs::read_to_string(&path)?;
    let line = right.lines().find(|line| line.contains("/runc.")).context("no runc in SHA256SUMS")?;
    let wrong = right.replace(&line[..64], &"0".repeat(64));
    fs::write(&path, wrong)?;
    let failed = lab.ksp(&["up", "--yes"]);
    fs::write(&path, right)?;
    failed?.expect(1)?.says("checksum")?.says("runc")?;
    let left = lab.on("cp1", "ls /usr/local/sbin; find / -xdev -name '*ksp-tmp*' -not -path '/proc/*'")?;
    ensure!(left.is_empty(), "left over: {left}");
    Ok(())
}

/// `/usr/local` has room for containerd's archive, but not for what is in it.
fn a_full_disk_is_named(lab: &Lab) -> Result<()> {
    lab.on("cp1", "mount -t tmpfs -o size=48m tmpfs /usr/local && mkdir /usr/local/bin /usr/local/sbin")?;
    let failed = lab.ksp(&["up", "--yes"])?.expect(1)?;
    let left =
        lab.on("cp1", "find /usr/local -name '*ksp-tmp*'; ls /usr/local/bin/containerd 2>&1 || true")?;
    lab.on("cp1", "umount /usr/local")?;
    failed.says("ksp::op::disk-full")?.says("cp1")?.says("/usr/local")?;
    ensure!(left.contains("No such file") && left.lines().count() == 1, "left over: {left}");
    Ok(())
}
