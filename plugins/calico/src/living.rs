//! The living cluster's pools: what pods already have addresses from cannot become something else.

use ksp_sdk::prelude::*;
use serde_json::Value;

use crate::pool::{Encapsulation, Pool, default_block_size};

/// A pool as the cluster has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Living {
    name: String,
    cidr: String,
    encapsulation: Option<Encapsulation>,
    block_size: u8,
    disabled: bool,
    /// An earlier run made it; others are their maker's.
    ours: bool,
}

/// Refuses pools that would become something else, or go while pods may have addresses from them.
pub fn refuse(cx: &Context, control_planes: &Nodes, pools: &[Pool], spec: &Spec) {
    // A control plane without an API, or a cluster without Calico, answers nothing.
    let answers = control_planes.with_facts().filter_map(|(_, facts)| facts.probe("pools"));
    let Some(answer) = answers.into_iter().find(|answer| answer.status == 0) else { return };
    for (message, hint) in differences(&parse(&answer.stdout), pools, spec) {
        cx.plan().finding(None, Severity::Error, "calico.pool", message, Some(&hint));
    }
}

/// The API's list of pools. What Calico would do anyway is left out there.
fn parse(stdout: &str) -> Vec<Living> {
    let list: Value = serde_json::from_str(stdout).unwrap_or_default();
    let pools = list["items"].as_array().into_iter().flatten();
    let read = |pool: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (metadata, spec) = (&pool["metadata"], &pool["spec"]);
        let cidr = text(&spec["cidr"]);
        let block_size = spec["blockSize"].as_u64().and_then(|size| size.try_into().ok());
        Living {
            name: text(&metadata["name"]),
            encapsulation: Encapsulation::of_modes(&text(&spec["ipipMode"]), &text(&spec["vxlanMode"])),
            block_size: block_size.unwrap_or_else(|| default_block_size(&cidr)),
            disabled: spec["disabled"] == true,
            ours: metadata["labels"].get("ksp.dev/set").is_some(),
            cidr,
        }
    };
    pools.map(read).collect()
}

/// What is wrong, and what to do about it.
fn differences(living: &[Living], pools: &[Pool], spec: &Spec) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for there in living {
        let name = &there.name;
        let Some(pool) = pools.iter().find(|pool| pool.name(spec) == *name) else {
            if there.ours && !there.disabled {
                found.push((
                    format!("pool `{name}` ({}) is in use in the cluster, the manifest has none of this name", there.cidr),
                    "keep it with `disabled = true`, recreate the pods that have its addresses, then take it out".into(),
                ));
            }
            continue;
        };
        let another = "add another pool with it, keep this one with `disabled = true`, recreate its pods, then take it out";
        let mut differs = |key: &str, is: &str, wanted: &str, why: &str| {
            found.push((
                format!("pool `{name}` has `{key} = {is}` in the cluster, the manifest says {wanted}: {why}"),
                format!("write `{key} = {is}`; to change it, {another}"),
            ));
        };
        if there.cidr != pool.cidr(spec) {
            let why = "running pods keep their addresses, and nodes would forget how to reach them";
            differs("cidr", &format!("{:?}", there.cidr), &format!("{:?}", pool.cidr(spec)), why);
        }
        let is = there.encapsulation.map_or("another", Encapsulation::name);
        if is != pool.encapsulation.name() {
            let why = "nodes that still have the one do not reach pods on nodes that already have the other";
            differs("encapsulation", &format!("{is:?}"), &format!("{:?}", pool.encapsulation.name()), why);
        }
        if there.block_size != pool.block_size(spec) {
            let why = "nodes have taken blocks of that size";
            differs("block-size", &there.block_size.to_string(), &pool.block_size(spec).to_string(), why);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::spec;

    /// The pool of the default config, as the API lists it.
    fn same() -> Value {
        let spec = json!({
            "cidr": "10.244.0.0/16", "ipipMode": "Never", "vxlanMode": "Always", "blockSize": 26, "disabled": false,
        });
        json!({ "metadata": { "name": "default-ipv4-ippool", "labels": { "ksp.dev/set": "calico.settings" } }, "spec": spec })
    }

    fn messages(pool: Value, pools: &[Pool]) -> Vec<String> {
        let stdout = json!({ "items": [pool] }).to_string();
        differences(&parse(&stdout), pools, &spec()).into_iter().map(|(message, _)| message).collect()
    }

    #[test]
    fn the_same_pool_is_fine_and_so_is_a_new_one() {
        let second = Pool { name: "second".into(), cidr: "10.245.0.0/16".into(), ..Pool::default() };
        assert!(messages(same(), &[Pool::default(), second]).is_empty());
        // Calico leaves out what is as it would be anyway.
        let spec = json!({ "cidr": "10.244.0.0/16", "vxlanMode": "Always" });
        let short = json!({ "metadata": { "name": "default-ipv4-ippool" }, "spec": spec });
        assert!(messages(short, &[Pool::default()]).is_empty());
        assert!(parse("").is_empty() && parse("{}").is_empty());
    }

    /// T48.
    #[test]
    fn another_network_encapsulation_or_block_size_is_named() {
        let pool = Pool {
            cidr: "10.245.0.0/16".into(),
            encapsulation: Encapsulation::VxlanCrossSubnet,
            block_size: 27,
            ..Pool::default()
        };
        let found = messages(same(), &[pool]);
        assert_eq!(found.len(), 3);
        assert!(found[0].contains("`cidr = \"10.244.0.0/16\"`"), "{}", found[0]);
        assert!(
            found[1].contains("`encapsulation = \"vxlan\"`") && found[1].contains("\"vxlan-cross-subnet\"")
        );
        assert!(found[2].contains("`block-size = 26`"), "{}", found[2]);
    }

    #[test]
    fn a_pool_goes_only_when_it_is_out_of_use() {
        let other = [Pool { name: "other".into(), ..Pool::default() }];
        assert_eq!(messages(same(), &other).len(), 1);
        let mut disabled = same();
        disabled["spec"]["disabled"] = true.into();
        assert!(messages(disabled, &other).is_empty());
        let mut theirs = same();
        theirs["metadata"]["labels"] = Value::Null;
        assert!(messages(theirs, &other).is_empty(), "it is somebody else's");
    }
}
