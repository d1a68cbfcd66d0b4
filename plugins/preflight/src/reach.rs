//! Whether a node that is still to be prepared gets answers from where its files and images come from.

use ksp_sdk::prelude::*;

/// Hosts of release files and images when there is no mirror.
const UPSTREAM_FILES: &str = "https://dl.k8s.io/";
const UPSTREAM_IMAGES: &str = "https://registry.k8s.io/v2/";

/// Any answer at all will do: registries ask for a login at this address.
pub fn check(cx: &Context, node: &Node, facts: &Facts) -> Result<()> {
    let spec = cx.spec()?;
    if spec.mirrors.push || !facts.is("tools.curl") {
        return Ok(());
    }
    let files = spec.mirrors.files.clone().unwrap_or_else(|| UPSTREAM_FILES.into());
    let mut registries: Vec<String> =
        spec.mirrors.images.values().map(|mirror| format!("{}/v2/", mirror.trim_end_matches('/'))).collect();
    if registries.is_empty() {
        registries.push(UPSTREAM_IMAGES.into());
    }
    registries.sort();
    registries.dedup();

    answers(cx, node, "preflight.files", &files, "release files");
    for registry in &registries {
        answers(cx, node, "preflight.registry", registry, "images");
    }
    Ok(())
}

fn answers(cx: &Context, node: &Node, code: &str, address: &str, what: &str) {
    let argv = ["curl", "--silent", "--show-error", "--max-time", "10", "--output", "/dev/null", address];
    let message = format!("{what} cannot be fetched: {address} does not answer");
    let hint = "set `[mirrors]` to something this node reaches, or `push = true` there to have files pushed over SSH";
    cx.plan().check(node, code, argv, message, Some(hint));
}
