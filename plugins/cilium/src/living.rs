//! What is found on machines and in a living cluster, and what cannot become of it.

use ksp_sdk::prelude::*;
use serde_json::{Map, Value};

use crate::pool::{self, Pool};
use crate::{Cilium, Routing};

/// What Cilium's programs need.
const OLDEST_KERNEL: (u32, u32) = (5, 10);

/// Refuses kernels that cannot run Cilium's programs.
pub fn kernel(cx: &Context, nodes: &Nodes) {
    for (node, facts) in nodes.with_facts() {
        let Some(release) = facts.text("kernel.release").filter(|release| is_too_old(release)) else {
            continue;
        };
        let (major, minor) = OLDEST_KERNEL;
        let message = format!("Linux {release} is too old for Cilium, which needs {major}.{minor}");
        let hint = "upgrade the kernel, or take another network: `ksp/flannel` runs on it";
        cx.plan().finding(Some(node), Severity::Error, "cilium.kernel", message, Some(hint));
    }
}

/// RHEL 8 has an old number and what Cilium needs.
fn is_too_old(release: &str) -> bool {
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let Some(major) = numbers.next() else { return false };
    (major, numbers.next().unwrap_or(0)) < OLDEST_KERNEL && !release.contains(".el8")
}

/// Nodes that have begun in one way would not reach those that go on in another (T48).
pub fn stays_what_it_is(cx: &Context, stage: &Cilium, pool: &Pool, control_planes: &Nodes) {
    let answers =
        control_planes.with_facts().filter_map(|(node, facts)| Some((node, facts.probe("settings")?)));
    let Some((node, running)) = answers.filter(|(_, probe)| probe.status == 0).find_map(|(node, probe)| {
        Some((node, serde_json::from_str::<Map<String, Value>>(&probe.stdout).ok()?))
    }) else {
        return;
    };
    for (key, has, wanted) in differences(stage, pool, &running) {
        let message =
            format!("pods of the living cluster have `{has}` for `{key}`, the manifest says `{wanted}`");
        let hint = format!("keep `{has}`: another one needs a new cluster, or this one reset");
        cx.plan().finding(Some(node), Severity::Error, "cilium.settled", message, Some(&hint));
    }
}

/// Key, what it is, what it should become.
fn differences(
    stage: &Cilium,
    pool: &Pool,
    running: &Map<String, Value>,
) -> Vec<(&'static str, String, String)> {
    let mut wanted = vec![
        ("ipam", "ipam", stage.ipam.name().to_owned()),
        ("routing", "routing-mode", stage.routing.name().to_owned()),
    ];
    if stage.routing == Routing::Tunnel {
        wanted.push(("tunnel", "tunnel-protocol", stage.tunnel.name().to_owned()));
    }
    if pool::is_used(stage) {
        let v6 = pool.network.addr().is_ipv6();
        let (cidr, mask) = match v6 {
            true => ("cluster-pool-ipv6-cidr", "cluster-pool-ipv6-mask-size"),
            false => ("cluster-pool-ipv4-cidr", "cluster-pool-ipv4-mask-size"),
        };
        wanted.push(("pool", cidr, pool.network.to_string()));
        wanted.push(("node-mask", mask, pool.node_mask.to_string()));
    }
    let has = |setting: &str| running.get(setting).and_then(Value::as_str).map(str::trim);
    let differing = wanted.into_iter().filter_map(|(key, setting, wanted)| {
        let has = has(setting)?;
        (has != wanted).then(|| (key, has.to_owned(), wanted))
    });
    differing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::spec;

    #[test]
    fn kernels() {
        for old in ["4.19.0-26-amd64", "5.4.0", "5.9.16"] {
            assert!(is_too_old(old), "{old}");
        }
        for fine in ["5.10.0", "6.1.0-18-amd64", "6.18.3", "4.18.0-553.el8_10.x86_64", "odd"] {
            assert!(!is_too_old(fine), "{fine}");
        }
    }

    #[test]
    fn what_is_settled_is_compared_and_nothing_else_t48() {
        let stage = Cilium::default();
        let pool = Pool::of(&stage, &spec()).unwrap();
        let settings = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap();
        let same = settings(
            r#"{"ipam":"cluster-pool","routing-mode":"tunnel","tunnel-protocol":"vxlan","debug":"true",
                "cluster-pool-ipv4-cidr":"10.244.0.0/16","cluster-pool-ipv4-mask-size":"24"}"#,
        );
        assert_eq!(differences(&stage, &pool, &same), []);
        let other =
            settings(r#"{"ipam":"kubernetes","cluster-pool-ipv4-mask-size":"25","routing-mode":"native"}"#);
        let found: Vec<_> = differences(&stage, &pool, &other).into_iter().map(|(key, ..)| key).collect();
        assert_eq!(found, ["ipam", "routing", "node-mask"]);
    }
}
