//! `kill`, `start`, `restart`, `replace`: what happens to machines.

use anyhow::Result;

use crate::scenario::Scenario;
use crate::tell;

/// What happens.
#[derive(Debug, Clone, Copy)]
pub(super) enum Act {
    Kill,
    Start,
    Restart,
    Replace,
}

pub(super) fn run(scenario: &str, node: &str, act: Act) -> Result<()> {
    let scenario = Scenario::load(scenario)?;
    let node = scenario.node(node)?;
    tell::timed(&format!("{act:?} {}", node.container()), || match act {
        Act::Kill => node.kill(),
        Act::Start => node.start(),
        Act::Restart => node.restart(),
        Act::Replace => {
            node.replace()?;
            scenario.write_known_hosts()
        }
    })
}
