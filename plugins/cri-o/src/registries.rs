//! Where images are pulled from: a file below `/etc/containers/registries.conf.d`, which CRI-O reads again when it changes.

use std::collections::BTreeMap;

use ksp_sdk::prelude::*;

use crate::CriO;

/// The file. Podman and its like read the folder as well, and a name of our own leaves theirs alone.
pub const PATH: &str = "/etc/containers/registries.conf.d/50-ksp.conf";

/// Mirrors that CRI-O cannot use.
pub fn check(mirrors: &BTreeMap<String, String>) -> Vec<Finding> {
    let refuse = |(registry, mirror): (&String, &String)| {
        Finding::error("", format!("CRI-O cannot use the mirror `{mirror}` of `{registry}`")).hint(
            "it asks mirrors below /v2/ only: `https://mirror.example` or `https://mirror.example/v2/path`",
        )
    };
    mirrors.iter().filter(|(_, mirror)| location(mirror).is_none()).map(refuse).collect()
}

/// The mirror first, the registry itself when the mirror has no answer.
///
/// # Errors
/// The host cannot write TOML.
pub fn render(stage: &CriO, mirrors: &BTreeMap<String, String>) -> Result<String> {
    let entry = |(registry, mirror): (&String, &String)| {
        let location = location(mirror)?;
        let insecure = mirror.starts_with("http://");
        Some(json!({ "location": registry, "mirror": [{ "location": location, "insecure": insecure }] }))
    };
    let registries: Vec<_> = mirrors.iter().filter_map(entry).collect();
    let mut file = json!({ "unqualified-search-registries": stage.search_registries });
    if !registries.is_empty() {
        file["registry"] = registries.into();
    }
    ksp_sdk::render_toml(&file)
}

/// An address as CRI-O writes it: no scheme, and without the `/v2` that it puts behind the host itself.
fn location(mirror: &str) -> Option<String> {
    let (_, rest) = mirror.trim_end_matches('/').split_once("://")?;
    match rest.split_once('/') {
        None => Some(rest.to_owned()),
        Some((host, "v2")) => Some(host.to_owned()),
        Some((host, path)) => path.strip_prefix("v2/").map(|path| format!("{host}/{path}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mirrors(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|(registry, mirror)| ((*registry).to_owned(), (*mirror).to_owned())).collect()
    }

    #[test]
    fn v2_is_where_it_belongs() {
        assert_eq!(location("http://mirror:5000/").unwrap(), "mirror:5000");
        assert_eq!(location("https://mirror/v2").unwrap(), "mirror");
        assert_eq!(location("https://mirror/v2/proxy/quay").unwrap(), "mirror/proxy/quay");
        assert_eq!(location("https://mirror/quay/v2"), None);
    }

    #[test]
    fn plain_http_is_asked_for() {
        let text = render(&CriO::default(), &mirrors(&[("quay.io", "http://mirror:5000")])).unwrap();
        let file = "unqualified-search-registries = [\"docker.io\"]\n\n[[registry]]\nlocation = \"quay.io\"\n\n\
            [[registry.mirror]]\nlocation = \"mirror:5000\"\ninsecure = true\n";
        assert_eq!(text, file);
    }

    #[test]
    fn a_mirror_that_hides_v2_is_refused() {
        let findings =
            check(&mirrors(&[("quay.io", "https://mirror/quay"), ("docker.io", "https://mirror")]));
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message().contains("https://mirror/quay"));
    }
}
