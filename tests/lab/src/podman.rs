//! Podman as the lab uses it: netavark, runc, one bridge network; a user's own settings stay as they are.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, bail};

use crate::process::{Run, run};
use crate::{lock, paths};

/// The bridge that the nodes and the mirror are on.
pub const NETWORK: &str = "ksp-lab";
/// Its addresses.
pub const SUBNET: &str = "10.89.7.0/24";

/// The host's address on it.
const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 89, 7, 1));

/// Podman's own limits are refused where the machine grants no CAP_SYS_RESOURCE.
const LIMITS: &[&str] = &["--ulimit", "nofile=20000:20000", "--ulimit", "nproc=30000:30000"];

/// Read instead of `/etc/containers/containers.conf` by Podman 4 and above it by later ones.
const SETTINGS: &str = "[network]\nnetwork_backend = \"netavark\"\n";

/// A podman command. crun refuses hybrid cgroups, so runc.
pub fn podman<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<Run> {
    let settings = paths::cached(".")?.join("containers.conf");
    if fs::read_to_string(&settings).is_ok_and(|found| found != SETTINGS) || !settings.exists() {
        fs::write(&settings, SETTINGS)?;
    }
    Ok(run("podman")
        .args(["--runtime", "/usr/sbin/runc"])
        .args(args)
        .env("CONTAINERS_CONF", &settings)
        .env("CONTAINERS_CONF_OVERRIDE", &settings))
}

/// Makes the network unless it is there.
pub fn network() -> Result<()> {
    let _lock = lock::take("network")?;
    if podman(["network", "exists", NETWORK])?.succeeds()? {
        return Ok(());
    }
    podman(["network", "create", "--subnet", SUBNET, NETWORK])?
        .output()
        .map(drop)
        .with_context(|| format!("cannot make the network {NETWORK} ({SUBNET})"))
}

/// Gives the bridge a hardware address of its own; something has to run on it. Without one it has that of a container, and another
/// one as soon as that is gone: all nodes then talk to an address that nobody has, for up to a minute.
pub fn steady_bridge() -> Result<()> {
    let bridge = podman(["network", "inspect", "--format", "{{.NetworkInterface}}", NETWORK])?.output()?;
    let bridge = bridge.trim();
    let wanted = hardware_address(GATEWAY);
    let path = format!("/sys/class/net/{bridge}/address");
    let found = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    if found.trim() != wanted {
        run("ip").args(["link", "set", "dev", bridge, "address", &wanted]).output()?;
    }
    Ok(())
}

/// A machine has the same one all its life.
fn hardware_address(address: IpAddr) -> String {
    let bytes = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let [.., a, b, c, d] = address.octets();
            [a, b, c, d]
        }
    };
    // Locally administered.
    format!("02:6b:{:02x}:{:02x}:{:02x}:{:02x}", bytes[0], bytes[1], bytes[2], bytes[3])
}

/// Removes the network; fine when there is none.
pub fn remove_network() -> Result<()> {
    if podman(["network", "exists", NETWORK])?.succeeds()? {
        podman(["network", "rm", NETWORK])?.output()?;
    }
    Ok(())
}

/// What Podman says of a container whose processes were all ended from outside, its monitor with them.
/// Nobody told Podman, so that it takes the container for a running one: it can only be removed.
pub const LOST: &str = "lost";

/// A container's state (`running`, `exited`, [`LOST`], …); nothing when there is none.
pub fn state(container: &str) -> Result<Option<String>> {
    let Some(seen) = inspect(container, "{{.State.Status}} {{.State.ConmonPid}} {{.ID}}")? else {
        return Ok(None);
    };
    let [status, monitor, id] = seen.split_whitespace().collect::<Vec<_>>()[..] else {
        bail!("podman describes {container} as {seen:?}");
    };
    // Only the monitor's command line tells it from a later process with the same number.
    let command = fs::read(format!("/proc/{monitor}/cmdline")).unwrap_or_default();
    let watched = String::from_utf8_lossy(&command).contains(id);
    Ok(Some(known_state(status, watched).to_owned()))
}

fn known_state(status: &str, watched: bool) -> &str {
    match status {
        "running" | "stopping" | "paused" if !watched => LOST,
        status => status,
    }
}

/// A value of a container; nothing when there is no such container.
pub fn inspect(container: &str, format: &str) -> Result<Option<String>> {
    if !podman(["container", "exists", container])?.succeeds()? {
        return Ok(None);
    }
    let value = podman(["container", "inspect", "--format", format, container])?.output()?;
    Ok(Some(value.trim().to_owned()))
}

/// Starts a new container on the lab's network; nothing stays of one that does not start.
pub fn create(container: &str, address: IpAddr, arguments: &[&str]) -> Result<()> {
    // Podman 4.3 hands out addresses and mounts one at a time anyway.
    let _lock = lock::take("podman")?;
    let started = podman(["run", "--detach", "--name", container, "--network", NETWORK])?
        .args(["--ip", &address.to_string(), "--mac-address", &hardware_address(address)])
        .args(LIMITS)
        .args(arguments)
        .output();
    if started.is_err() {
        remove(container)?;
    }
    started.map(drop).with_context(|| format!("cannot start {container}; has another container {address}?"))
}

/// Removes a container and its volumes; fine when there is none.
pub fn remove(container: &str) -> Result<()> {
    if podman(["container", "exists", container])?.succeeds()? {
        podman(["rm", "--force", "--volumes", "--time", "0", container])?.deadline(120).output()?;
    }
    Ok(())
}

/// Containers with a label, running or not.
pub fn labelled(label: &str) -> Result<Vec<String>> {
    let filter = format!("label={label}");
    let names = podman(["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"])?.output()?;
    Ok(names.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_hardware_address() {
        assert_eq!(hardware_address(GATEWAY), "02:6b:0a:59:07:01");
        assert_eq!(hardware_address("10.89.7.42".parse().unwrap()), "02:6b:0a:59:07:2a");
    }

    #[test]
    fn nothing_runs_without_a_monitor() {
        assert_eq!(known_state("running", true), "running");
        assert_eq!(known_state("running", false), LOST);
        assert_eq!(known_state("stopping", false), LOST);
        assert_eq!(known_state("exited", false), "exited");
    }
}
