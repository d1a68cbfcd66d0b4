//! Which paths ops may name at all, before any grant is looked at.

use crate::op::OpError;

/// Refuses a path that is not absolute and plain: no `..`, no doubled or trailing slash, no control characters.
///
/// # Errors
/// `ksp::op::path`, naming the path.
pub fn check(path: &str) -> Result<(), OpError> {
    let why = if !path.starts_with('/') {
        "is not absolute"
    } else if path.chars().any(char::is_control) {
        "holds control characters"
    } else if path.len() > 4000 {
        "is too long"
    } else if path.split('/').skip(1).any(|part| part.is_empty() || part == "." || part == "..") {
        "is not plain: no empty parts, no `.`, no `..`"
    } else {
        return Ok(());
    };
    Err(OpError::new("ksp::op::path", format!("path {path:?} {why}")))
}

/// As [`check`], and refuses what no node survives the loss of.
///
/// # Errors
/// `ksp::op::path` and `ksp::op::protected-path`.
pub fn check_removable(path: &str) -> Result<(), OpError> {
    check(path)?;
    let top_level = path.matches('/').count() < 2;
    let below =
        |folder: &str| path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if top_level || PROTECTED.contains(&path) || PROTECTED_TREES.iter().any(|folder| below(folder)) {
        return Err(OpError::new("ksp::op::protected-path", format!("{path} is never removed"))
            .hint("name exactly what is to go; files of the operating system stay"));
    }
    Ok(())
}

/// Not even these themselves; what is below them may go. Everything directly below `/` is protected too.
const PROTECTED: &[&str] = &[
    "/etc/apt",
    "/etc/cron.d",
    "/etc/default",
    "/etc/fstab",
    "/etc/group",
    "/etc/gshadow",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/machine-id",
    "/etc/modules-load.d",
    "/etc/netplan",
    "/etc/network",
    "/etc/os-release",
    "/etc/pam.d",
    "/etc/passwd",
    "/etc/pki",
    "/etc/profile.d",
    "/etc/resolv.conf",
    "/etc/security",
    "/etc/shadow",
    "/etc/ssh",
    "/etc/ssl",
    "/etc/sudoers",
    "/etc/sudoers.d",
    "/etc/sysctl.d",
    "/etc/systemd",
    "/etc/systemd/network",
    "/etc/systemd/system",
    "/etc/yum.repos.d",
    "/root/.ssh",
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/local/sbin",
    "/usr/sbin",
    "/usr/share",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// Neither these nor anything below them.
const PROTECTED_TREES: &[&str] =
    &["/boot", "/dev", "/proc", "/sys", "/var/lib/dpkg", "/var/lib/ksp", "/var/lib/rpm", "/var/lib/systemd"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_absolute_paths_pass() {
        for good in ["/etc/x", "/etc/it's a file", "/etc/…", "/opt/a..b/.c"] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "etc/x",
            "/",
            "//etc",
            "/etc/",
            "/etc/../x",
            "/etc/./x",
            "/etc/x\n",
            "/etc/\0",
            "/etc/\u{1b}[0m",
        ] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_operating_system_is_not_removable() {
        for path in [
            "/",
            "/etc",
            "/home",
            "/data",
            "/usr/bin",
            "/var/lib",
            "/etc/fstab",
            "/proc/1",
            "/var/lib/ksp/node.json",
            "/etc/x/..",
        ] {
            assert!(check_removable(path).is_err(), "{path}");
        }
        for path in [
            "/etc/kubernetes",
            "/var/lib/etcd",
            "/etc/systemd/system/x.service",
            "/usr/local/bin/kubectl",
            "/var/lib/kspx",
        ] {
            assert!(check_removable(path).is_ok(), "{path}");
        }
    }
}
