//! An external etcd: a member on every node with the role `etcd`, run by systemd. What becomes of each node `membership.rs` decides
//! from the members' own list; members are begun, join one by one, and are restarted one by one.

mod begin;
mod certificates;
mod config;
mod ctl;
mod join;
mod layout;
mod membership;
mod renew;
mod unit;

use std::collections::BTreeMap;

use ksp_sdk::etcd;
use ksp_sdk::prelude::*;

use crate::layout::{COMPLETE, DATA, FOLDER, PROGRAMS, USER};
use crate::membership::{Decision, Seen, Standing};

/// Config of `ksp/etcd`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Etcd {
    /// Version of etcd, etcdctl and etcdutl.
    pub version: String,
    /// MiB that the database may have; when it is full, nothing more is written.
    pub quota: u64,
    /// How long old revisions are kept, such as "8h".
    pub compaction: String,
    /// Milliseconds between heartbeats of the leader: about the round trip between members.
    pub heartbeat: u64,
    /// Milliseconds without a heartbeat until another leader is elected: ten to twenty heartbeats.
    pub election: u64,
    /// Changes after which a snapshot replaces the log.
    pub snapshot_count: u64,
    /// Open files that a member may have.
    pub open_files: u32,
    /// Anything else of etcd's configuration file, laid over what this plugin writes.
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl Default for Etcd {
    fn default() -> Self {
        Self {
            version: "3.6.8".into(),
            quota: 8192,
            compaction: "8h".into(),
            heartbeat: 100,
            election: 1000,
            snapshot_count: 10_000,
            open_files: 65_536,
            settings: serde_json::Map::new(),
        }
    }
}

/// What the parts of the plan need of each other.
struct Cluster<'a> {
    cx: &'a Context,
    stage: &'a Etcd,
    nodes: Nodes,
    decision: Decision,
}

impl Cluster<'_> {
    /// The nodes with this standing, and their places.
    fn standing(&self, standing: Standing) -> Vec<(usize, &Node)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter(|(at, _)| self.decision.standings[*at] == standing).collect()
    }

    /// The nodes whose members answer.
    fn via(&self) -> Vec<&Node> {
        self.decision.via.iter().map(|at| &self.nodes[*at]).collect()
    }

    /// The file of a member, and while it is made another one that comes first.
    fn config(&self, node: &Node, beginning: Option<&config::Beginning>) -> Op {
        let plan = self.cx.plan();
        let lasting = plan.file(node, layout::CONFIG, config::render(self.stage, node, None));
        match beginning {
            Some(_) => plan.file(node, layout::BEGINNING, config::render(self.stage, node, beginning)),
            None => lasting,
        }
    }

    /// What a member began with must not begin it again.
    fn forget_the_beginning(&self, nodes: impl ksp_sdk::node::Targets) {
        // As a command: a file that is written in this run cannot be known now to have to go.
        let remove = ["rm", "-f", layout::BEGINNING];
        self.cx.plan().exec(nodes, remove).summary("remove what the member began with");
    }

    fn unit(&self, nodes: impl ksp_sdk::node::Targets) -> Op {
        self.cx.plan().file(nodes, layout::UNIT_FILE, unit::etcd(self.stage.open_files))
    }

    /// What a member that is about to be made finds in its data directory. Never put back later, and last of all that it needs: until
    /// then it does not start (T1).
    fn guard(&self, nodes: impl ksp_sdk::node::Targets + Copy) -> Result<()> {
        let plan = self.cx.plan();
        plan.directory(nodes, format!("{DATA}/member")).mode(0o700).owner(USER, USER);
        plan.file(nodes, layout::trusted(), etcd::authority(self.cx)?.certificate()).owner(USER, USER);
        Ok(())
    }
}

impl Etcd {
    fn programs_and_folders(&self, cx: &Context, nodes: &Nodes) -> Result<Op> {
        let plan = cx.plan();
        let release = cx.release("etcd", &self.version)?;
        let programs = plan.unpack(nodes, PROGRAMS, &release, 1, &["etcd", "etcdctl", "etcdutl"]).prepare();
        let user = format!("u {USER} - \"etcd member\" {DATA} -");
        plan.exec(nodes, argv!["systemd-sysusers", "--inline", user])
            .summary(format!("make the system user {USER}"))
            .unless(["id", "-u", USER]);
        plan.directory(nodes, FOLDER).mode(0o755);
        plan.directory(nodes, DATA).mode(0o700).owner(USER, USER);
        Ok(programs)
    }
}

