//! `artifact`: release files that the plugin's manifest declares, with mirror and checksum decided.

use std::collections::BTreeMap;

use wasmtime::Result;
use wasmtime::component::Resource;

use crate::manifest::Mirrors;
use crate::plugin::capability::Need;
use crate::plugin::download::{Release, Source};
use crate::plugin::metadata::{Artifact, Metadata};
use crate::runtime::bindings::ksp::plugin::artifact::{Host, HostRelease};
use crate::runtime::bindings::ksp::plugin::types::{Error, ErrorCode};
use crate::runtime::convert::fault;
use crate::runtime::handles::ReleaseHandle;
use crate::runtime::state::State;

/// Architectures of a file that fits all.
const ARCHITECTURES: [&str; 2] = ["amd64", "arm64"];

/// Finds a declared file and decides where it comes from: the mirror when there is one, upstream otherwise. A checksum that the
/// operator gives for the mirror's content wins over the plugin's.
///
/// # Errors
/// The plugin's manifest does not list it; the message lists what it does.
pub fn resolve(metadata: &Metadata, name: &str, version: &str, mirrors: &Mirrors) -> Result<Release, Error> {
    let not_found = |message: String| fault(ErrorCode::NotFound, "artifact.unknown", message);
    let artifact = metadata.artifact.get(name).ok_or_else(|| {
        let names: Vec<&str> = metadata.artifact.keys().map(String::as_str).collect();
        not_found(format!("the plugin lists no release file {name:?}; it lists {}", listed(&names)))
    })?;
    let Some(digests) = artifact.versions.get(version) else {
        let sources = vouched(artifact, version, mirrors);
        if !sources.is_empty() {
            return Ok(Release { name: name.into(), version: version.into(), sources });
        }
        let mut versions: Vec<&str> = artifact.versions.keys().map(String::as_str).collect();
        versions.sort_by_key(|version| semver::Version::parse(version).ok());
        let known = format!("{} knows no {name} {version}; it knows {}", metadata.name, listed(&versions));
        return Err(not_found(format!("{known}; another one needs its checksum in `mirrors.checksums`")));
    };
    let mut sources = BTreeMap::new();
    for (arch, digest) in digests {
        let fits: Vec<&str> = if arch == "any" { ARCHITECTURES.to_vec() } else { vec![arch] };
        for arch in fits {
            sources.insert(arch.to_owned(), source(artifact, version, arch, digest, mirrors));
        }
    }
    Ok(Release { name: name.into(), version: version.into(), sources })
}

/// A version that the plugin does not list, with the operator's own checksums.
fn vouched(artifact: &Artifact, version: &str, mirrors: &Mirrors) -> BTreeMap<String, Source> {
    let own = |arch: &&str| {
        let found = source(artifact, version, arch, "", mirrors);
        (!found.sha256.is_empty()).then(|| ((*arch).to_owned(), found))
    };
    ARCHITECTURES.iter().filter_map(own).collect()
}

fn source(artifact: &Artifact, version: &str, arch: &str, digest: &str, mirrors: &Mirrors) -> Source {
    let named = artifact.arch_names.get(arch).map_or(arch, String::as_str);
    let upstream = artifact.url.replace("{version}", version).replace("{arch}", named);
    let address = upstream.split_once("://").map_or(upstream.as_str(), |(_, address)| address);
    let bare = |digest: &str| digest.trim_start_matches("sha256:").to_owned();
    let Some(mirror) = &mirrors.files else { return Source { sha256: bare(digest), url: upstream } };
    Source {
        url: format!("{}/{address}", mirror.trim_end_matches('/')),
        sha256: mirrors.checksums.get(address).map_or_else(|| bare(digest), |own| bare(own)),
    }
}

fn listed(names: &[&str]) -> String {
    match names {
        [] => "none".into(),
        names if names.len() > 12 => format!(
            "{} … {} ({} in all)",
            names[..3].join(", "),
            names[names.len() - 3..].join(", "),
            names.len()
        ),
        names => names.join(", "),
    }
}

