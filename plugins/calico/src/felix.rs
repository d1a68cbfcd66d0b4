//! The agent's own settings, as the object that all of them read and follow while they run.

use ksp_sdk::prelude::*;
use serde_json::Value;

use crate::{Calico, pool};

/// Interfaces that carry packets between nodes: the agent takes the smallest MTU among them. Calico's own pattern knows none of bonds,
/// bridges, teams and VLANs.
const INTERFACES: &str = "^(en|eth|ib|wl|ww|sl|bond|br|team|vlan).*";

/// Keys that other keys of the manifest decide.
pub const DECIDED: &[(&str, &str)] = &[
    ("bpfEnabled", "ebpf"),
    ("ipipMTU", "mtu"),
    ("ipv6Support", "pod-cidr"),
    ("nftablesMode", "nftables"),
    ("vxlanMTU", "mtu"),
    ("vxlanMTUV6", "mtu"),
    ("wireguardEnabled", "wireguard"),
    ("wireguardEnabledV6", "wireguard"),
    ("wireguardMTU", "mtu"),
    ("wireguardMTUV6", "mtu"),
];

/// Calico's object.
pub fn object(stage: &Calico, spec: &Spec) -> Value {
    let v6 = pool::is_v6(&spec.pod_cidr);
    let mut settings = json!({
        // Pods may talk to their own node; what the node protects, it protects itself.
        "defaultEndpointToHostAction": "Accept",
        "healthEnabled": true,
        "ipv6Support": v6,
        "logSeverityScreen": "Info",
        "mtuIfacePattern": INTERFACES,
        "reportingInterval": "0s",
    });
    if stage.mtu > 0 {
        let keys: &[&str] =
            if v6 { &["vxlanMTUV6", "wireguardMTUV6"] } else { &["vxlanMTU", "ipipMTU", "wireguardMTU"] };
        for key in keys {
            settings[*key] = stage.mtu.into();
        }
    }
    if stage.ebpf {
        settings["bpfEnabled"] = true.into();
    }
    if stage.wireguard {
        settings[if v6 { "wireguardEnabledV6" } else { "wireguardEnabled" }] = true.into();
    }
    if stage.nftables {
        settings["nftablesMode"] = "Enabled".into();
    }
    for (key, value) in &stage.felix {
        settings[key] = value.clone();
    }
    json!({
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "FelixConfiguration",
        "metadata": { "name": "default" },
        "spec": settings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::spec;

    #[test]
    fn options_become_calicos_keys() {
        let plain = object(&Calico::default(), &spec());
        for key in ["bpfEnabled", "wireguardEnabled", "nftablesMode", "vxlanMTU"] {
            assert!(plain["spec"].get(key).is_none(), "{key}: an older Calico may not know it");
        }
        let mut stage = Calico { ebpf: true, wireguard: true, mtu: 8950, ..Calico::default() };
        stage.felix.insert("xdpEnabled".into(), false.into());
        stage.felix.insert("logSeverityScreen".into(), "Debug".into());
        let settings = &object(&stage, &spec())["spec"];
        assert_eq!(settings["bpfEnabled"], true);
        assert_eq!((&settings["vxlanMTU"], &settings["ipipMTU"]), (&json!(8950), &json!(8950)));
        assert_eq!(
            (&settings["xdpEnabled"], &settings["logSeverityScreen"]),
            (&json!(false), &json!("Debug"))
        );
        let v6 = Spec { pod_cidr: "fd00::/112".into(), ..spec() };
        let settings = &object(&stage, &v6)["spec"];
        assert_eq!((&settings["wireguardEnabledV6"], &settings["vxlanMTUV6"]), (&json!(true), &json!(8950)));
        assert_eq!(settings["ipv6Support"], true);
    }
}
