//! Labels and taints of Node objects, owned by a stage: what a stage stops declaring vanishes, what others set stays.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Taint};
use kube::api::{Api, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use super::{FIELD_MANAGER, Kubernetes, LAST_QUESTION, failure, record, side_by_side};
use crate::op::{Change, ChangeAction, OpError, Verdict};

/// How long a node that just joined may need to appear.
const APPEAR_TIMEOUT: Duration = Duration::from_secs(60);

/// For all questions of one probe.
const PROBE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a stage wants of nodes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeSettings {
    stage: String,
    labels: BTreeMap<String, String>,
    taints: Vec<Key>,
}

/// A taint as people write it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Key {
    key: String,
    value: Option<String>,
    effect: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{}={value}:{}", self.key, self.effect),
            None => write!(f, "{}:{}", self.key, self.effect),
        }
    }
}

impl Key {
    fn parse(text: &str) -> Option<Self> {
        let (rest, effect) = text.rsplit_once(':')?;
        let (key, value) = match rest.split_once('=') {
            Some((key, value)) => (key, Some(value.to_owned()).filter(|value| !value.is_empty())),
            None => (rest, None),
        };
        let known = ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect);
        (known && !key.is_empty()).then(|| Self { key: key.to_owned(), value, effect: effect.to_owned() })
    }

    /// A node has one taint for each key and effect.
    fn same_place(&self, taint: &Taint) -> bool {
        self.key == taint.key && self.effect == taint.effect
    }

    fn is(&self, taint: &Taint) -> bool {
        self.same_place(taint) && self.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or("")
    }

    fn taint(&self) -> Taint {
        Taint {
            key: self.key.clone(),
            value: self.value.clone(),
            effect: self.effect.clone(),
            time_added: None,
        }
    }
}

impl NodeSettings {
    /// `labels` are "key=value" or "key"; `taints` are "key=value:Effect" or "key:Effect".
    ///
    /// # Errors
    /// `ksp::kube::node-settings`: something else was written.
    pub fn new(stage: &str, labels: &[String], taints: &[String]) -> Result<Self, OpError> {
        let wrong = |text: &String, form: &str| {
            OpError::new("ksp::kube::node-settings", format!("{text:?} is not {form}"))
        };
        let mut settings = Self { stage: stage.to_owned(), ..Self::default() };
        for label in labels {
            let (key, value) = label.split_once('=').unwrap_or((label, ""));
            if key.is_empty() {
                return Err(wrong(label, "a label (\"key=value\")"));
            }
            settings.labels.insert(key.to_owned(), value.to_owned());
        }
        for taint in taints {
            settings
                .taints
                .push(Key::parse(taint).ok_or_else(|| wrong(taint, "a taint (\"key=value:NoSchedule\")"))?);
        }
        Ok(settings)
    }

    /// Compares with the cluster: changes nothing. A node that has not joined yet counts as one that will change.
    ///
    /// # Errors
    /// The API cannot be asked.
    pub async fn probe(&self, kubernetes: &Kubernetes, nodes: &[String]) -> Result<Verdict, OpError> {
        let deadline = Instant::now() + PROBE_TIMEOUT;
        let questions = nodes.iter().map(|node| self.compare(kubernetes, node, deadline)).collect();
        let diffs = side_by_side(questions).await?;
        let diff = diffs.concat();
        Ok(if diff.is_empty() {
            Verdict::Satisfied
        } else {
            Verdict::Change(Change { action: ChangeAction::Modify, diff })
        })
    }

    /// Makes it so.
    ///
    /// # Errors
    /// A node is not there, or the API does not answer before the deadline.
    pub async fn apply(
        &self,
        kubernetes: &Kubernetes,
        nodes: &[String],
        deadline: Instant,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        side_by_side(nodes.iter().map(|node| self.apply_one(kubernetes, node, deadline, lines)).collect())
            .await?;
        Ok(())
    }

