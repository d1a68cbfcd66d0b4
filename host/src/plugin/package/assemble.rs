//! Puts a plugin together: component, manifest and assets become one file. Also compiled into `build.rs`, which packs the
//! embedded plugins, so nothing here uses the rest of ksp.

use std::path::Path;

use super::metadata::Metadata;

/// Name of the custom section with the manifest as JSON.
pub const MANIFEST_SECTION: &str = "ksp:manifest";

/// Name of the custom section with the assets as a tar archive.
pub const ASSETS_SECTION: &str = "ksp:assets";

/// Appends manifest and assets to a component. The same input gives the same bytes.
///
/// # Errors
/// One phrase that says what is wrong with the manifest, the schema or the assets.
pub fn assemble(
    component: &[u8],
    manifest: &str,
    schema: &str,
    assets: &[(String, Vec<u8>)],
) -> Result<Vec<u8>, String> {
    let mut metadata: Metadata = toml::from_str(manifest).map_err(|error| format!("plugin.toml: {error}"))?;
    metadata.config_schema =
        serde_json::from_str(schema).map_err(|error| format!("config.schema.json: {error}"))?;
    let mistakes = metadata.mistakes();
    if !mistakes.is_empty() {
        return Err(format!("plugin.toml: {}", mistakes.join("; ")));
    }
    let json = serde_json::to_vec(&metadata).map_err(|error| format!("plugin.toml: {error}"))?;
    let mut packed = component.to_vec();
    append_section(&mut packed, MANIFEST_SECTION, &json);
    if !assets.is_empty() {
        let archive = archive(assets).map_err(|error| format!("assets: {error}"))?;
        append_section(&mut packed, ASSETS_SECTION, &archive);
    }
    Ok(packed)
}

/// The files of a plugin's `assets` folder, by relative path with `/`, sorted. No folder means no files.
///
/// # Errors
/// Of reading, or a symbolic link.
pub fn read_assets(folder: &Path) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    if folder.is_dir() {
        collect(folder, "", &mut files)?;
    }
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if kind.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else if kind.is_file() {
            files.push((name, std::fs::read(entry.path())?));
        } else {
            return Err(std::io::Error::other(format!("{name} is neither a file nor a folder")));
        }
    }
    Ok(())
}

/// A tar archive without anything that differs between machines.
fn archive(files: &[(String, Vec<u8>)]) -> std::io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        builder.append_data(&mut header, name, bytes.as_slice())?;
    }
    builder.into_inner()
}

fn append_section(component: &mut Vec<u8>, name: &str, data: &[u8]) {
    use wasm_encoder::ComponentSection as _;
    wasm_encoder::CustomSection { name: name.into(), data: data.into() }.append_to_component(component);
}
