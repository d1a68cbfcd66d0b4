//! Every `tests/*.toml` is a manifest that is refused, and its report is the snapshot beside it: one mistake each, and one with many.
//! The only machine of all of them listens, and nobody ever comes.

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cli::ui::snippet;
use crate::event::Events;
use crate::exec::Cancel;
use crate::operations::context::Context;
use crate::operations::{Class, Failure, prepare};
use crate::paths::Paths;
use crate::plan::Filter;
use crate::redact::Redactor;
use crate::runtime::harness;

fn folder_of_tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/operations/prepare/tests")
}

/// A machine that would answer: it counts who comes.
struct Machine(TcpListener);

impl Machine {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    fn was_contacted(&self) -> bool {
        match self.0.accept() {
            Ok(_) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// What `ksp plan` would end with.
fn prepared(folder: &Path, manifest: &str) -> Failure {
    let path = folder.join("manifest.toml");
    std::fs::write(&path, manifest).unwrap();
    let context = Context {
        manifest: path,
        paths: Paths { state: folder.join("state"), cache: harness::cache_folder() },
        events: Events::none(),
        redactor: Redactor::default(),
        cancel: Cancel::default(),
        accept_new: false,
        allow_network_rebuild: false,
        lock_timeout: Duration::ZERO,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match runtime.block_on(prepare::prepare(&context, Filter::default())) {
        Ok(_) => panic!("it was accepted"),
        Err(failure) => failure,
    }
}

/// The manifest with the machine in the place of its nodes, and with a key.
fn on(machine: &Machine, folder: &Path, text: &str) -> String {
    let key = folder.join("key");
    if !key.exists() {
        std::fs::write(&key, "no key").unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
    let known = folder.join("known_hosts");
    std::fs::write(&known, "").unwrap();
    text.replace("@PORT@", &machine.port().to_string())
}

#[test]
fn bad_input_is_found_before_anything_is_contacted() {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder_of_tests()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    assert!(paths.len() >= 10, "{paths:?}");
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(folder_of_tests());
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine::new();
        let text = on(&machine, folder.path(), &std::fs::read_to_string(&path).unwrap());
        let failure = prepared(folder.path(), &text);
        assert_eq!(failure.class, Class::Invalid, "{name}");
        for finding in &failure.findings {
            assert!(!finding.spans.is_empty(), "{name}: no place: {}", finding.message);
            let advice = !finding.hints.is_empty() || finding.spans.iter().any(|span| !span.label.is_empty());
            assert!(advice, "{name}: no hint: {}", finding.message);
        }
        assert!(!machine.was_contacted(), "{name}");
        let shown = snippet::render(&failure.findings, false);
        let shown = shown.replace(&format!("{}/", folder.path().display()), "");
        let shown = shown.replace(&machine.port().to_string(), "22");
        settings.bind(|| insta::assert_snapshot!(name, shown));
    }
}

/// The machine is where manifests say that it is: a good one leads to it.
#[test]
fn a_good_manifest_is_carried_out() {
    let folder = tempfile::tempdir().unwrap();
    let machine = Machine::new();
    let text = std::fs::read_to_string(folder_of_tests().join("good.toml.in")).unwrap();
    let text = on(&machine, folder.path(), &text);
    let contacted = std::thread::scope(|scope| {
        let run = scope.spawn(|| prepared(folder.path(), &text));
        // It takes the connection and hangs up: nobody waits for an answer.
        let came = (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            machine.was_contacted() || run.is_finished()
        });
        let failure = run.join().unwrap();
        (came, failure)
    });
    assert!(contacted.0);
    assert_eq!(contacted.1.class, Class::Unreachable, "{:?}", contacted.1.findings);
    assert!(folder.path().join("ksp.lock").exists());
}
