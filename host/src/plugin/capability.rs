//! What a plugin may do: deny by default. A need is checked against asked ∩ granted, in plan and again in run.
//!
//! | capability | allows |
//! |---|---|
//! | `exec` | any command as root: this is root, and everything else is a promise |
//! | `probe` | read-only commands of the plugin's choice while planning (`exec` allows them too) |
//! | `files:<glob>` | writing and removing paths; `*` within one path part, `**` for everything below |
//! | `services` | systemd units |
//! | `packages` | packages of the distribution |
//! | `kernel` | kernel modules, kernel parameters, swap |
//! | `artifacts` | release files that its manifest lists |
//! | `images` | pulling container images |
//! | `kube:<namespace>`, `kube:*` | Kubernetes objects in a namespace; in all, and those without one |
//! | `drain` | closing nodes for new pods, evicting the pods of nodes |
//! | `pki:<name>` | a certificate authority or key pair |
//! | `secrets:<name>`, `reveal:<name>` | a secret as a handle; its bytes |

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Something an op or an import wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// Any command as root.
    Exec,
    /// A read-only command while planning.
    Probe,
    /// Writing or removing a path.
    File(String),
    /// systemd units.
    Services,
    /// Distribution packages.
    Packages,
    /// Kernel modules, sysctls, swap.
    Kernel,
    /// Release files.
    Artifacts,
    /// Pulling container images.
    Images,
    /// Kubernetes objects in a namespace; "*" for objects without one.
    Kube(String),
    /// Closing nodes and evicting their pods.
    Drain,
    /// A certificate authority or key pair by name.
    Pki(String),
    /// A secret by name.
    Secret(String),
    /// The bytes of a secret by name.
    Reveal(String),
}

impl Need {
    /// The narrowest capability that allows it, as it is written in a manifest.
    pub fn capability(&self) -> String {
        match self {
            Need::Exec => "exec".into(),
            Need::Probe => "probe".into(),
            Need::File(path) => format!("files:{path}"),
            Need::Services => "services".into(),
            Need::Packages => "packages".into(),
            Need::Kernel => "kernel".into(),
            Need::Artifacts => "artifacts".into(),
            Need::Images => "images".into(),
            Need::Kube(namespace) => format!("kube:{namespace}"),
            Need::Drain => "drain".into(),
            Need::Pki(name) => format!("pki:{name}"),
            Need::Secret(name) => format!("secrets:{name}"),
            Need::Reveal(name) => format!("reveal:{name}"),
        }
    }
}

/// For people: "write /etc/ssh/sshd_config".
impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Need::Exec => f.write_str("run commands as root"),
            Need::Probe => f.write_str("run commands while planning"),
            Need::File(path) => write!(f, "write {path}"),
            Need::Services => f.write_str("change systemd units"),
            Need::Packages => f.write_str("install packages"),
            Need::Kernel => f.write_str("change kernel modules, kernel parameters or swap"),
            Need::Artifacts => f.write_str("install release files"),
            Need::Images => f.write_str("pull container images"),
            Need::Kube(namespace) if namespace == "*" => {
                f.write_str("change Kubernetes objects outside namespaces")
            }
            Need::Kube(namespace) => write!(f, "change Kubernetes objects in namespace {namespace}"),
            Need::Drain => f.write_str("evict the pods of nodes"),
            Need::Pki(name) => write!(f, "use the certificate authority or key pair {name}"),
            Need::Secret(name) => write!(f, "use the secret {name}"),
            Need::Reveal(name) => write!(f, "read the bytes of the secret {name}"),
        }
    }
}

/// What is asked for, or granted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Capability {
    /// See the table above, in its order.
    Exec,
    /// Read-only commands.
    Probe,
    /// A glob over normalised absolute paths.
    Files(String),
    /// Units.
    Services,
    /// Packages.
    Packages,
    /// Modules, parameters, swap.
    Kernel,
    /// Release files.
    Artifacts,
    /// Container images.
    Images,
    /// A namespace, or "*".
    Kube(String),
    /// Pods of nodes.
    Drain,
    /// A name, or "*".
    Pki(String),
    /// A name, or "*".
    Secrets(String),
    /// A name, or "*".
    Reveal(String),
}

impl Capability {
    /// True when it allows the need.
    pub fn allows(&self, need: &Need) -> bool {
        let named = |pattern: &str, name: &str| pattern == "*" || pattern == name;
        match (self, need) {
            (Capability::Exec, Need::Exec | Need::Probe)
            | (Capability::Probe, Need::Probe)
            | (Capability::Services, Need::Services)
            | (Capability::Packages, Need::Packages)
            | (Capability::Kernel, Need::Kernel)
            | (Capability::Artifacts, Need::Artifacts)
            | (Capability::Images, Need::Images)
            | (Capability::Drain, Need::Drain) => true,
            (Capability::Files(glob), Need::File(path)) => is_normal(path) && glob_matches(glob, path),
            (Capability::Kube(pattern), Need::Kube(name))
            | (Capability::Pki(pattern), Need::Pki(name))
            | (Capability::Secrets(pattern), Need::Secret(name))
            | (Capability::Reveal(pattern), Need::Reveal(name)) => named(pattern, name),
            _ => false,
        }
    }
}