impl Stage for Etcd {
    fn validate(&self, cx: &Context) -> Vec<Finding> {
        let mut findings = self.wrong_values();
        if config::minor_of(&self.version).is_some() {
            findings.extend(cx.unknown_release("etcd", &self.version, "/version"));
        }
        if cx.nodes("role=etcd").is_ok_and(|nodes| nodes.is_empty()) {
            findings.push(Finding::error("", "no node has the role `etcd`").hint(
                "give it to one node or three, or remove this stage: then control planes run etcd themselves",
            ));
        }
        findings
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("role=etcd")?;
        let planes = cx.nodes("role=control-plane")?;
        let used = planes
            .with_facts()
            .any(|(_, facts)| facts.probe("api-server").is_some_and(|probe| probe.status == 0));
        let seen: Vec<Seen> = nodes.iter().map(Seen::read).collect();
        let decision = membership::decide(&seen, used);
        for refusal in &decision.refusals {
            let node = refusal.node.map(|at| &nodes[at]);
            cx.plan().finding(node, Severity::Error, refusal.code, &refusal.message, Some(&refusal.hint));
        }

        self.same_minor(cx, &nodes, &seen);

        let programs = self.programs_and_folders(cx, &nodes)?;
        let mut restarts_on = certificates::place(cx, &nodes)?;
        restarts_on.push(programs);
        let cluster = Cluster { cx, stage: self, nodes, decision };
        let new = [Standing::Founds, Standing::Joins].map(|standing| cluster.standing(standing)).concat();
        if !new.is_empty() {
            let new: Nodes = new.into_iter().map(|(_, node)| node.clone()).collect();
            etcd::require_disk(cx, &new, DATA, self.election);
        }
        begin::begin(&cluster)?;
        let members = join::join(&cluster)?;
        renew::renew(&cluster, restarts_on, members.as_ref())?;
        let plan = cx.plan();
        plan.wait_for(&cluster.nodes, ctl::lists(&cluster.nodes), Duration::from_secs(60))
            .summary("check that all members list the same members")
            .gate();
        plan.file(&cluster.nodes, COMPLETE, "a voting member\n").mode(0o600);

        // In an order of their own: nodes that change places in the manifest must not restart API servers.
        let mut endpoints: Vec<String> = cluster.nodes.iter().map(|node| etcd::client_url(node)).collect();
        endpoints.sort();
        cx.publish("endpoints", serde_json::to_string(&endpoints)?)?;
        layout::published(&cluster.nodes).publish(cx)
    }
}

impl Etcd {
    /// Another minor needs more than other programs: all members on the newest patch before, a snapshot, no way back (T4).
    fn same_minor(&self, cx: &Context, nodes: &Nodes, seen: &[Seen]) {
        for (node, _) in nodes.iter().zip(seen).filter(|(_, seen)| seen.reached && seen.complete) {
            let said = node.facts().probe("external-etcd-version");
            let Some(running) = said.and_then(|it| version(&it.stdout)) else { continue };
            if config::minor_of(&running) != config::minor_of(&self.version) {
                let message = format!("the member runs etcd {running}, the manifest says {}", self.version);
                let hint = format!(
                    "ksp changes no more than the patch release of a living etcd yet: write `version = \"{running}\"`"
                );
                cx.plan().finding(Some(node), Severity::Error, "etcd.version", message, Some(&hint));
            }
        }
    }

    fn wrong_values(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if config::minor_of(&self.version).is_none() {
            let message = format!("`{}` is not a version of etcd that is supported", self.version);
            findings.push(Finding::error("/version", message).hint("3.6 and newer, such as \"3.6.8\""));
        }
        if self.election < 5 * self.heartbeat {
            let message =
                format!("{} ms are less than five heartbeats of {} ms", self.election, self.heartbeat);
            findings.push(Finding::error("/election", message).hint("ten to twenty heartbeats are usual"));
        }
        if self.quota == 0 {
            findings.push(
                Finding::error("/quota", "a database of 0 MiB holds nothing").hint("2048 to 8192 are usual"),
            );
        }
        for key in self.settings.keys().filter(|key| config::OWN.contains(&key.as_str())) {
            findings.push(
                Finding::error(format!("/settings/{key}"), format!("`{key}` belongs to this plugin"))
                    .hint("remove it: names, addresses, data and trust of members are not settings"),
            );
        }
        findings
    }
}

/// The version in what `etcd --version` prints.
fn version(text: &str) -> Option<String> {
    text.lines().find_map(|line| line.strip_prefix("etcd Version: ")).map(|version| version.trim().to_owned())
}

impl Teardown for Etcd {
    fn teardown(&self, cx: &Context, nodes: &Nodes) -> Result<()> {
        let plan = cx.plan();
        let all = cx.nodes("role=etcd")?;
        let stays: Vec<&Node> =
            all.iter().filter(|node| !nodes.iter().any(|gone| gone.id == node.id)).collect();
        let mut before: Option<Op> = None;
        for node in nodes.iter().filter(|node| node.is(Role::Etcd)) {
            if !stays.is_empty() {
                let mut left = plan
                    .exec(node, ctl::leave(node, &stays))
                    .summary("leave the etcd cluster")
                    .unless(["test", "!", "-e", "/etc/etcd/pki/admin.crt"]);
                // One at a time: etcd itself refuses what would cost the quorum.
                if let Some(before) = &before {
                    left = left.after(before);
                }
                before = Some(left);
            }
            plan.exec(node, ["systemctl", "stop", layout::UNIT]).summary("stop etcd").unless([
                "test",
                "!",
                "-e",
                layout::UNIT_FILE,
            ]);
            plan.exec(node, ["find", DATA, "-mindepth", "1", "-delete"])
                .summary("remove the member's data")
                .unless(["test", "!", "-e", DATA]);
        }
        Ok(())
    }
}

ksp_sdk::register!(Etcd, teardown);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_are_all_found() {
        let settings = json!({ "data-dir": "/x", "log-level": "debug" }).as_object().unwrap().clone();
        let stage = Etcd { version: "3.5.9".into(), heartbeat: 300, quota: 0, settings, ..Etcd::default() };
        let found = stage.wrong_values();
        let paths: Vec<&str> = found.iter().map(Finding::path).collect();
        assert_eq!(paths, ["/version", "/election", "/quota", "/settings/data-dir"]);
        assert!(Etcd::default().wrong_values().is_empty());
    }
}
