//! `plan`: the builder. Each function makes the op's struct and records it; what is wrong with it becomes a finding, so that
//! all mistakes of a plugin are reported together.

pub(super) mod check;
mod modifiers;

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Resource;
use wasmtime::{Result, format_err};

use crate::diagnostic::Diagnostic;
use crate::node::NodeId;
use crate::op::{
    Action, ClusterOp, Content, NodeApiOp, NodeOp, absent, directory, drain, exec, file, image, install,
    kernel_modules,
};
use crate::op::{
    kube_apply, kube_apply_release, kube_delete, kube_node, kube_wait, link, packages, restart, service,
    swap_off, sysctl,
};
use crate::op::{uncordon, unpack, wait_for};
use crate::plan::Check;
use crate::plugin::capability::Need;
use crate::runtime::bindings::ksp::plugin::plan::Host;
use crate::runtime::bindings::ksp::plugin::types::Severity;
use crate::runtime::convert::{PHRASE_BYTES, clean, severity};
use crate::runtime::handles::{Blob, OpHandle, ReleaseHandle, SecretHandle};
use crate::runtime::state::{Phase, State};

impl State {
    fn require_plan(&self) -> Result<()> {
        if self.phase == Phase::Plan {
            return Ok(());
        }
        Err(format_err!("it recorded an op outside of `plan`"))
    }

    /// Known nodes, each once; others are mistakes.
    fn targets(&mut self, numbers: &[u32], what: &str) -> Vec<NodeId> {
        let mut nodes = Vec::with_capacity(numbers.len());
        for number in numbers {
            if *number as usize >= self.inputs.manifest.nodes.len() {
                self.draft.mistake(format!("{what}: there is no node number {number}"));
            } else if !nodes.contains(&NodeId(*number)) {
                nodes.push(NodeId(*number));
            }
        }
        nodes.sort_unstable();
        nodes
    }

    fn grant_or_deny(&mut self, needs: &[Need]) {
        for need in needs {
            if let Err(denied) = self.stage.grants.allows(need) {
                self.draft.deny(denied);
            }
        }
    }

    /// Records an op on nodes, when `wrong` has nothing to say about it. An op that is wrong is recorded as well, so that its
    /// handle works; the run is refused anyway.
    fn on_nodes(
        &mut self,
        numbers: &[u32],
        op: impl NodeOp + 'static,
        wrong: Vec<String>,
    ) -> Result<Resource<OpHandle>> {
        self.require_plan()?;
        let what = format!("{} {}", op.kind(), clean(&op.target(), 200));
        for text in wrong {
            self.draft.mistake(format!("{what}: {text}"));
        }
        let nodes = self.targets(numbers, &what);
        self.grant_or_deny(&op.needs());
        let id = self.draft.record(Action::Node(Arc::new(op)), nodes)?;
        Ok(self.table.push(OpHandle(id))?)
    }

    fn about_nodes(&mut self, numbers: &[u32], op: impl NodeApiOp + 'static) -> Result<Resource<OpHandle>> {
        self.require_plan()?;
        let nodes = self.targets(numbers, op.kind());
        self.grant_or_deny(&op.needs());
        let id = self.draft.record(Action::NodeApi(Arc::new(op)), nodes)?;
        Ok(self.table.push(OpHandle(id))?)
    }

    fn on_cluster(&mut self, op: impl ClusterOp + 'static, wrong: Vec<String>) -> Result<Resource<OpHandle>> {
        self.require_plan()?;
        let what = format!("{} {}", op.kind(), clean(&op.target(), 200));
        for text in wrong {
            self.draft.mistake(format!("{what}: {text}"));
        }
        self.grant_or_deny(&op.needs());
        let id = self.draft.record(Action::Cluster(Arc::new(op)), Vec::new())?;
        Ok(self.table.push(OpHandle(id))?)
    }
}

#[cfg(any(test, feature = "test-support"))]
impl State {
    fn keep_content(&mut self, handle: &Resource<OpHandle>, content: Content) -> Result<()> {
        let id = self.table.get(handle)?.0;
        self.draft.contents.insert(id, content);
        Ok(())
    }
}

#[cfg(not(any(test, feature = "test-support")))]
impl State {
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "only the test harness keeps them")]
    fn keep_content(&mut self, _handle: &Resource<OpHandle>, _content: Content) -> Result<()> {
        Ok(())
    }
}

fn millis(ms: u32) -> Duration {
    Duration::from_millis(ms.into())
}

impl Host for State {
    fn finding(
        &mut self,
        node: Option<u32>,
        level: Severity,
        code: String,
        message: String,
        hint: Option<String>,
    ) -> Result<()> {
        self.require_plan()?;
        self.draft.room()?;
        if let Some(text) = check::code(&code) {
            self.draft.mistake(text);
        }
        let message = clean(&message, PHRASE_BYTES);
        let mut finding = Diagnostic::new(severity(level), clean(&code, 200), message);
        if let Some(number) = node {
            match self.node(number) {
                Ok(node) => finding = finding.on_node(node.name.clone()),
                Err(error) => self.draft.mistake(error.message),
            }
        }
        if let Some(hint) = hint {
            finding = finding.hint(clean(&hint, PHRASE_BYTES));
        }
        self.draft.findings.push(finding);
        Ok(())
    }

