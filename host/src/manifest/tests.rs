//! Every `tests/*.toml` is loaded among the same surrounding files; what comes out is the snapshot beside it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::*;
use crate::cli::ui::snippet;
use crate::node::Connection;

mod hostile;

fn folder_of_tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest/tests")
}

/// The files that manifests under test refer to.
fn surroundings() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, mode: u32, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    write("id", 0o600, "private");
    write("id-open", 0o644, "private");
    write("id.pub", 0o644, "public");
    write("secret", 0o600, "hunter2hunter2\n");
    write("secret-open", 0o640, "hunter3hunter3");
    write("secret-empty", 0o600, "\n");
    let sum = "5".repeat(64);
    write("sums", 0o644, &format!("{sum}  dl.k8s.io/release/v1.36.3/bin/linux/amd64/kubelet\n"));
    write(
        "sums-bad",
        0o644,
        &format!(
            "# made by hand\n{sum}  dl.k8s.io/x\nmd5  dl.k8s.io/y\n{sum}  https://dl.k8s.io/z\n\n{}  dl.k8s.io/x\n",
            "6".repeat(64)
        ),
    );
    fs::create_dir(folder.path().join("folder")).unwrap();
    fs::create_dir_all(folder.path().join("home/.ssh")).unwrap();
    write("home/.ssh/id_ed25519", 0o600, "private");
    assert!(std::process::Command::new("mkfifo").arg(folder.path().join("pipe")).status().unwrap().success());
    folder
}

fn environment(folder: &Path) -> Environment {
    Environment {
        home: Some(folder.join("home")),
        variable: Box::new(|name| match name {
            "BACKUP_KEY" => Some("backup".into()),
            "EMPTY" => Some("".into()),
            _ => None,
        }),
    }
}

fn summary(manifest: &Manifest) -> String {
    let mut text = format!("cluster {}\n", serde_json::to_string(&manifest.cluster).unwrap());
    for node in &manifest.nodes {
        let roles: Vec<String> = node.roles.iter().map(ToString::to_string).collect();
        text += &format!(
            "node {} {} {} {:?} {:?}\n",
            node.name,
            node.address,
            roles.join("+"),
            node.labels,
            node.taints
        );
        match &node.connection {
            Connection::Local => text += "  local\n",
            Connection::Ssh(target) => {
                for (depth, hop) in target.via.iter().chain([target]).enumerate() {
                    let (indent, keys) =
                        ("  ".repeat(depth + 1), (&hop.identities, &hop.host_key, &hop.known_hosts));
                    text += &format!("{indent}{}@{} port {} {keys:?}\n", hop.user, hop.host, hop.port);
                }
            }
        }
    }
    for stage in &manifest.stages {
        text += &format!(
            "stage {} = {} {} {} {:?}\n",
            stage.name, stage.plugin, stage.version, stage.config, stage.grants
        );
        text += &stage.nodes.as_ref().map(|nodes| format!("  only on {nodes:?}\n")).unwrap_or_default();
    }
    text + &format!("mirrors {:?}\nsecrets {:?}\n", manifest.mirrors, manifest.secrets)
}

#[test]
fn manifests() {
    let surroundings = surroundings();
    let folder = surroundings.path();
    let mut seen = BTreeSet::new();
    let mut paths: Vec<PathBuf> = fs::read_dir(folder_of_tests())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    paths.sort();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder_of_tests());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let copy = folder.join("manifest.toml");
        fs::copy(&path, &copy).unwrap();
        let mut environment = environment(folder);
        if name == "bad-home" {
            environment.home = None;
        }
        let loaded = load_in(&copy, &environment);
        seen.extend(loaded.findings.iter().map(|finding| finding.code.clone()));
        assert_eq!(loaded.manifest.is_none(), loaded.findings.iter().any(Diagnostic::is_error), "{name}");
        assert_eq!(
            loaded.manifest.is_none(),
            name.starts_with("bad-") || name == "version-1.33.9" || name == "version-1.38.0",
            "{name}"
        );
        let mut text = snippet::render(&loaded.findings, false);
        text += &loaded.manifest.as_ref().map(summary).unwrap_or_default();
        let text = text.replace(&format!("{}/", folder.display()), "");
        for secret in ["hunter2", "hunter3"] {
            assert!(!text.contains(secret), "{name} shows a secret");
            assert!(
                !serde_json::to_string(&loaded.findings).unwrap().contains(secret),
                "{name} has a secret in its findings"
            );
        }
        settings.bind(|| insta::assert_snapshot!(name, text));
    }
    let elsewhere = [
        codes::UNREADABLE,
        codes::NOT_A_FILE,
        codes::TOO_LARGE,
        codes::NOT_UTF8,
        codes::NUL_BYTE,
        codes::TOO_DEEP,
        codes::TOO_MANY,
        codes::TOO_MANY_NODES,
        codes::INTERNAL,
    ];
    seen.extend(elsewhere.map(str::to_owned));
    let untested: Vec<&str> =
        codes::ALL.iter().map(|(code, _)| *code).filter(|code| !seen.contains(*code)).collect();
    assert_eq!(untested, [] as [&str; 0], "no manifest in tests/ has these findings");
}

