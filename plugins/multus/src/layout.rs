//! What Multus puts on nodes.

use crate::Mode;

/// Chosen by the runtime before the primary network's file, because of its name (T52).
const CONF: &str = "/etc/cni/net.d/00-multus.conf";
/// What thin Multus calls it when the primary network is of CNI 1.0.0.
const CONF_LIST: &str = "/etc/cni/net.d/00-multus.conflist";
/// How thin Multus reaches the API: a token is in it.
const CREDENTIALS: &str = "/etc/cni/net.d/multus.d";
const THIN: &str = "/opt/cni/bin/multus";
const SHIM: &str = "/opt/cni/bin/multus-shim";
const PASSTHRU: &str = "/opt/cni/bin/passthru";
/// The daemon's socket.
const SOCKET: &str = "/run/multus";
/// What device plugins say of the devices of pods.
const DEVICES: &str = "/run/k8s.cni.cncf.io";
/// What was attached to which pod.
const STATE: &str = "/var/lib/cni/multus";

/// Everything, in the order in which it is removed.
pub const EVERYTHING: [&str; 9] =
    [CONF, CONF_LIST, CREDENTIALS, THIN, SHIM, PASSTHRU, SOCKET, DEVICES, STATE];

/// What another mode has left.
pub fn of_the_other(mode: Mode) -> &'static [&'static str] {
    match mode {
        Mode::Thick => &[CONF_LIST, CREDENTIALS, THIN],
        Mode::Thin => &[SHIM, SOCKET],
    }
}

/// A command that succeeds when the runtime calls Multus as the mode wants it.
pub fn is_the_network(mode: Mode) -> Vec<String> {
    let words: &[&str] = match mode {
        Mode::Thick => &["grep", "-q", "-s", "\"type\": *\"multus-shim\"", CONF],
        Mode::Thin => &["grep", "-q", "-s", "\"type\": *\"multus\"", CONF, CONF_LIST],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_keeps_its_own() {
        for mode in [Mode::Thick, Mode::Thin] {
            let other = of_the_other(mode);
            assert!(other.iter().all(|path| EVERYTHING.contains(path)));
            assert!(!other.contains(&CONF) && !other.contains(&PASSTHRU) && !other.contains(&STATE));
        }
    }
}
