//! A balancer that others run. Nothing is changed for it; `ksp/verify` asks it from every node.

use ksp_sdk::prelude::*;

use crate::is_loopback;

/// It must be the same for all.
pub fn findings(spec: &Spec) -> Vec<Finding> {
    if !is_loopback(spec) {
        return Vec::new();
    }
    let message = format!("the endpoint `{}` is loopback, which is no external balancer", spec.endpoint);
    vec![
        Finding::error("/mode", message).hint(
            "set `endpoint` of `[cluster]` to the balancer's name or address, or use `mode = \"haproxy\"`",
        ),
    ]
}