    fn check(
        &mut self,
        nodes: Vec<u32>,
        code: String,
        argv: Vec<String>,
        message: String,
        hint: Option<String>,
    ) -> Result<()> {
        self.require_plan()?;
        self.draft.room()?;
        let wrong = check::argv(&argv).into_iter().chain(check::code(&code));
        for text in wrong {
            self.draft.mistake(format!("check {}: {text}", clean(&code, 200)));
        }
        let nodes = self.targets(&nodes, "check");
        self.grant_or_deny(&[Need::Probe]);
        self.draft.checks.push(Check {
            nodes,
            code: clean(&code, 200),
            argv,
            message: clean(&message, PHRASE_BYTES),
            hint: hint.map(|hint| clean(&hint, PHRASE_BYTES)),
        });
        Ok(())
    }

    fn directory(&mut self, nodes: Vec<u32>, path: String) -> Result<Resource<OpHandle>> {
        let wrong = check::path(&path);
        self.on_nodes(&nodes, directory::Directory { path }, wrong)
    }

    fn file(&mut self, nodes: Vec<u32>, path: String, content: Resource<Blob>) -> Result<Resource<OpHandle>> {
        let content = Content::Plain(self.table.get(&content)?.bytes.clone());
        let wrong = check::path(&path);
        let handle = self.on_nodes(&nodes, file::File { path, content: content.clone() }, wrong)?;
        self.keep_content(&handle, content)?;
        Ok(handle)
    }

    fn secret_file(
        &mut self,
        nodes: Vec<u32>,
        path: String,
        content: Resource<SecretHandle>,
    ) -> Result<Resource<OpHandle>> {
        let content = Content::Secret(self.table.get(&content)?.secret.clone());
        let wrong = check::path(&path);
        let handle = self.on_nodes(&nodes, file::File { path, content: content.clone() }, wrong)?;
        let id = self.table.get(&handle)?.0;
        self.draft.op(id)?.modifiers.mode = Some(0o600);
        self.keep_content(&handle, content)?;
        Ok(handle)
    }

    fn link(&mut self, nodes: Vec<u32>, path: String, target: String) -> Result<Resource<OpHandle>> {
        let mut wrong = check::path(&path);
        wrong.extend(check::text("target", &target));
        self.on_nodes(&nodes, link::Link { path, link_target: target }, wrong)
    }

    fn absent(&mut self, nodes: Vec<u32>, path: String) -> Result<Resource<OpHandle>> {
        let wrong = check::path(&path);
        self.on_nodes(&nodes, absent::Absent { path }, wrong)
    }

    fn install(
        &mut self,
        nodes: Vec<u32>,
        path: String,
        what: Resource<ReleaseHandle>,
    ) -> Result<Resource<OpHandle>> {
        let release = self.table.get(&what)?.0.clone();
        let wrong = check::path(&path);
        self.on_nodes(&nodes, install::Install { path, release }, wrong)
    }

    fn unpack(
        &mut self,
        nodes: Vec<u32>,
        dest: String,
        what: Resource<ReleaseHandle>,
        strip: u32,
        only: Vec<String>,
    ) -> Result<Resource<OpHandle>> {
        let release = self.table.get(&what)?.0.clone();
        let mut wrong = check::path(&dest);
        wrong.extend(only.iter().flat_map(|member| check::member(member)));
        if strip > 20 {
            wrong.push(format!("{strip} path parts are too many to strip"));
        }
        self.on_nodes(&nodes, unpack::Unpack { dest, release, strip, only }, wrong)
    }

    fn packages(&mut self, nodes: Vec<u32>, names: Vec<String>) -> Result<Resource<OpHandle>> {
        let wrong = names.iter().flat_map(|name| check::word("package", name, ".+-_:~=*")).collect();
        self.on_nodes(&nodes, packages::Packages { names }, wrong)
    }

    fn sysctl(&mut self, nodes: Vec<u32>, settings: Vec<(String, String)>) -> Result<Resource<OpHandle>> {
        let mut wrong = Vec::new();
        for (key, value) in &settings {
            wrong.extend(check::word("kernel parameter", key, "._-/"));
            wrong.extend(check::text("value", value));
        }
        self.on_nodes(&nodes, sysctl::Sysctl { settings }, wrong)
    }

    fn kernel_modules(&mut self, nodes: Vec<u32>, names: Vec<String>) -> Result<Resource<OpHandle>> {
        let wrong = names.iter().flat_map(|name| check::word("kernel module", name, "_-")).collect();
        self.on_nodes(&nodes, kernel_modules::KernelModules { names }, wrong)
    }

    fn swap_off(&mut self, nodes: Vec<u32>) -> Result<Resource<OpHandle>> {
        self.on_nodes(&nodes, swap_off::SwapOff, Vec::new())
    }