    async fn compare(
        &self,
        kubernetes: &Kubernetes,
        name: &str,
        deadline: Instant,
    ) -> Result<Vec<String>, OpError> {
        let api: Api<Node> = Api::all(kubernetes.client.clone());
        let get = || api.get_opt(name);
        let live = failure::retry(deadline, format!("cannot read Node {name}"), get).await?;
        let mut lines = Vec::new();
        match live {
            Some(live) => {
                let planned = self.patch_labels(&api, &live, true, deadline).await?;
                let (old, new) =
                    (live.metadata.labels.unwrap_or_default(), planned.metadata.labels.unwrap_or_default());
                let gone = old.iter().filter(|(key, value)| new.get(*key) != Some(value));
                lines.extend(gone.map(|(key, value)| format!("-   label {key}={value}")));
                let come = new.iter().filter(|(key, value)| old.get(*key) != Some(value));
                lines.extend(come.map(|(key, value)| format!("+   label {key}={value}")));
                let annotations = live.metadata.annotations.unwrap_or_default();
                let current = live.spec.and_then(|spec| spec.taints).unwrap_or_default();
                let wanted = self.merge(&current, &self.recorded(&annotations));
                lines.extend(taint_lines(&current, &wanted));
                if lines.is_empty() && self.record_text() != annotations.get(&self.annotation()).cloned() {
                    lines.push("    the record of this stage's taints".into());
                }
            }
            None => {
                lines.extend(self.labels.iter().map(|(key, value)| format!("+   label {key}={value}")));
                lines.extend(self.taints.iter().map(|taint| format!("+   taint {taint}")));
            }
        }
        if !lines.is_empty() {
            lines.insert(0, format!("  Node {name}"));
        }
        Ok(lines)
    }

    async fn apply_one(
        &self,
        kubernetes: &Kubernetes,
        name: &str,
        deadline: Instant,
        lines: &UnboundedSender<String>,
    ) -> Result<(), OpError> {
        let api: Api<Node> = Api::all(kubernetes.client.clone());
        let live = appeared(&api, name, deadline).await?;
        self.patch_labels(&api, &live, false, deadline).await?;
        // The list of taints is one value in the API: read, merge, and write only if nobody wrote meanwhile.
        let what = format!("cannot set the taints of Node {name}");
        failure::retry(deadline, what, || self.write_taints(&api, name)).await?;
        let _ = lines.send(format!("labels and taints of Node {name} are as declared"));
        Ok(())
    }

    /// With the node's uid, so that a node that is not there is never created.
    async fn patch_labels(
        &self,
        api: &Api<Node>,
        live: &Node,
        dry_run: bool,
        deadline: Instant,
    ) -> Result<Node, OpError> {
        let name = live.metadata.name.clone().unwrap_or_default();
        let body = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "uid": live.metadata.uid, "labels": self.labels},
        });
        let mut params = PatchParams::apply(&self.manager()).force();
        params.dry_run = dry_run;
        let body = Patch::Apply(&body);
        let patch = || api.patch(&name, &params, &body);
        failure::retry(deadline, format!("cannot label Node {name}"), patch).await
    }

    async fn write_taints(&self, api: &Api<Node>, name: &str) -> kube::Result<()> {
        let live = api.get(name).await?;
        let annotations = live.metadata.annotations.unwrap_or_default();
        let current = live.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let wanted = self.merge(&current, &self.recorded(&annotations));
        let record = self.record_text();
        if wanted == current && record.as_ref() == annotations.get(&self.annotation()) {
            return Ok(());
        }
        let record = record.map_or(Value::Null, Value::String);
        let patch = json!({
            "metadata": {"resourceVersion": live.metadata.resource_version, "annotations": {self.annotation(): record}},
            "spec": {"taints": wanted},
        });
        let params = PatchParams { field_manager: Some(self.manager()), ..PatchParams::default() };
        api.patch(name, &params, &Patch::Merge(&patch)).await.map(drop)
    }

    /// The node's taints without those that this stage had set and does not declare any more, and with those it declares.
    fn merge(&self, current: &[Taint], recorded: &[Key]) -> Vec<Taint> {
        let ours = |taint: &Taint| recorded.iter().any(|key| key.same_place(taint));
        let declared = |taint: &Taint| self.taints.iter().find(|key| key.same_place(taint)).cloned();
        let mut merged: Vec<Taint> = Vec::new();
        for taint in current {
            match declared(taint) {
                Some(key) if key.is(taint) => merged.push(taint.clone()),
                Some(key) => merged.push(key.taint()),
                None if ours(taint) => {}
                None => merged.push(taint.clone()),
            }
        }
        for key in &self.taints {
            if !merged.iter().any(|taint| key.same_place(taint)) {
                merged.push(key.taint());
            }
        }
        merged
    }

    fn recorded(&self, annotations: &BTreeMap<String, String>) -> Vec<Key> {
        let text = annotations.get(&self.annotation()).map_or("", String::as_str);
        text.split(',').filter_map(Key::parse).collect()
    }

    fn record_text(&self) -> Option<String> {
        let texts: Vec<String> = self.taints.iter().map(Key::to_string).collect();
        (!texts.is_empty()).then(|| texts.join(","))
    }

    fn annotation(&self) -> String {
        format!("ksp.dev/taints-{}", record::slug(&self.stage))
    }

    fn manager(&self) -> String {
        format!("{FIELD_MANAGER}-{}", record::slug(&self.stage))
    }
}