#[test]
fn places_can_be_found_later() {
    let surroundings = surroundings();
    let loaded = load_in(&folder_of_tests().join("good-full.toml"), &environment(surroundings.path()));
    // Read in place: the files it names are missing here, so it is checked again where they are.
    assert!(loaded.manifest.is_none());
    let copy = surroundings.path().join("m.toml");
    fs::copy(folder_of_tests().join("good-full.toml"), &copy).unwrap();
    let manifest = load_in(&copy, &environment(surroundings.path())).manifest.unwrap();
    let shown = |span: Option<Span>| span.map(|span| span.text[span.range].to_owned());
    assert_eq!(shown(manifest.config_span("containerd", "/alpha/ratio")).as_deref(), Some("0.5"));
    assert_eq!(
        shown(manifest.config_span("containerd", "/alpha/absent/x")).as_deref().map(|text| &text[..6]),
        Some("{ text")
    );
    assert_eq!(shown(manifest.config_span("containerd", "")).as_deref(), Some("[stage.config]"));
    assert_eq!(shown(manifest.config_span("second", "/x")).as_deref(), Some("[[stage]]"));
    assert_eq!(manifest.config_span("absent", ""), None);
    assert_eq!(shown(manifest.stage_span("disk-layout")).as_deref(), Some("\"./build/disk_layout.wasm\""));
    assert_eq!(shown(manifest.node_span("w1")).as_deref(), Some("\"w1\""));
    assert_eq!(manifest.secrets[0].1.expose(), b"backup", "in the order of names");
    assert_eq!(manifest.secrets[1].1.expose(), b"hunter2hunter2", "without the line break");
}

#[test]
fn the_json_schema_is_fresh_and_accepts_good_manifests() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifest.schema.json");
    let schema = schema_json();
    let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
    if std::env::var_os("KSP_UPDATE").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert_eq!(
        fs::read_to_string(&path).unwrap_or_default(),
        text,
        "KSP_UPDATE=1 cargo test -p ksp manifest writes it anew"
    );
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (name, good) in
        [("good-full", true), ("good-minimal", true), ("bad-keys", false), ("bad-types", false)]
    {
        let text = fs::read_to_string(folder_of_tests().join(name).with_extension("toml")).unwrap();
        let mut value: serde_json::Value = toml::from_str(&text).unwrap();
        // A date is a string to plugins.
        if let Some(when) = value.pointer_mut("/stage/0/config/alpha/when") {
            *when = "2026".into();
        }
        assert_eq!(validator.is_valid(&value), good, "{name}");
    }
}

#[test]
fn the_readme_lists_every_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest/README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let marker = "| code | meaning |\n|---|---|\n";
    let (before, table) = readme.split_once(marker).unwrap();
    let row = |(code, meaning): &(&str, &str)| {
        format!("| `{}` | {meaning} |\n", code.trim_start_matches("ksp::manifest::"))
    };
    let fresh: String = codes::ALL.iter().map(row).collect();
    if std::env::var_os("KSP_UPDATE").is_some() {
        fs::write(&path, format!("{before}{marker}{fresh}")).unwrap();
    } else {
        assert_eq!(table, fresh, "KSP_UPDATE=1 cargo test -p ksp manifest writes it anew");
    }
    let mut unique: Vec<&str> = codes::ALL.iter().map(|(code, _)| *code).collect();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), codes::ALL.len());
}
