use super::*;
use crate::runtime::{CONTAINERD, CRI_O};

const CONTAINERD_SOCKET: &str = "unix:///run/containerd/containerd.sock\n";
const CRI_O_SOCKET: &str = "unix:///var/run/crio/crio.sock\n";

/// What is done, in short: "drain switch open", with the runtimes that go.
fn steps(sockets: &str, note: &str, to: Runtime) -> String {
    match todo(sockets, note, to) {
        Ok(None) => "nothing".into(),
        Err(other) => format!("refused: {other}"),
        Ok(Some(todo)) => {
            let from: Vec<&str> = todo.from.iter().map(|runtime| runtime.name).collect();
            let drain = if todo.drain { "drain " } else { "" };
            let switch = if todo.switch { "switch " } else { "" };
            format!("{drain}{switch}open [{}]", from.join(" "))
        }
    }
}

#[test]
fn a_kubelet_that_uses_it_already_is_no_news() {
    assert_eq!(steps("", "", CRI_O), "nothing");
    // A socket has two names.
    assert_eq!(steps("unix:///run/crio/crio.sock\nunix:///var/run/crio/crio.sock\n", "", CRI_O), "nothing");
}

#[test]
fn another_runtime_is_left() {
    assert_eq!(steps(CONTAINERD_SOCKET, "", CRI_O), "drain switch open [containerd]");
    assert_eq!(steps(CRI_O_SOCKET, "", CONTAINERD), "drain switch open [CRI-O]");
}

#[test]
fn a_runtime_that_nobody_can_end_is_refused() {
    let docker = "unix:///run/cri-dockerd.sock";
    assert_eq!(steps(docker, "", CRI_O), format!("refused: {docker}"));
}

/// The notes that the script writes, with the sockets of both runtimes.
fn note(phase: &str) -> String {
    format!("{phase}\n{CRI_O_SOCKET}{CONTAINERD_SOCKET}")
}

#[test]
fn wherever_it_was_killed_it_goes_on_t58() {
    let on = |sockets: &str, phase: &str| steps(sockets, &note(phase), CRI_O);
    assert_eq!(on(CONTAINERD_SOCKET, "draining"), "drain switch open [containerd]");
    // The kubelet may be stopped: nothing can be evicted any more.
    assert_eq!(on(CONTAINERD_SOCKET, "switching"), "switch open [containerd]");
    assert_eq!(on(CRI_O_SOCKET, "switching"), "switch open [containerd]");
    let both = format!("{CONTAINERD_SOCKET}{CRI_O_SOCKET}");
    assert_eq!(on(&both, "switching"), "switch open [containerd]");
    assert_eq!(on(CRI_O_SOCKET, "switched"), "open [containerd]");
}

#[test]
fn a_change_of_mind_leads_back() {
    let back = |sockets: &str, phase: &str| steps(sockets, &note(phase), CONTAINERD);
    assert_eq!(back(CONTAINERD_SOCKET, "draining"), "open [CRI-O]");
    assert_eq!(back(CONTAINERD_SOCKET, "switching"), "switch open [CRI-O]");
    assert_eq!(back(CRI_O_SOCKET, "switching"), "switch open [CRI-O]");
    assert_eq!(back(CRI_O_SOCKET, "switched"), "drain switch open [CRI-O]");
}
