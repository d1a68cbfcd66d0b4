//! What this machine must have: Debian packages, Go, the WebAssembly target. Installs what it may.

use anyhow::{Context, Result, bail};

use crate::process::run;
use crate::tell;

/// What every part of the lab needs; components name more in their `component.toml`.
/// `iptables` is what netavark calls; the last ones are what ksp's own tests run.
const PACKAGES: &[&str] = &[
    "podman",
    "netavark",
    "aardvark-dns",
    "iptables",
    "runc",
    "slirp4netns",
    "fuse-overlayfs",
    "uidmap",
    "mmdebstrap",
    "skopeo",
    "openssh-client",
    "openssh-server",
    "sudo",
    "curl",
    "wget",
    "busybox-static",
    "openssl",
];

/// The oldest Go whose tool chain the components ask for.
const GO: (u32, u32) = (1, 26);

/// Everything the lab itself needs.
pub fn prepare() -> Result<()> {
    if run("id").arg("-u").output()?.trim() != "0" {
        bail!(
            "the lab runs systemd in containers and must be root: use `sudo -E env PATH=\"$PATH\" cargo lab …`"
        );
    }
    packages(PACKAGES)?;
    wasm_target()
}

/// Debian packages, installed when missing.
pub fn packages(names: &[impl AsRef<str>]) -> Result<()> {
    let missing: Vec<&str> = names.iter().map(AsRef::as_ref).filter(|name| !installed(name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    if !system.lines().any(|line| line == "ID=debian") {
        bail!("missing here: {}. This is not Debian: install their equivalents by hand", missing.join(", "));
    }
    tell::timed(&format!("install Debian packages {}", missing.join(" ")), || {
        let install = || {
            run("apt-get")
                .args(["install", "-y", "--no-install-recommends"])
                .args(&missing)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .deadline(900)
                .output()
        };
        if install().is_err() {
            run("apt-get").arg("update").deadline(300).output()?;
            install()?;
        }
        Ok(())
    })
}

fn installed(package: &str) -> bool {
    let status = run("dpkg-query").args(["-W", "-f", "${db:Status-Status}", package]).output();
    status.is_ok_and(|status| status == "installed")
}

/// Go in the version the components ask for.
pub fn go() -> Result<()> {
    let hint =
        format!("install Go {}.{} or newer from https://go.dev/dl (Debian 12's is too old)", GO.0, GO.1);
    let said = run("go").args(["env", "GOVERSION"]).output().with_context(|| hint.clone())?;
    if version(said.trim()).is_none_or(|found| found < GO) {
        bail!("Go is {}: {hint}", said.trim());
    }
    Ok(())
}

fn version(said: &str) -> Option<(u32, u32)> {
    let mut parts = said.strip_prefix("go")?.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn wasm_target() -> Result<()> {
    const TARGET: &str = "wasm32-wasip2";
    let Ok(installed) = run("rustup").args(["target", "list", "--installed"]).output() else {
        tell::say(format_args!("no rustup here: assuming that rustc has the target {TARGET}"));
        return Ok(());
    };
    if installed.lines().any(|line| line == TARGET) {
        return Ok(());
    }
    tell::timed(&format!("rustup target add {TARGET}"), || {
        run("rustup").args(["target", "add", TARGET]).deadline(300).output().map(drop)
    })
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn go_versions() {
        assert_eq!(version("go1.26.8"), Some((1, 26)));
        assert_eq!(version("go1.27rc1"), Some((1, 27)));
        assert_eq!(version("devel"), None);
    }
}
