//! The chain of stages. Whether a plugin exists and takes the config is found out when plugins are resolved.

use std::collections::HashMap;

use semver::VersionReq;

use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::{codes, selector, syntax};

/// The stage's name when none is given: the last part of the plugin's name, without tag, digest and extension.
pub fn default_name(plugin: &str) -> Option<String> {
    let last = plugin.trim_end_matches('/').rsplit('/').next()?;
    let last = last.split(['@', ':']).next()?;
    let last = last.strip_suffix(".wasm").unwrap_or(last).to_ascii_lowercase().replace('_', "-");
    syntax::label(&last).is_ok().then_some(last)
}

/// What is wrong with the name of a plugin.
fn plugin(text: &str) -> Result<(), (String, String)> {
    let wrong = |wrong: &str, hint: &str| Err((wrong.to_owned(), hint.to_owned()));
    const FORMS: &str =
        "write `publisher/name`, `oci://registry/publisher/name`, or a path such as `./name.wasm`";
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) && !is_path(text) {
        return wrong("the plugin's name contains blanks or control characters", FORMS);
    }
    if let Some(reference) = text.strip_prefix("oci://") {
        return oci(reference).map_err(|wrong| (format!("the plugin's address {wrong}"), FORMS.to_owned()));
    }
    if text.contains("://") {
        return wrong("plugins are fetched from OCI registries only", FORMS);
    }
    if is_path(text) {
        return Ok(());
    }
    match text.split_once('/') {
        Some((publisher, name)) => {
            let (name, tag) = name.split_once(['@', ':']).map_or((name, false), |(name, _)| (name, true));
            if tag {
                return wrong("the plugin's version stands in its name", "give it as `version`");
            }
            let both = syntax::label(publisher).and_then(|()| syntax::label(name));
            both.map_err(|wrong| (format!("the plugin's name {wrong}"), FORMS.to_owned()))
        }
        None => Err((
            "the plugin's publisher is missing".into(),
            format!("write `ksp/{text}` for the one that comes with ksp"),
        )),
    }
}

fn is_path(text: &str) -> bool {
    ["/", "./", "../", "~/"].iter().any(|start| text.starts_with(start)) || text.ends_with(".wasm")
}

fn oci(reference: &str) -> Result<(), String> {
    let (registry, path) = reference.split_once('/').ok_or("has no path after the registry")?;
    let (host, port) = registry.rsplit_once(':').map_or((registry, None), |(host, port)| (host, Some(port)));
    syntax::host(host).map_err(|wrong| format!("has a registry that {wrong}"))?;
    port.map_or(Ok(0), syntax::port)?;
    let (path, digest) = path.split_once('@').map_or((path, None), |(path, digest)| (path, Some(digest)));
    let hex = |text: &str| {
        text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
    };
    if digest.is_some_and(|digest| !digest.strip_prefix("sha256:").is_some_and(hex)) {
        return Err("has a digest that is not `sha256:` and 64 hex digits".into());
    }
    let (path, tag) = path.rsplit_once(':').map_or((path, None), |(path, tag)| (path, Some(tag)));
    let word =
        |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if tag.is_some_and(|tag| tag.is_empty() || tag.len() > 128 || !word(tag)) {
        return Err("has a tag that no registry accepts".into());
    }
    if path.split('/').any(|part| part.is_empty() || part.starts_with(['.', '-', '_']) || !word(part)) {
        return Err("has a path that no registry accepts".into());
    }
    Ok(())
}

/// A manifest without stages would do nothing and say that all is well.
pub fn none(check: &mut Check<'_>) {
    if check.file.stage.is_empty() {
        let finding = Diagnostic::warning(codes::NO_STAGES, "there are no stages: nothing would be done")
            .hint("`ksp init` writes a manifest with the usual chain");
        check.report("/stage", finding);
    }
}

/// Names, addresses and paths of plugins.
pub fn plugins(check: &mut Check<'_>) {
    for (pointer, stage) in check.stages() {
        let pointer = format!("{pointer}/use");
        if stage.plugin.trim().is_empty() {
            let finding = Diagnostic::error(codes::EMPTY_USE, "a stage that names no plugin");
            check.report(&pointer, finding.hint("write `use = \"publisher/name\"`"));
        } else if let Err((wrong, hint)) = plugin(&stage.plugin) {
            check.report(&pointer, Diagnostic::error(codes::BAD_PLUGIN, wrong).hint(hint));
        } else if stage.plugin.starts_with('~') {
            let _ = check.path(&pointer, &stage.plugin);
        }
    }
}

