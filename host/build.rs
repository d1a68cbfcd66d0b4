//! Builds the plugins of `plugins/` for WebAssembly, packs each into one file, and writes the table that `plugin::embedded`
//! includes: a binary of `cargo build` or `cargo install --path host` is complete.
#![allow(clippy::print_stdout, reason = "build scripts talk to cargo on standard output")]

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

#[path = "src/plugin/package/assemble.rs"]
mod assemble;
#[path = "src/plugin/metadata.rs"]
#[allow(dead_code, reason = "the host uses the rest")]
mod metadata;

const TARGET: &str = "wasm32-wasip2";
const PROFILE: &str = "plugin";

fn main() {
    if let Err(message) = run() {
        // One instruction a line, or cargo drops the rest.
        message.lines().for_each(|line| println!("cargo::error={line}"));
        std::process::exit(1);
    }
}

fn run() -> Result<(), String> {
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..").canonicalize().map_err(text)?;
    for watched in ["plugins", "sdk/src", "sdk/Cargo.toml", "wit", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    let plugins = find(&root.join("plugins"))?;
    let built = target_folder(&out)?;
    if !plugins.is_empty() {
        require_target()?;
        build(&root, &built, &plugins)?;
    }
    let mut table = String::from("static EMBEDDED: &[Embedded] = &[\n");
    for plugin in &plugins {
        let packed = pack(plugin, &built)?;
        let file = out.join(format!("{}.wasm", plugin.package));
        std::fs::write(&file, &packed).map_err(text)?;
        let digest: String = Sha256::digest(&packed).iter().map(|byte| format!("{byte:02x}")).collect();
        table.push_str(&format!(
            "    Embedded {{ name: {:?}, digest: \"sha256:{digest}\", bytes: include_bytes!({file:?}) }},\n",
            plugin.name
        ));
    }
    table.push_str("];\n");
    std::fs::write(out.join("embedded.rs"), table).map_err(text)
}

struct Plugin {
    folder: PathBuf,
    /// "ksp/containerd".
    name: String,
    /// Its Cargo package.
    package: String,
    manifest: String,
}

/// Every folder with a `plugin.toml`, sorted by plugin name.
fn find(folder: &Path) -> Result<Vec<Plugin>, String> {
    let mut plugins = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(text)? {
        let folder = entry.map_err(text)?.path();
        let Ok(mut manifest) = std::fs::read_to_string(folder.join("plugin.toml")) else { continue };
        // Long tables of checksums stand in a file of their own that continues the first one.
        if let Ok(artifacts) = std::fs::read_to_string(folder.join("artifacts.toml")) {
            manifest.push('\n');
            manifest.push_str(&artifacts);
        }
        let cargo = std::fs::read_to_string(folder.join("Cargo.toml"))
            .map_err(|error| format!("{}: {error}", folder.join("Cargo.toml").display()))?;
        plugins.push(Plugin {
            name: value(&manifest, &["name"])
                .ok_or(format!("{}: plugin.toml has no name", folder.display()))?,
            package: value(&cargo, &["package", "name"])
                .ok_or(format!("{}: no package name", folder.display()))?,
            manifest,
            folder,
        });
    }
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(plugins)
}

fn value(toml: &str, path: &[&str]) -> Option<String> {
    let table: toml::Table = toml.parse().ok()?;
    let (last, tables) = path.split_last()?;
    let table = tables.iter().try_fold(&table, |table, key| table.get(*key)?.as_table())?;
    Some(table.get(*last)?.as_str()?.to_owned())
}

/// `<target>/plugins`: beside the profiles, so that all of them share what was built. `out` is
/// `<target>/<profile>/build/ksp-<hash>/out`.
fn target_folder(out: &Path) -> Result<PathBuf, String> {
    let target = out.ancestors().nth(4).ok_or("OUT_DIR is not where cargo puts it")?;
    Ok(target.join("plugins"))
}

fn require_target() -> Result<(), String> {
    let rustc = variable("RUSTC")?;
    let output =
        Command::new(&rustc).args(["--print", "target-libdir", "--target", TARGET]).output().map_err(text)?;
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    if output.status.success() && folder.is_dir() {
        return Ok(());
    }
    Err(format!(
        "ksp's plugins are WebAssembly, and this Rust cannot build that yet.\n\
         Run `rustup target add {TARGET}` and build again."
    ))
}

/// One cargo for all, so that they share every dependency.
fn build(root: &Path, target: &Path, plugins: &[Plugin]) -> Result<(), String> {
    let mut cargo = Command::new(variable("CARGO")?);
    cargo.current_dir(root).args(["build", "--quiet", "--target", TARGET, "--profile", PROFILE]);
    cargo.arg("--target-dir").arg(target);
    plugins.iter().for_each(|plugin| {
        cargo.args(["--package", &plugin.package]);
    });
    // What the outer cargo, clippy or a coverage tool says about host code is not meant for the guests.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let inherited = matches!(
            name.as_ref(),
            "RUSTFLAGS"
                | "RUSTDOCFLAGS"
                | "RUSTC_WORKSPACE_WRAPPER"
                | "CLIPPY_ARGS"
                | "CARGO_ENCODED_RUSTFLAGS"
                | "CARGO_TARGET_DIR"
                | "CARGO_BUILD_TARGET"
                | "CARGO_BUILD_TARGET_DIR"
                | "CARGO_BUILD_RUSTFLAGS"
                | "RUSTC"
                | "RUSTDOC"
                | "TARGET"
                | "HOST"
                | "PROFILE"
                | "OPT_LEVEL"
                | "DEBUG"
                | "OUT_DIR"
                | "LLVM_PROFILE_FILE"
        ) || name.starts_with("CARGO_CFG_")
            || name.starts_with("CARGO_FEATURE_")
            || name.starts_with("CARGO_PKG_")
            || name.starts_with("CARGO_PROFILE_")
            || name.starts_with("CARGO_MANIFEST_");
        if inherited {
            cargo.env_remove(name.as_ref());
        }
    }
    let output = cargo.output().map_err(|error| format!("cargo cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("the plugins cannot be built:\n{}", String::from_utf8_lossy(&output.stderr).trim_end()))
}

fn pack(plugin: &Plugin, target: &Path) -> Result<Vec<u8>, String> {
    let component =
        target.join(TARGET).join(PROFILE).join(format!("{}.wasm", plugin.package.replace('-', "_")));
    let component = std::fs::read(&component).map_err(|error| format!("{}: {error}", component.display()))?;
    let schema = std::fs::read_to_string(plugin.folder.join("config.schema.json")).map_err(|error| {
        format!(
            "{}: {error}\nWrite it with `KSP_UPDATE=1 cargo test -p {}`.",
            plugin.folder.join("config.schema.json").display(),
            plugin.package
        )
    })?;
    let assets = assemble::read_assets(&plugin.folder.join("assets")).map_err(text)?;
    assemble::assemble(&component, &plugin.manifest, &schema, &assets)
        .map_err(|error| format!("{}: {error}", plugin.folder.display()))
}

fn variable(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("{name} is not set: this is to be run by cargo"))
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}
