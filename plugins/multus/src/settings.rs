//! What the pods of Multus are given: the daemon a configuration file, the thin one's keeper arguments.

use std::net::IpAddr;

use ksp_sdk::prelude::*;
use serde_json::Value;

use crate::{Mode, Multus};

/// The node's own tree in the daemon's container.
const NODE: &str = "/hostroot";

/// Everything that decides how the pods run: another one of these is another pod.
pub fn of(stage: &Multus, spec: &Spec) -> Value {
    let thick = stage.mode == Mode::Thick;
    let host = spec.endpoint_host();
    json!({
        "image": stage.image(),
        "thick": thick,
        "config": daemon(stage).to_string(),
        "args": keeper(stage),
        "memory_limit": stage.memory_limit,
        // Not the Service address: kube-proxy may not have programmed that one yet.
        "api_host": if thick { host.to_owned() } else { in_brackets(host) },
        "api_port": spec.endpoint_port(),
    })
}

/// The daemon's configuration, with paths as it sees them: all of them are the node's own.
fn daemon(stage: &Multus) -> Value {
    let mut config = json!({
        "chrootDir": NODE,
        "cniConfigDir": format!("{NODE}/etc/cni/net.d"),
        "multusAutoconfigDir": format!("{NODE}/etc/cni/net.d"),
        "multusConfigFile": "auto",
        "confDir": format!("{NODE}/etc/cni/multus/net.d"),
        "cniDir": format!("{NODE}/var/lib/cni/multus"),
        "socketDir": format!("{NODE}/run/multus"),
        // The one that goes with networks of any version.
        "cniVersion": "0.3.1",
        "logLevel": stage.log_level.name(),
        "logToStderr": true,
    });
    if !stage.primary.is_empty() {
        config["multusMasterCNI"] = stage.primary.clone().into();
    }
    if stage.namespace_isolation {
        config["namespaceIsolation"] = true.into();
        config["globalNamespaces"] = stage.global_namespaces.join(",").into();
    }
    config
}

/// Arguments of the thin one's keeper.
fn keeper(stage: &Multus) -> Vec<String> {
    let mut args = argv![
        "--multus-conf-file=auto",
        "--multus-autoconfig-dir=/host/etc/cni/net.d",
        "--cni-conf-dir=/host/etc/cni/net.d",
        // An init container has done so, and has made it whole before it had its name.
        "--skip-multus-binary-copy=true",
        // It also renews the token that Multus reaches the API with, and only then.
        "--cleanup-config-on-exit=true",
        format!("--multus-log-level={}", stage.log_level.name()),
    ];
    if !stage.primary.is_empty() {
        args.push(format!("--multus-master-cni-file-name={}", stage.primary));
    }
    if stage.namespace_isolation {
        args.push("--namespace-isolation=true".into());
        args.push(format!("--global-namespaces={}", stage.global_namespaces.join(",")));
    }
    args
}

/// A host as thin Multus needs it: it puts brackets around whatever it is given, and Go since 1.24.8 takes only IPv6 in brackets.
/// An IPv4 address has a form that is both; a name stays as it is, which older builds take.
fn in_brackets(host: &str) -> String {
    match host.parse() {
        Ok(IpAddr::V4(address)) => format!("::ffff:{address}"),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv4_is_written_as_ipv6() {
        assert_eq!(in_brackets("10.0.0.1"), "::ffff:10.0.0.1");
        assert_eq!(in_brackets("fd00::1"), "fd00::1");
        assert_eq!(in_brackets("api.example"), "api.example");
    }

    #[test]
    fn both_modes_are_told_the_same() {
        let stage = Multus {
            primary: "10-flannel.conflist".into(),
            namespace_isolation: true,
            global_namespaces: vec!["a".into(), "b".into()],
            ..Multus::default()
        };
        let config = daemon(&stage);
        assert_eq!(config["multusMasterCNI"], "10-flannel.conflist");
        assert_eq!(config["globalNamespaces"], "a,b");
        let args = keeper(&stage);
        for expected in [
            "--multus-master-cni-file-name=10-flannel.conflist",
            "--namespace-isolation=true",
            "--global-namespaces=a,b",
        ] {
            assert!(args.iter().any(|it| it == expected), "{args:?}");
        }
        let plain = Multus::default();
        assert!(daemon(&plain).get("namespaceIsolation").is_none() && keeper(&plain).len() == 6);
    }
}
