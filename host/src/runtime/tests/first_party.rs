//! The plans of all embedded plugins: `plugins/<stage>/tests/<case>.toml` is a manifest, `<case>.json` beside it holds facts and
//! outputs of other stages, `<case>.snap` is what the real plugin records for them.

use std::path::{Path, PathBuf};

use crate::runtime::harness;

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = std::fs::read_dir(folder).into_iter().flatten();
    let mut found: Vec<PathBuf> = read.flatten().map(|entry| entry.path()).collect();
    found.sort();
    found
}

fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

#[test]
fn plans_are_as_they_were() {
    let mut cases = 0;
    for plugin in entries(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins")) {
        let folder = plugin.join("tests");
        let manifests =
            entries(&folder).into_iter().filter(|path| path.extension().is_some_and(|it| it == "toml"));
        for manifest in manifests {
            let text = std::fs::read_to_string(&manifest).unwrap();
            let facts = std::fs::read_to_string(manifest.with_extension("json")).unwrap();
            let mut settings = insta::Settings::clone_current();
            settings.set_snapshot_path(&folder);
            settings.set_prepend_module_to_snapshot(false);
            settings.set_omit_expression(true);
            // Authorities are made by the host, another one each time.
            settings.add_filter(r"(?s)-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", "(PEM)");
            settings.add_filter(r#""LS0tLS1CRUdJTi[A-Za-z0-9+/=]+""#, "\"(PEM, base64)\"");
            settings.add_filter(r"sha256:[0-9a-f]{64}", "(digest)");
            settings.add_filter(r"\b[0-9a-f]{64}\b", "(digest)");
            // Twice: the same input, the same plan.
            for _ in 0..2 {
                let recorded = harness::plan_text(&name_of(&plugin), &text, &facts);
                settings.bind(|| insta::assert_snapshot!(name_of(&manifest), recorded));
            }
            cases += 1;
        }
    }
    assert!(cases >= 10, "only {cases} cases were found");
}