impl Host for State {
    fn get(&mut self, name: String, version: String) -> Result<Result<Resource<ReleaseHandle>, Error>> {
        // Also while a config is validated: the answer rests on manifests alone.
        let found = self
            .require(&Need::Artifacts)
            .and_then(|()| resolve(&self.stage.metadata, &name, &version, &self.inputs.manifest.mirrors));
        match found {
            Ok(release) => Ok(Ok(self.table.push(ReleaseHandle(release))?)),
            Err(error) => Ok(Err(error)),
        }
    }
}

impl HostRelease for State {
    fn name(&mut self, release: Resource<ReleaseHandle>) -> Result<String> {
        Ok(self.table.get(&release)?.0.name.clone())
    }

    fn version(&mut self, release: Resource<ReleaseHandle>) -> Result<String> {
        Ok(self.table.get(&release)?.0.version.clone())
    }

    fn digest(&mut self, release: Resource<ReleaseHandle>, arch: String) -> Result<Result<String, Error>> {
        let Release { name, version, sources } = &self.table.get(&release)?.0;
        // The upstream one, whatever a mirror serves: plugins compare it with what upstream publishes.
        let digests =
            self.stage.metadata.artifact.get(name).and_then(|artifact| artifact.versions.get(version));
        let found = digests.and_then(|digests| digests.get(&arch).or_else(|| digests.get("any"))).cloned();
        let known: Vec<&str> = sources.keys().map(String::as_str).collect();
        Ok(found.ok_or_else(|| {
            let message = format!("{name} {version} is there for {}, not for {arch:?}", listed(&known));
            fault(ErrorCode::NotFound, "artifact.architecture", message)
        }))
    }

    fn drop(&mut self, release: Resource<ReleaseHandle>) -> Result<()> {
        self.table.delete(release)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata() -> Metadata {
        let digest = format!("sha256:{}", "a".repeat(64));
        toml::from_str(&format!(
            "name = 'ksp/x'\nversion = '0.1.0'\napi = '^0.1'\nsummary = 's'\nlicense = 'MIT'\n\
             [artifact.tool]\nurl = 'https://dl.example/v{{version}}/tool-{{arch}}'\narch-names = {{ amd64 = 'x86_64' }}\n\
             [artifact.tool.versions.'1.2.3']\nany = '{digest}'\n"
        ))
        .unwrap()
    }

    #[test]
    fn upstream_is_used_without_a_mirror() {
        let release = resolve(&metadata(), "tool", "1.2.3", &Mirrors::default()).unwrap();
        assert_eq!(release.sources["amd64"].url, "https://dl.example/v1.2.3/tool-x86_64");
        assert_eq!(release.sources["arm64"].url, "https://dl.example/v1.2.3/tool-arm64");
        assert_eq!(release.sources["amd64"].sha256, "a".repeat(64));
    }

    #[test]
    fn a_mirror_replaces_the_scheme_and_may_have_its_own_checksum() {
        let mirrors = Mirrors {
            files: Some("http://mirror:8080/files/".into()),
            checksums: [("dl.example/v1.2.3/tool-arm64".to_owned(), "b".repeat(64))].into(),
            ..Mirrors::default()
        };
        let release = resolve(&metadata(), "tool", "1.2.3", &mirrors).unwrap();
        assert_eq!(release.sources["arm64"].url, "http://mirror:8080/files/dl.example/v1.2.3/tool-arm64");
        assert_eq!(release.sources["arm64"].sha256, "b".repeat(64));
        assert_eq!(release.sources["amd64"].sha256, "a".repeat(64));
    }

    #[test]
    fn what_is_not_listed_is_answered_with_what_is() {
        let message = |name: &str, version: &str| {
            resolve(&metadata(), name, version, &Mirrors::default()).unwrap_err().message
        };
        assert_eq!(message("other", "1"), "the plugin lists no release file \"other\"; it lists tool");
        assert_eq!(
            message("tool", "9"),
            "ksp/x knows no tool 9; it knows 1.2.3; another one needs its checksum in `mirrors.checksums`"
        );
    }
}