/// Stage names stand in logs, plans and on the command line.
pub fn names(check: &mut Check<'_>) {
    for (pointer, stage) in check.stages() {
        match &stage.name {
            Some(name) => {
                if let Err(wrong) = syntax::label(name) {
                    let finding =
                        Diagnostic::error(codes::BAD_STAGE_NAME, format!("the stage's name {wrong}"))
                            .hint("use lower-case letters, digits and `-`");
                    check.report(&format!("{pointer}/name"), finding);
                }
            }
            None if plugin(&stage.plugin).is_ok() && default_name(&stage.plugin).is_none() => {
                let message = "the plugin's name makes no name for the stage";
                check.report(
                    &format!("{pointer}/use"),
                    Diagnostic::error(codes::BAD_STAGE_NAME, message).hint("give a `name`"),
                );
            }
            None => {}
        }
    }
}

/// Stages may be for some nodes only.
pub fn selectors(check: &mut Check<'_>) {
    for (pointer, stage) in check.stages() {
        let Some(Err(wrong)) = stage.nodes.as_deref().map(selector::check) else { continue };
        let finding = Diagnostic::error(codes::BAD_SELECTOR, wrong)
            .hint("such as `label=runtime:cri-o`, `name=w1` or `role=worker,!name=w1`");
        check.report(&format!("{pointer}/nodes"), finding);
    }
}

/// Stages are known by name.
pub fn duplicates(check: &mut Check<'_>) {
    let mut seen: HashMap<String, String> = HashMap::new();
    for (pointer, stage) in check.stages() {
        let key = if stage.name.is_some() { "name" } else { "use" };
        let default =
            || Some(&stage.plugin).filter(|text| plugin(text).is_ok()).and_then(|text| default_name(text));
        let Some(name) = stage.name.clone().or_else(default) else { continue };
        let pointer = format!("{pointer}/{key}");
        if let Some(first) = seen.get(&name) {
            let finding =
                Diagnostic::error(codes::DUPLICATE_STAGE, format!("two stages are called `{name}`"))
                    .at(check.value(&pointer, "again here"))
                    .at(check.value(first, "first here"))
                    .hint("remove one, or give it a `name` of its own");
            check.report(&pointer, finding);
        } else {
            seen.insert(name, pointer);
        }
    }
}

/// Version requirements as Cargo has them.
pub fn requirements(check: &mut Check<'_>) {
    for (pointer, stage) in check.stages() {
        let Some(text) = &stage.version else { continue };
        if VersionReq::parse(text).is_err() {
            let finding = Diagnostic::error(codes::BAD_REQUIREMENT, "not a version requirement")
                .hint("write `version = \"^0.1\"` for any compatible with 0.1, `=0.1.2` for exactly one; leave it out for any");
            check.report(&format!("{pointer}/version"), finding);
        }
    }
}

/// What grants mean is checked against what the plugin asks for.
pub fn grants(check: &mut Check<'_>) {
    for (pointer, stage) in check.stages() {
        for (index, grant) in stage.grants.iter().enumerate() {
            if grant.trim().is_empty() || grant.chars().any(char::is_control) {
                let finding =
                    Diagnostic::error(codes::BAD_GRANT, "a grant that is empty or has control characters");
                check.report(
                    &format!("{pointer}/grants/{index}"),
                    finding.hint("such as `exec` or `files:/etc/example/**`"),
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_named_after_their_plugin() {
        for (plugin, name) in [
            ("ksp/containerd", Some("containerd")),
            ("oci://ghcr.io/acme/harden:0.3", Some("harden")),
            ("oci://localhost:5000/acme/harden@sha256:00", Some("harden")),
            ("./build/disk_layout.wasm", Some("disk-layout")),
            ("./Überbau.wasm", None),
            ("", None),
        ] {
            assert_eq!(default_name(plugin).as_deref(), name, "{plugin}");
        }
    }

    #[test]
    fn plugins_come_in_three_forms() {
        let digest = format!("oci://r.io/a/b@sha256:{}", "0".repeat(64));
        for good in [
            "ksp/containerd",
            "oci://ghcr.io/a/b:1.0",
            &digest,
            "oci://localhost:5000/a/b",
            "./a b.wasm",
            "/x",
            "~/x",
            "x.wasm",
        ] {
            assert_eq!(plugin(good), Ok(()), "{good}");
        }
        let bad = [
            "containerd",
            "ksp/",
            "a/b/c",
            "ksp/a:1",
            "https://x/y",
            "file:///x",
            "oci://x",
            "oci://r.io/../x",
            "oci://r.io/a@sha256:0",
            "oci://-r/a",
            "oci://r.io/a b",
            "KSP/a",
            "ksp/../a",
            "oci://r.io:99999/a",
            "oci://r.io/a:",
        ];
        for bad in bad {
            assert!(plugin(bad).is_err(), "{bad}");
        }
    }
}