fn taint_lines(old: &[Taint], new: &[Taint]) -> Vec<String> {
    let text = |taint: &Taint| {
        let value = taint.value.as_deref().filter(|value| !value.is_empty()).map(|value| format!("={value}"));
        format!("taint {}{}:{}", taint.key, value.unwrap_or_default(), taint.effect)
    };
    let gone = old.iter().filter(|taint| !new.contains(taint)).map(|taint| format!("-   {}", text(taint)));
    let come = new.iter().filter(|taint| !old.contains(taint)).map(|taint| format!("+   {}", text(taint)));
    gone.chain(come).collect()
}

async fn appeared(api: &Api<Node>, name: &str, deadline: Instant) -> Result<Node, OpError> {
    let patience = deadline.min(Instant::now() + APPEAR_TIMEOUT);
    loop {
        let get = || api.get_opt(name);
        if let Some(node) = failure::retry(deadline, format!("cannot read Node {name}"), get).await? {
            return Ok(node);
        }
        if Instant::now() + LAST_QUESTION >= patience {
            return Err(OpError::new("ksp::kube::node-missing", format!("the cluster has no Node {name}"))
                .hint(format!("on {name}: journalctl -u kubelet -n 50")));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(taints: &[&str]) -> NodeSettings {
        let taints: Vec<String> = taints.iter().map(|taint| (*taint).to_owned()).collect();
        NodeSettings::new("stage", &[], &taints).unwrap()
    }

    fn keys(texts: &[&str]) -> Vec<Key> {
        texts.iter().map(|text| Key::parse(text).unwrap()).collect()
    }

    fn taints(texts: &[&str]) -> Vec<Taint> {
        keys(texts).iter().map(Key::taint).collect()
    }

    #[test]
    fn taints_of_others_stay_and_own_ones_vanish_when_not_declared() {
        let current =
            taints(&["node.kubernetes.io/not-ready:NoSchedule", "old=1:NoExecute", "gpu=a:NoSchedule"]);
        let merged = settings(&["gpu=b:NoSchedule", "new:NoSchedule"])
            .merge(&current, &keys(&["old=1:NoExecute", "gpu=a:NoSchedule"]));
        assert_eq!(
            merged,
            taints(&["node.kubernetes.io/not-ready:NoSchedule", "gpu=b:NoSchedule", "new:NoSchedule"])
        );
        assert_eq!(
            taint_lines(&current, &merged),
            [
                "-   taint old=1:NoExecute",
                "-   taint gpu=a:NoSchedule",
                "+   taint gpu=b:NoSchedule",
                "+   taint new:NoSchedule"
            ]
        );
    }

    #[test]
    fn an_equal_taint_keeps_what_the_api_added() {
        let mut current = taints(&["gpu=a:NoExecute"]);
        current[0].time_added = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff_timestamp()));
        assert_eq!(settings(&["gpu=a:NoExecute"]).merge(&current, &[]), current);
    }

    fn jiff_timestamp() -> k8s_openapi::jiff::Timestamp {
        k8s_openapi::jiff::Timestamp::UNIX_EPOCH
    }

    #[test]
    fn what_is_recorded_reads_back() {
        let settings = settings(&["a=b:NoSchedule", "c:PreferNoSchedule"]);
        let annotations = BTreeMap::from([(settings.annotation(), settings.record_text().unwrap())]);
        assert_eq!(settings.recorded(&annotations), settings.taints);
        assert_eq!(NodeSettings::new("stage", &[], &[]).unwrap().record_text(), None);
    }

    #[test]
    fn nonsense_is_refused() {
        let texts = |text: &str| vec![text.to_owned()];
        for taint in ["a", "a:Sometimes", ":NoSchedule", "=x:NoSchedule"] {
            assert!(NodeSettings::new("s", &[], &texts(taint)).is_err(), "{taint}");
        }
        assert!(NodeSettings::new("s", &texts("=x"), &[]).is_err());
    }
}