    fn service(
        &mut self,
        nodes: Vec<u32>,
        unit: String,
        enabled: bool,
        running: bool,
    ) -> Result<Resource<OpHandle>> {
        let wrong = check::unit(&unit);
        self.on_nodes(&nodes, service::Service { unit, enabled, running }, wrong)
    }

    fn restart(&mut self, nodes: Vec<u32>, unit: String) -> Result<Resource<OpHandle>> {
        let wrong = check::unit(&unit);
        self.on_nodes(&nodes, restart::Restart { unit }, wrong)
    }

    fn image(&mut self, nodes: Vec<u32>, reference: String) -> Result<Resource<OpHandle>> {
        let wrong = check::word("image", &reference, "._-/:@+");
        self.on_nodes(&nodes, image::Image { reference }, wrong)
    }

    fn exec(&mut self, nodes: Vec<u32>, argv: Vec<String>) -> Result<Resource<OpHandle>> {
        let wrong = check::argv(&argv);
        self.on_nodes(&nodes, exec::Exec { argv }, wrong)
    }

    fn wait_for(
        &mut self,
        nodes: Vec<u32>,
        argv: Vec<String>,
        deadline_ms: u32,
    ) -> Result<Resource<OpHandle>> {
        let mut wrong = check::argv(&argv);
        wrong.extend(check::duration("deadline", deadline_ms));
        self.on_nodes(&nodes, wait_for::WaitFor { argv, deadline: millis(deadline_ms) }, wrong)
    }

    fn kube_apply(&mut self, set: String, manifest: Resource<Blob>) -> Result<Resource<OpHandle>> {
        let manifest = Content::Plain(self.table.get(&manifest)?.bytes.clone());
        let wrong = check::word("set", &set, "-");
        let stage = self.stage.name.clone();
        let handle =
            self.on_cluster(kube_apply::KubeApply { stage, set, manifest: manifest.clone() }, wrong)?;
        self.keep_content(&handle, manifest)?;
        Ok(handle)
    }

    fn kube_apply_release(
        &mut self,
        set: String,
        what: Resource<ReleaseHandle>,
    ) -> Result<Resource<OpHandle>> {
        let release = self.table.get(&what)?.0.clone();
        let mut wrong: Vec<String> = check::word("set", &set, "-").into_iter().collect();
        if kube_apply_release::KubeApplyRelease::source(&release).is_none() {
            wrong.push(format!("{} {} is another file for each architecture", release.name, release.version));
        }
        let (stage, downloads) = (self.stage.name.clone(), self.inputs.downloads.clone());
        self.on_cluster(kube_apply_release::KubeApplyRelease { stage, set, release, downloads }, wrong)
    }

    fn kube_delete(&mut self, set: String) -> Result<Resource<OpHandle>> {
        let wrong = check::word("set", &set, "-");
        let stage = self.stage.name.clone();
        self.on_cluster(kube_delete::KubeDelete { stage, set }, wrong)
    }

    fn kube_wait(
        &mut self,
        object: String,
        namespace: String,
        condition: String,
        deadline_ms: u32,
    ) -> Result<Resource<OpHandle>> {
        let mut wrong = check::object(&object);
        wrong.extend(check::condition(&condition));
        wrong.extend(check::duration("deadline", deadline_ms));
        let deadline = millis(deadline_ms);
        self.on_cluster(kube_wait::KubeWait { object, namespace, condition, deadline }, wrong)
    }

    fn kube_node(
        &mut self,
        nodes: Vec<u32>,
        labels: Vec<String>,
        taints: Vec<String>,
    ) -> Result<Resource<OpHandle>> {
        let ids = self.targets(&nodes, "kube-node");
        let names = ids.iter().filter_map(|id| self.inputs.manifest.nodes.get(id.0 as usize));
        let nodes = names.map(|node| node.name.clone()).collect();
        let wrong =
            labels.iter().chain(&taints).flat_map(|text| check::text("label or taint", text)).collect();
        let stage = self.stage.name.clone();
        self.on_cluster(kube_node::KubeNode { nodes, labels, taints, stage }, wrong)
    }

    fn drain(&mut self, nodes: Vec<u32>) -> Result<Resource<OpHandle>> {
        self.about_nodes(&nodes, drain::Drain)
    }

    fn uncordon(&mut self, nodes: Vec<u32>) -> Result<Resource<OpHandle>> {
        self.about_nodes(&nodes, uncordon::Uncordon)
    }

    fn custom(&mut self, nodes: Vec<u32>, tag: String, summary: String) -> Result<Resource<OpHandle>> {
        self.require_plan()?;
        for text in check::word("tag", &tag, "._-:/") {
            self.draft.mistake(format!("custom: {text}"));
        }
        let nodes = self.targets(&nodes, "custom");
        let action = Action::Custom { tag, summary: clean(&summary, 500) };
        let id = self.draft.record(action, nodes)?;
        Ok(self.table.push(OpHandle(id))?)
    }
}
