//! From a checked document to what ksp works with: defaults filled in, paths absolute or relative to the working directory,
//! SSH settings merged, secrets read.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use semver::{Version, VersionReq};
use serde_json::Value;

use super::environment::{Environment, path};
use super::schema::{ConnectionKind, ManifestFile, NodeSection, SecretSection, SshSection};
use super::{Cluster, Manifest, Mirrors, StageEntry, rules, select, syntax};
use crate::manifest::source::Source;
use crate::node::{Connection, Node, NodeId, SshTarget};
use crate::redact::Secret;

/// Private keys that are tried when none is given, in OpenSSH's order of preference.
const USUAL_IDENTITIES: &[&str] = &["~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"];

const USUAL_KNOWN_HOSTS: &str = "~/.ssh/known_hosts";

/// A secret is a password, a token or a key.
const LARGEST_SECRET: u64 = 1 << 20;

/// Where a manifest was found.
pub struct Origin<'a> {
    /// As the user named it.
    pub path: &'a Path,
    /// Its folder.
    pub folder: &'a Path,
    /// "sha256:…".
    pub digest: String,
    /// The workstation.
    pub environment: &'a Environment,
}

/// Resolves a document that passed every rule.
///
/// # Errors
/// Says what could not be resolved: a file that changed since the rules looked at it, or a defect of ksp.
pub fn resolve(file: ManifestFile, source: Source, origin: &Origin<'_>) -> Result<Manifest, String> {
    let cluster = &file.cluster;
    let cluster = Cluster {
        name: cluster.name.clone(),
        kubernetes: Version::parse(&cluster.kubernetes)
            .map_err(|error| format!("kubernetes version: {error}"))?,
        endpoint: syntax::endpoint(&cluster.endpoint)?,
        pod_cidr: cluster.pod_cidr.clone(),
        service_cidr: cluster.service_cidr.clone(),
        dns_domain: cluster.dns_domain.clone(),
    };
    let nodes = file.node.iter().enumerate().map(|(index, section)| node(index, section, &file.ssh, origin));
    let nodes = nodes.collect::<Result<Vec<_>, String>>()?;
    let stages = file.stage.into_iter().map(|section| {
        let name =
            section.name.or_else(|| rules::default_name(&section.plugin)).ok_or("a stage has no name")?;
        let version = section.version.map_or(Ok(VersionReq::STAR), |text| VersionReq::parse(&text));
        Ok(StageEntry {
            name,
            plugin: section.plugin,
            version: version.map_err(|error| error.to_string())?,
            nodes: match &section.nodes {
                Some(selector) => Some(select(&nodes, selector)?.into_iter().collect()),
                None => None,
            },
            config: Value::Object(section.config),
            grants: section.grants,
        })
    });
    let checksums = match &file.mirrors.checksums {
        Some(name) => rules::parse_checksums(&rules::read_checksums(&resolve_path(name, origin)?)?).0,
        None => Default::default(),
    };
    let secrets = file.secrets.iter().map(|(name, section)| Ok((name.clone(), secret(section, origin)?)));
    Ok(Manifest {
        path: origin.path.to_owned(),
        digest: origin.digest.clone(),
        cluster,
        stages: stages.collect::<Result<_, String>>()?,
        nodes,
        mirrors: Mirrors {
            files: file.mirrors.files.map(|address| address.trim_end_matches('/').to_owned()),
            images: file.mirrors.images,
            checksums,
            push: file.mirrors.push,
        },
        secrets: secrets.collect::<Result<_, String>>()?,
        source,
    })
}

fn resolve_path(text: &str, origin: &Origin<'_>) -> Result<PathBuf, String> {
    path(text, origin.folder, origin.environment).map_err(|bad| format!("path {text}: {bad:?}"))
}

fn node(
    index: usize,
    section: &NodeSection,
    shared: &SshSection,
    origin: &Origin<'_>,
) -> Result<Node, String> {
    let connection = match section.connection {
        ConnectionKind::Local => Connection::Local,
        ConnectionKind::Ssh => Connection::Ssh(target(section, shared, origin)?),
    };
    Ok(Node {
        id: NodeId(u32::try_from(index).map_err(|_| "too many nodes")?),
        name: section.name.clone(),
        address: section.address.parse().map_err(|_| format!("address of {}", section.name))?,
        roles: section.roles.clone(),
        labels: section.labels.clone(),
        taints: section.taints.clone(),
        connection,
    })
}

/// A node's own settings win over `[ssh]`.
fn target(section: &NodeSection, shared: &SshSection, origin: &Origin<'_>) -> Result<SshTarget, String> {
    let own = section.ssh.shared_part();
    let known_hosts =
        own.known_hosts.as_ref().or(shared.known_hosts.as_ref()).map_or(USUAL_KNOWN_HOSTS, |text| text);
    let identities = match own.identity.as_ref().or(shared.identity.as_ref()) {
        Some(text) => vec![resolve_path(text, origin)?],
        None => USUAL_IDENTITIES
            .iter()
            .filter_map(|text| resolve_path(text, origin).ok())
            .filter(|path| path.is_file())
            .collect(),
    };
    let target = SshTarget {
        host: section.ssh.host.clone().unwrap_or_else(|| section.address.clone()),
        port: own.port.or(shared.port).unwrap_or(22),
        user: own.user.or_else(|| shared.user.clone()).unwrap_or_else(|| "root".into()),
        identities,
        host_key: own.host_key.or_else(|| shared.host_key.clone()),
        known_hosts: resolve_path(known_hosts, origin)?,
        via: Vec::new(),
    };
    let hops = own.via.as_ref().or(shared.via.as_ref()).into_iter().flatten();
    let via = hops.map(|text| {
        let hop = syntax::hop(text)?;
        Ok(SshTarget {
            host: hop.host,
            port: hop.port.unwrap_or(22),
            user: hop.user.unwrap_or_else(|| target.user.clone()),
            host_key: None,
            ..target.clone()
        })
    });
    let via = via.collect::<Result<_, String>>()?;
    Ok(SshTarget { via, ..target })
}

fn secret(section: &SecretSection, origin: &Origin<'_>) -> Result<Secret, String> {
    match (&section.file, &section.env) {
        (Some(text), None) => {
            read_secret(&resolve_path(text, origin)?).map_err(|error| format!("secret {text}: {error}"))
        }
        (None, Some(name)) => {
            let value = (origin.environment.variable)(name).ok_or_else(|| format!("{name} is unset"))?;
            Ok(Secret::new(value.into_encoded_bytes()))
        }
        _ => Err("a secret has no single source".into()),
    }
}

/// A secret's file, without the line break at its end: editors and `echo` put one there that nobody means.
///
/// # Errors
/// Says why it cannot be used; never what it contains.
pub fn read_secret(path: &Path) -> Result<Secret, String> {
    let metadata = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.take(LARGEST_SECRET + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > LARGEST_SECRET {
        return Err(format!("larger than {} MiB", LARGEST_SECRET >> 20));
    }
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    if bytes.is_empty() {
        return Err("it is empty".into());
    }
    Ok(Secret::new(bytes.as_slice()))
}