impl FromStr for Capability {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, value) = text.split_once(':').map_or((text, None), |(kind, value)| (kind, Some(value)));
        let name = |make: fn(String) -> Capability| match value {
            Some(name) if !name.is_empty() && !name.contains(char::is_whitespace) => Ok(make(name.into())),
            _ => Err(format!("capability {text:?} needs a name: `{kind}:<name>`")),
        };
        match (kind, value) {
            ("exec", None) => Ok(Capability::Exec),
            ("probe", None) => Ok(Capability::Probe),
            ("services", None) => Ok(Capability::Services),
            ("packages", None) => Ok(Capability::Packages),
            ("kernel", None) => Ok(Capability::Kernel),
            ("artifacts", None) => Ok(Capability::Artifacts),
            ("images", None) => Ok(Capability::Images),
            ("drain", None) => Ok(Capability::Drain),
            ("files", Some(glob)) if is_normal(glob) => Ok(Capability::Files(glob.into())),
            ("files", _) => Err(format!(
                "capability {text:?} needs an absolute path or pattern: `files:/etc/containerd/**`"
            )),
            ("kube", _) => name(Capability::Kube),
            ("pki", _) => name(Capability::Pki),
            ("secrets", _) => name(Capability::Secrets),
            ("reveal", _) => name(Capability::Reveal),
            _ => Err(format!(
                "unknown capability {text:?}; there are exec, probe, files:<pattern>, services, packages, kernel, artifacts, images, \
                 kube:<namespace>, drain, pki:<name>, secrets:<name>, reveal:<name>"
            )),
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Capability::Exec => f.write_str("exec"),
            Capability::Probe => f.write_str("probe"),
            Capability::Files(glob) => write!(f, "files:{glob}"),
            Capability::Services => f.write_str("services"),
            Capability::Packages => f.write_str("packages"),
            Capability::Kernel => f.write_str("kernel"),
            Capability::Artifacts => f.write_str("artifacts"),
            Capability::Images => f.write_str("images"),
            Capability::Kube(name) => write!(f, "kube:{name}"),
            Capability::Drain => f.write_str("drain"),
            Capability::Pki(name) => write!(f, "pki:{name}"),
            Capability::Secrets(name) => write!(f, "secrets:{name}"),
            Capability::Reveal(name) => write!(f, "reveal:{name}"),
        }
    }
}

impl TryFrom<String> for Capability {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Capability> for String {
    fn from(capability: Capability) -> Self {
        capability.to_string()
    }
}

/// True for an absolute path without anything that could lead elsewhere: no `.`, `..`, empty parts, control characters.
pub fn is_normal(path: &str) -> bool {
    let Some(rest) = path.strip_prefix('/') else { return false };
    !rest.is_empty()
        && !path.chars().any(char::is_control)
        && rest.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
}

/// Part by part: `**` stands for any number of parts (none too), `*` for any text within one.
fn glob_matches(glob: &str, path: &str) -> bool {
    fn parts(glob: &[&str], path: &[&str]) -> bool {
        match (glob.split_first(), path.split_first()) {
            (None, None) => true,
            (Some((&"**", rest)), _) => (0..=path.len()).any(|taken| parts(rest, &path[taken..])),
            (Some((glob, rest)), Some((part, path))) => part_matches(glob, part) && parts(rest, path),
            _ => false,
        }
    }
    let glob: Vec<&str> = glob.split('/').collect();
    let path: Vec<&str> = path.split('/').collect();
    parts(&glob, &path)
}

fn part_matches(glob: &str, part: &str) -> bool {
    let Some((head, rest)) = glob.split_once('*') else { return glob == part };
    let Some(mut left) = part.strip_prefix(head) else { return false };
    let mut pieces: Vec<&str> = rest.split('*').collect();
    let last = pieces.pop().unwrap_or_default();
    for piece in pieces {
        let Some(at) = left.find(piece) else { return false };
        left = &left[at + piece.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(capability: &str, path: &str) -> bool {
        capability.parse::<Capability>().unwrap().allows(&Need::File(path.into()))
    }

    #[test]
    fn globs_stay_within_their_part_unless_doubled() {
        assert!(allows("files:/etc/containerd/**", "/etc/containerd/certs.d/docker.io/hosts.toml"));
        assert!(allows("files:/etc/containerd/**", "/etc/containerd"));
        assert!(!allows("files:/etc/containerd/**", "/etc/containerd2/x"));
        assert!(allows("files:/etc/sysctl.d/*-ksp.conf", "/etc/sysctl.d/90-ksp.conf"));
        assert!(!allows("files:/etc/*", "/etc/ssh/sshd_config"));
        assert!(allows("files:/etc/**/hosts.toml", "/etc/a/b/hosts.toml"));
        assert!(allows("files:/opt/a*b*c", "/opt/axxbyyc"));
        assert!(!allows("files:/opt/a*b*c", "/opt/axxc"));
    }

    #[test]
    fn paths_that_lead_elsewhere_are_never_allowed() {
        for path in
            ["/etc/containerd/../ssh/x", "/etc/containerd//x", "/etc/containerd/./x", "etc/containerd/x", "/"]
        {
            assert!(!allows("files:/**", path), "{path}");
        }
    }

    #[test]
    fn texts_round_trip_and_mistakes_are_named() {
        for text in [
            "exec",
            "probe",
            "files:/etc/x/**",
            "kube:*",
            "kube:kube-system",
            "drain",
            "pki:etcd",
            "secrets:a",
            "reveal:a",
        ] {
            assert_eq!(text.parse::<Capability>().unwrap().to_string(), text);
        }
        for text in ["", "Exec", "files", "files:etc/x", "files:/a/../b", "kube", "kube:", "exec:now", "root"]
        {
            assert!(text.parse::<Capability>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_namespace_is_not_the_whole_cluster() {
        let narrow: Capability = "kube:kube-system".parse().unwrap();
        assert!(narrow.allows(&Need::Kube("kube-system".into())));
        assert!(!narrow.allows(&Need::Kube("*".into())));
        assert!(Capability::Kube("*".into()).allows(&Need::Kube("default".into())));
    }
}
