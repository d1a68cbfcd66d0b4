//! Where images of a registry are pulled from: `/etc/containerd/certs.d/<registry>/hosts.toml`.

/// The file of a registry.
pub fn path(registry: &str) -> String {
    format!("/etc/containerd/certs.d/{registry}/hosts.toml")
}

/// The mirror first, the registry itself when the mirror has no answer. A mirror address with a path is complete: containerd
/// must not add `/v2` to it.
pub fn hosts_toml(registry: &str, mirror: &str) -> String {
    let server = if registry == "docker.io" {
        "https://registry-1.docker.io".into()
    } else {
        format!("https://{registry}")
    };
    let mirror = mirror.trim_end_matches('/');
    let has_path = mirror.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    let override_path = if has_path { "  override_path = true\n" } else { "" };
    format!(
        "server = \"{server}\"\n\n[host.\"{mirror}\"]\n  capabilities = [\"pull\", \"resolve\"]\n{override_path}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T43.
    #[test]
    fn docker_io_is_served_elsewhere() {
        let text = hosts_toml("docker.io", "http://mirror:5000/");
        assert_eq!(
            text,
            "server = \"https://registry-1.docker.io\"\n\n[host.\"http://mirror:5000\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
    }

    #[test]
    fn a_mirror_below_a_path_is_taken_as_it_is() {
        assert!(hosts_toml("quay.io", "https://mirror/v2/quay").contains("override_path = true"));
    }
}
