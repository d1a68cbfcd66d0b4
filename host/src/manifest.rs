//! The cluster manifest: what the user wants. Loaded whole, checked whole: every finding at once, before anything is contacted.
//!
//! [`read`] → [`tree`] (text and places) → [`walk`] along the JSON Schema (keys and types) → [`rules`] (sense) → [`resolve`].

mod check;
pub mod codes;
mod describe;
pub mod environment;
mod findings;
mod mask;
mod read;
mod resolve;
mod rules;
pub mod schema;
mod selector;
pub mod source;
pub mod suggest;
pub(crate) mod syntax;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::Serialize;
use serde_json::Value;

use self::environment::Environment;
use self::findings::Findings;
use self::schema::ManifestFile;
pub use self::selector::select;
use self::source::Source;
use crate::diagnostic::{Diagnostic, Span};
use crate::node::{Node, NodeId};
use crate::redact::Secret;

/// The Kubernetes version of a new manifest.
pub const DEFAULT_KUBERNETES: &str = "1.36.3";

/// What became of a manifest.
#[derive(Debug)]
pub struct Loaded {
    /// None when any finding is an error.
    pub manifest: Option<Manifest>,
    /// What could be understood of a manifest that is refused: good for further findings, and for nothing else.
    pub refused: Option<Manifest>,
    /// In the order of the text.
    pub findings: Vec<Diagnostic>,
}

/// Findings in the order of the text; those without a place come last.
pub fn sort(findings: &mut [Diagnostic]) {
    findings.sort_by_key(|finding| match finding.spans.first() {
        Some(span) if !span.text.is_empty() => span.range.start,
        _ => usize::MAX,
    });
}

/// Reads and checks a manifest. Looks at the files it names (keys, secrets, checksums); contacts nothing.
pub fn load(path: &Path) -> Loaded {
    load_in(path, &Environment::real())
}

/// [`load`] on a workstation of the caller's choice.
pub fn load_in(path: &Path, environment: &Environment) -> Loaded {
    match read::read(path) {
        Ok(read::Text { text, digest }) => check_text(path, &text, digest, environment),
        Err(finding) => Loaded { manifest: None, refused: None, findings: vec![finding] },
    }
}

/// Checks a text as if it had been read from `path`; `digest` is what the manifest will be known by.
pub fn check_text(path: &Path, text: &str, digest: String, environment: &Environment) -> Loaded {
    let mut findings = Findings::default();
    let understood = examine(path, text, digest, environment, &mut findings);
    let (manifest, refused) = if findings.any_error() { (None, understood) } else { (understood, None) };
    Loaded { manifest, refused, findings: findings.into_sorted() }
}

fn examine(
    path: &Path,
    text: &str,
    digest: String,
    environment: &Environment,
    findings: &mut Findings,
) -> Option<Manifest> {
    let source = parse(path, text, findings)?;
    rules::refuse_inline(&source, findings);
    let document = walk::walk(&source, schema(), findings);
    let file: ManifestFile = match serde_json::from_value(document) {
        Ok(file) => file,
        Err(error) => {
            findings.push(internal(path, &error.to_string()));
            return None;
        }
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    check::Check { file: &file, source: &source, folder, environment, findings: &mut *findings }.run();
    // Conclusions from a stage that is not what was written would be wrong.
    let stages_are_whole = findings.is_intact("/stage");
    let origin = resolve::Origin { path, folder, digest, environment };
    match resolve::resolve(file, source, &origin) {
        Ok(manifest) => stages_are_whole.then_some(manifest),
        // It is said already why it cannot be used.
        Err(_) if findings.any_error() => None,
        Err(error) => {
            findings.push(internal(path, &error));
            None
        }
    }
}

fn internal(path: &Path, error: &str) -> Diagnostic {
    Diagnostic::error(codes::INTERNAL, format!("{} passed every check but cannot be used", path.display()))
        .note(error)
}

/// The document with its places, or the reasons why it is none.
fn parse(path: &Path, text: &str, findings: &mut Findings) -> Option<Source> {
    let parsed = match tree::parse(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            findings.push(
                Diagnostic::error(codes::SYNTAX, format!("{} is not TOML", path.display())).note(error),
            );
            return None;
        }
    };
    let usable = parsed.errors.iter().all(|error| error.duplicate);
    let shown: Arc<str> = mask::mask(text, parsed.root.as_ref().filter(|_| usable)).into();
    let empty = matches!(&parsed.root, Some(root) if root.node == tree::Node::default());
    let deep = parsed.root.is_none();
    let source = Source::new(path, shown, Arc::new(parsed.root.unwrap_or_default()));
    let mut position = None;
    for error in parsed.errors {
        // One slip makes the parser stumble several times in the same line.
        let before = position.replace(error.range.start);
        let same_line = before
            .and_then(|at| text.get(at..error.range.start))
            .is_some_and(|between| !between.contains('\n'));
        if same_line && !error.duplicate {
            continue;
        }
        let finding = if error.duplicate {
            let name = source
                .range(error.range.clone(), "")
                .text
                .get(error.range.clone())
                .unwrap_or_default()
                .to_owned();
            Diagnostic::error(codes::DUPLICATE_KEY, format!("`{name}` is given twice"))
        } else {
            Diagnostic::error(codes::SYNTAX, format!("not TOML: {}", error.message))
        };
        let unquoted =
            ["invalid float", "invalid integer", "invalid datetime", "string values must be quoted"];
        let finding = match unquoted.iter().any(|words| error.message.starts_with(words)) {
            true => finding.hint("text needs quotes: `\"…\"`"),
            false => finding,
        };
        findings.push(finding.at(source.range(error.range, "")));
    }
    if deep {
        let message = format!("{} is nested deeper than {} levels", path.display(), tree::DEEPEST);
        findings.push(Diagnostic::error(codes::TOO_DEEP, message));
    } else if empty && usable {
        let message = format!("{} contains nothing", path.display());
        findings.push(
            Diagnostic::error(codes::EMPTY, message)
                .hint("`ksp init <cluster name>` writes a complete manifest"),
        );
    } else if usable {
        return Some(source);
    }
    None
}

fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(schema_json)
}

/// The JSON Schema of the manifest, for editors; `host/manifest.schema.json` is its copy.
pub fn schema_json() -> Value {
    let mut schema = schemars::schema_for!(ManifestFile).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".into(), "ksp cluster manifest".into());
    }
    schema
}

/// A checked manifest, everything resolved: what the rest of ksp works with.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// Where it was read from.
    pub path: PathBuf,
    /// "sha256:…" of its text.
    pub digest: String,
    /// What the cluster is.
    pub cluster: Cluster,
    /// The machines, in the manifest's order; a node's [`crate::node::NodeId`] is its index.
    pub nodes: Vec<Node>,
    /// The chain.
    pub stages: Vec<StageEntry>,
    /// Where files and images come from instead of upstream.
    pub mirrors: Mirrors,
    /// Secrets that plugins may be granted, read from files or the environment.
    pub secrets: Vec<(String, Secret)>,
    /// Its text and the place of everything in it, for findings that come later.
    pub source: Source,
}

impl Manifest {
    /// The place of a stage's config value, by a JSON pointer into the config ("" is the whole config). What does not exist
    /// is shown at the table it would stand in. None when there is no such stage.
    pub fn config_span(&self, stage: &str, pointer: &str) -> Option<Span> {
        let index = self.stages.iter().position(|entry| entry.name == stage)?;
        Some(self.source.value(&format!("/stage/{index}/config{pointer}"), ""))
    }

    /// The place where a stage names its plugin. None when there is no such stage.
    pub fn stage_span(&self, stage: &str) -> Option<Span> {
        let index = self.stages.iter().position(|entry| entry.name == stage)?;
        Some(self.source.value(&format!("/stage/{index}/use"), ""))
    }

    /// The place of the cluster's endpoint.
    pub fn endpoint_span(&self) -> Span {
        self.source.value("/cluster/endpoint", "")
    }

    /// The place of a node's name. None when there is no such node.
    pub fn node_span(&self, node: &str) -> Option<Span> {
        let index = self.nodes.iter().position(|entry| entry.name == node)?;
        Some(self.source.value(&format!("/node/{index}/name"), ""))
    }
}

/// What the cluster is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cluster {
    /// A DNS label.
    pub name: String,
    /// Without a leading `v`.
    pub kubernetes: semver::Version,
    /// `host:port` by which nodes and users reach the API; can move between machines.
    pub endpoint: Endpoint,
    /// Addresses of pods.
    pub pod_cidr: String,
    /// Addresses of Services.
    pub service_cidr: String,
    /// "cluster.local".
    pub dns_domain: String,
}

/// A name or address with a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// DNS name or IP address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl Endpoint {
    /// True when it is another machine on each machine.
    pub fn is_loopback(&self) -> bool {
        let address = self.host.parse::<IpAddr>();
        address.map_or(self.host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One entry of the chain.
#[derive(Debug, Clone)]
pub struct StageEntry {
    /// The stage's name in this manifest: the plugin's last name part unless given; unique.
    pub name: String,
    /// Short name, `oci://…`, or a path, as written.
    pub plugin: String,
    /// Accepted versions.
    pub version: semver::VersionReq,
    /// The nodes it is for, when it is not for all.
    pub nodes: Option<BTreeSet<NodeId>>,
    /// The stage's config, as written.
    pub config: Value,
    /// Capabilities granted beyond what first-party plugins get by themselves.
    pub grants: Vec<String>,
}

/// Where files and images come from instead of upstream.
#[derive(Debug, Clone, Default)]
pub struct Mirrors {
    /// Base address: the upstream address without its scheme is appended.
    pub files: Option<String>,
    /// Registry host to mirror address.
    pub images: std::collections::BTreeMap<String, String>,
    /// 64 hex digits of the SHA-256 of what the mirror serves, by upstream address without its scheme; wins over the plugin's.
    pub checksums: std::collections::BTreeMap<String, String>,
    /// Nodes have no way out: ksp fetches and pushes.
    pub push: bool,
}
