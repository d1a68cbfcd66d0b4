//! Timed backups: each member's node takes a snapshot of its own member and keeps a bounded number of them. Every node for itself,
//! so that any one disk that survives holds a recent backup; a delay by machine keeps them from working at the same moment.

mod units;

use std::collections::BTreeMap;

use ksp_sdk::etcd::{self, Etcd, RunBy};
use ksp_sdk::prelude::*;

/// Config of `ksp/etcd-backup`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct EtcdBackup {
    /// When, as systemd's `OnCalendar` has it: "*-*-* 00/6:00:00".
    pub schedule: String,
    /// Each node waits up to so many minutes longer, always the same on the same machine.
    pub delay_minutes: u32,
    /// How many a node keeps at most.
    pub keep: u32,
    /// For how many days a node keeps one; the newest stays whatever its age.
    pub keep_days: u32,
}

impl Default for EtcdBackup {
    fn default() -> Self {
        Self { schedule: "*-*-* 00/6:00:00".into(), delay_minutes: 10, keep: 28, keep_days: 14 }
    }
}

/// The folder of the backups, for root alone.
const FOLDER: &str = "/var/backups/etcd";

/// The script that makes one.
const SCRIPT: &str = "/usr/local/sbin/ksp-etcd-backup";

/// What the script has to know.
const SETTINGS: &str = "/etc/ksp/etcd-backup.env";

impl EtcdBackup {
    fn settings(&self, spec: &Spec, etcd: &Etcd) -> String {
        let topology = match etcd.run_by {
            RunBy::Kubelet => "stacked",
            RunBy::Systemd => "external",
        };
        let values = BTreeMap::from([
            ("FOLDER", FOLDER.to_owned()),
            ("ENDPOINT", format!("https://127.0.0.1:{}", etcd::CLIENT_PORT)),
            ("CA", etcd.ca.clone()),
            ("CERTIFICATE", etcd.certificate.clone()),
            ("KEY", etcd.key.clone()),
            ("CLUSTER", spec.name.clone()),
            ("KUBERNETES", spec.kubernetes.to_string()),
            ("TOPOLOGY", topology.to_owned()),
            ("MEMBERS", etcd.nodes.join(" ")),
            ("KEEP", self.keep.to_string()),
            ("KEEP_DAYS", self.keep_days.to_string()),
        ]);
        values.iter().map(|(name, value)| format!("{name}='{value}'\n")).collect()
    }
}

/// What the stage that runs etcd says of it: dedicated nodes, or control planes.
fn layout(cx: &Context) -> Result<Etcd> {
    let published = ["etcd", "control-plane"].iter().find_map(|slot| cx.output(slot, etcd::OUTPUT));
    let Some(text) = published else {
        return Err(Error::unsupported(
            "etcd-backup.no-etcd",
            "no stage says how etcd is run: a stage that provides `etcd` or `control-plane` has to publish `etcd`",
        ));
    };
    Ok(serde_json::from_str(&text)?)
}

impl Stage for EtcdBackup {
    fn validate(&self, _cx: &Context) -> Vec<Finding> {
        let mut findings = Vec::new();
        for (key, number) in [("keep", self.keep), ("keep-days", self.keep_days)] {
            if number == 0 {
                findings.push(
                    Finding::error(format!("/{key}"), "0 would keep nothing")
                        .hint("remove the stage to make no backups"),
                );
            }
        }
        let printable = |c: char| c.is_ascii_alphanumeric() || " *-,:/.~".contains(c);
        if self.schedule.trim().is_empty() || !self.schedule.chars().all(printable) {
            findings.push(
                Finding::error("/schedule", format!("`{}` is no calendar event of systemd", self.schedule))
                    .hint("`systemd-analyze calendar EVENT` explains one; every six hours is \"*-*-* 00/6:00:00\""),
            );
        }
        findings
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let etcd = layout(cx)?;
        cx.publish(etcd::LAST_BACKUP, format!("{FOLDER}/last.json"))?;
        let nodes = cx.nodes("*")?.filter(|node| etcd.nodes.contains(&node.name));
        let plan = cx.plan();
        plan.directory(&nodes, FOLDER).mode(0o700);
        plan.file(&nodes, SCRIPT, &cx.asset("backup.sh")?).mode(0o755);
        plan.file(&nodes, SETTINGS, self.settings(&cx.spec()?, &etcd)).mode(0o600);
        plan.file(&nodes, "/etc/systemd/system/ksp-etcd-backup.service", units::service(SCRIPT, SETTINGS));
        let timer = plan.file(&nodes, "/etc/systemd/system/ksp-etcd-backup.timer", units::timer(self));
        plan.restart(&nodes, "ksp-etcd-backup.timer").on_change(&timer);
        plan.service(&nodes, "ksp-etcd-backup.timer");
        Ok(())
    }
}

ksp_sdk::register!(EtcdBackup);

#[cfg(test)]
mod tests;
