use super::*;

fn written(state: &mut ClusterState) -> Vec<u8> {
    let unsaved = state.unsaved().unwrap();
    state.saved(&unsaved);
    unsaved.content.expose().to_vec()
}

#[test]
fn a_new_cluster_has_an_identity_and_waits_to_be_written() {
    let mut state = ClusterState::new().unwrap();
    assert_eq!(state.cluster_id.len(), 32);
    assert_ne!(state.cluster_id, ClusterState::new().unwrap().cluster_id);
    let read = ClusterState::parse(&written(&mut state)).unwrap();
    assert_eq!((read.generation, read.cluster_id.as_str()), (1, state.cluster_id.as_str()));
    assert!(read.unsaved().is_none());
    assert!(state.unsaved().is_none());
}

#[test]
fn what_comes_in_during_a_write_is_written_next_time() {
    let mut state = ClusterState::new().unwrap();
    let unsaved = state.unsaved().unwrap();
    state.secrets.insert("late".into(), "value".into());
    state.touch();
    state.saved(&unsaved);
    let next = state.unsaved().unwrap();
    assert_eq!(next.generation, 2);
}

#[test]
fn the_highest_generation_wins() {
    let mut state = ClusterState::new().unwrap();
    let old = ClusterState::parse(&written(&mut state)).unwrap();
    state.secrets.insert("token".into(), "value".into());
    state.touch();
    let new = ClusterState::parse(&written(&mut state)).unwrap();
    let found = ClusterState::newest([old.clone(), new, old]).unwrap().unwrap();
    assert_eq!((found.generation, found.secrets.len()), (2, 1));
}

#[test]
fn different_clusters_and_diverged_states_are_refused() {
    let one = ClusterState::new().unwrap();
    let other = ClusterState::new().unwrap();
    assert!(matches!(ClusterState::newest([one.clone(), other]), Err(StateError::Foreign(..))));
    let mut changed = one.clone();
    changed.secrets.insert("token".into(), "value".into());
    assert_eq!(ClusterState::newest([one, changed]).unwrap_err(), StateError::Diverged(0));
}

#[test]
fn a_newer_format_is_refused_before_its_content_is_read() {
    let error = ClusterState::parse(br#"{"version": 2, "cluster-id": 7}"#).unwrap_err();
    assert_eq!(error, StateError::Newer { found: 2 });
}

#[test]
fn an_error_quotes_nothing() {
    let error = ClusterState::parse(br#"{"version": 1, "generation": "hunter22"}"#).unwrap_err();
    assert!(!error.to_string().contains("hunter22"), "{error}");
}

#[test]
fn every_key_and_secret_is_taught() {
    let pair =
        |key: &str| KeyAndCertificate { certificate: String::new(), key: key.into(), request: String::new() };
    let mut state = ClusterState::default();
    state.authorities.insert("a".into(), pair("authority-key"));
    state.credentials.insert("a/b".into(), pair("credential-key"));
    state.keypairs.insert("c".into(), pair("bare-key"));
    state.secrets.insert("d".into(), "generated".into());
    let redactor = Redactor::default();
    state.teach(&redactor);
    let shown = redactor.redact("authority-key credential-key bare-key generated");
    assert_eq!(shown, [crate::redact::MASK; 4].join(" "));
}
