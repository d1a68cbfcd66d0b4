use std::path::PathBuf;

use super::*;
use crate::diagnostic::Severity;

const CHAIN: &[ChainEntry<'_>] = &[
    entry("ksp/preflight", "Refuses machines that cannot become nodes"),
    entry("ksp/containerd", "Installs the container runtime"),
    entry("acme/verify", ""),
];

const fn entry<'a>(plugin: &'a str, summary: &'a str) -> ChainEntry<'a> {
    ChainEntry { plugin, summary, serves_endpoint: false }
}

fn environment() -> Environment {
    Environment { home: Some("/nonexistent".into()), variable: Box::new(|_| None) }
}

fn answers(control_planes: &[&str], workers: &[&str]) -> Answers {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    Answers {
        name: "prod".into(),
        control_planes: owned(control_planes),
        workers: owned(workers),
        ..Answers::default()
    }
}

fn compose(answers: &Answers) -> Result<Draft, Vec<Diagnostic>> {
    compose_in(answers, CHAIN, Path::new("manifest.toml"), &environment())
}

#[test]
fn a_manifest_is_complete_and_without_findings() {
    let answers = Answers {
        user: Some("ubuntu".into()),
        endpoint: Some("api.prod.example:6443".into()),
        ..answers(&["10.0.0.1", "10.0.0.2-3"], &["10.0.0.11-12"])
    };
    let draft = compose(&answers).unwrap();
    assert_eq!((draft.control_planes, draft.workers, draft.findings.len()), (3, 2, 0));
    insta::assert_snapshot!(draft.text);
}

#[test]
fn every_kind_of_answers_loads_from_disk() {
    let folder = tempfile::tempdir().unwrap();
    for (number, answers) in [
        answers(&["10.0.0.1"], &[]),
        answers(&["10.244.0.1"], &["10.244.0.2"]),
        answers(&["10.96.3.1"], &[]),
        answers(&["fd00::1"], &["fd00::2"]),
        Answers {
            endpoint: Some("vip.example:443".into()),
            ..answers(&["192.168.0.1-3"], &["192.168.1.1-200"])
        },
    ]
    .iter()
    .enumerate()
    {
        let path = folder.path().join(format!("{number}.toml"));
        let draft = compose_in(answers, CHAIN, &path, &environment()).unwrap();
        write(&path, &draft.text).unwrap();
        let loaded = manifest::load_in(&path, &environment());
        assert_eq!(loaded.findings, [], "{}", draft.text);
        let manifest = loaded.manifest.unwrap();
        assert_eq!(manifest.stages.len(), CHAIN.len());
        assert_eq!(manifest.cluster.kubernetes.to_string(), DEFAULT_KUBERNETES);
        assert_eq!(manifest.nodes.len(), draft.control_planes + draft.workers);
    }
}

#[test]
fn the_endpoint_is_local_when_a_stage_serves_it() {
    let balancer = ChainEntry { serves_endpoint: true, ..entry("acme/balancer", "") };
    let chain = [CHAIN, &[balancer]].concat();
    let draft =
        |answers: &Answers| compose_in(answers, &chain, Path::new("manifest.toml"), &environment()).unwrap();
    let local = draft(&answers(&["10.0.0.1-3"], &[]));
    assert!(local.text.contains("\nendpoint = \"127.0.0.1:7443\"\n"), "{}", local.text);
    assert!(local.text.contains("acme/balancer") && local.findings.is_empty(), "{:?}", local.findings);
    assert!(draft(&answers(&["fd00::1"], &[])).text.contains("\nendpoint = \"[::1]:7443\"\n"));
    let given = draft(&Answers { endpoint: Some("vip.example:443".into()), ..answers(&["10.0.0.1-3"], &[]) });
    assert!(!given.text.contains("acme/balancer"), "{}", given.text);
}

#[test]
fn three_control_planes_without_an_endpoint_are_warned_about() {
    let draft = compose(&answers(&["10.0.0.1-3"], &[])).unwrap();
    let found: Vec<_> =
        draft.findings.iter().map(|finding| (finding.severity, finding.code.as_str())).collect();
    assert_eq!(found, [(Severity::Warning, manifest::codes::FIXED_ENDPOINT)]);
}

#[test]
fn bad_answers_make_no_manifest() {
    let codes = |answers: &Answers| -> Vec<String> {
        compose(answers).unwrap_err().into_iter().map(|f| f.code).collect()
    };
    assert_eq!(codes(&answers(&["10.0.0.1-x", "y"], &[])), ["ksp::init::bad-address"; 2]);
    assert_eq!(codes(&answers(&["10.0.0.1-2"], &[]))[1..], [manifest::codes::EVEN_CONTROL_PLANES]);
    assert_eq!(
        codes(&answers(&[], &["10.0.0.1"])),
        [manifest::codes::BAD_ENDPOINT, manifest::codes::NO_CONTROL_PLANE]
    );
    let hostile = Answers {
        name: "a\"\n[[stage]]".into(),
        user: Some("root -oProxyCommand=x".into()),
        kubernetes: Some("latest".into()),
        ..answers(&["10.0.0.1"], &[])
    };
    assert_eq!(codes(&hostile).len(), 3);
}

#[test]
fn nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.toml");
    write(&path, "one").unwrap();
    assert_eq!(write(&path, "two").unwrap_err().code, "ksp::init::exists");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one");
    let link = folder.path().join("link.toml");
    std::os::unix::fs::symlink("dangling", &link).unwrap();
    assert_eq!(write(&link, "two").unwrap_err().code, "ksp::init::exists");
    assert_eq!(write(&PathBuf::from("/nonexistent/x.toml"), "x").unwrap_err().code, "ksp::init::write");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
}
