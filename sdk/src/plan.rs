//! The builder. Calls record ops, nothing happens now. On each node, ops run in the order of recording; a mistake (a path that is
//! not absolute, a modifier that an op does not know) does not interrupt the plugin: the host reports all of them together.

use std::rc::Rc;
use std::time::Duration;

use crate::bindings::ksp::plugin::plan as wit;
use crate::node::Targets;
use crate::{Content, Node, Release, Secret, Severity};

/// A recorded op, for modifiers and for other ops to refer to. Dropping it is fine; clones are the same op.
#[derive(Clone)]
pub struct Op(Rc<wit::Op>);

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn words<W: Into<String>>(argv: impl IntoIterator<Item = W>) -> Vec<String> {
    argv.into_iter().map(Into::into).collect()
}

/// Modifiers. They apply at once, and hand the op back for the next one.
impl Op {
    fn new(op: wit::Op) -> Self {
        Self(Rc::new(op))
    }

    /// What a person reads in the plan instead of the generated line.
    pub fn summary(self, text: impl AsRef<str>) -> Self {
        self.0.summary(text.as_ref());
        self
    }

    /// Starts only when `other` is done on all of its nodes.
    pub fn after(self, other: &Op) -> Self {
        self.0.after(&other.0);
        self
    }

    /// Starts only when each of `others` is done on all of its nodes.
    pub fn after_all<'a>(self, others: impl IntoIterator<Item = &'a Op>) -> Self {
        others.into_iter().fold(self, Op::after)
    }

    /// Runs only when `watched` changed something on that node (also in an earlier run that was interrupted). Several calls: when
    /// any of them did. Between an op of the cluster and one on nodes: when it changed something anywhere, and after it is done on all
    /// of its nodes.
    pub fn on_change(self, watched: &Op) -> Self {
        self.0.on_change(&watched.0);
        self
    }

    /// Runs only when `dependent` will run on some node. Says nothing about order.
    pub fn only_for(self, dependent: &Op) -> Self {
        self.0.only_for(&dependent.0);
        self
    }

    /// Needs nothing but what earlier stages provide on the same node: may run while cluster-wide slots are still missing.
    pub fn prepare(self) -> Self {
        self.0.prepare();
        self
    }

    /// `slot` is there as soon as this op is done on all its nodes, before the rest of the stage.
    pub fn provides(self, slot: &str) -> Self {
        self.0.provides(slot);
        self
    }

    /// Runs when anything else in the run changed something, or when the last run did not end well.
    pub fn gate(self) -> Self {
        self.0.gate();
        self
    }

    /// For files and directories: permission bits.
    pub fn mode(self, mode: u32) -> Self {
        self.0.mode(mode);
        self
    }

    /// For files and directories.
    pub fn owner(self, user: &str, group: &str) -> Self {
        self.0.owner(user, group);
        self
    }

    /// For exec: satisfied when the path exists. Asked when the plan is made: what an earlier op of the same run brings is not seen;
    /// [`Self::on_change`] is for that.
    pub fn creates(self, path: impl AsRef<str>) -> Self {
        self.0.creates(path.as_ref());
        self
    }

    /// For exec: satisfied when the command exits 0. Asked when the plan is made, as for [`Self::creates`].
    pub fn unless<W: Into<String>>(self, argv: impl IntoIterator<Item = W>) -> Self {
        self.0.unless(&words(argv));
        self
    }

    /// For exec.
    pub fn env(self, name: &str, value: impl AsRef<str>) -> Self {
        self.0.env(name, value.as_ref());
        self
    }

    /// For exec.
    pub fn stdin<'a>(self, content: impl Into<Content<'a>>) -> Self {
        self.0.stdin(content.into().blob());
        self
    }

    /// For exec.
    pub fn stdin_secret(self, content: &Secret) -> Self {
        self.0.stdin_secret(content);
        self
    }

    /// After applying, the command must exit 0 within the deadline; polled.
    pub fn verify<W: Into<String>>(self, argv: impl IntoIterator<Item = W>, deadline: Duration) -> Self {
        self.0.verify(&words(argv), millis(deadline));
        self
    }

    /// For one attempt.
    pub fn timeout(self, limit: Duration) -> Self {
        self.0.timeout(millis(limit));
        self
    }

    /// Further attempts after a failure, and the pause before each.
    pub fn retry(self, times: u32, delay: Duration) -> Self {
        self.0.retry(times, millis(delay));
        self
    }

    /// At most n nodes at a time.
    pub fn batch(self, nodes: u32) -> Self {
        self.0.batch(nodes);
        self
    }

    /// Interrupts what the node serves: goes through the disruption budget.
    pub fn disruptive(self, reason: impl AsRef<str>) -> Self {
        self.0.disruptive(reason.as_ref());
        self
    }
}

/// Records ops. From [`crate::Context::plan`].
#[derive(Debug, Clone, Copy)]
pub struct Plan(pub(crate) ());

impl Plan {
    /// A directory and its parents.
    pub fn directory(&self, nodes: impl Targets, path: impl AsRef<str>) -> Op {
        Op::new(wit::directory(&nodes.ids(), path.as_ref()))
    }

    /// A file with this content; its folder is made.
    pub fn file<'a>(
        &self,
        nodes: impl Targets,
        path: impl AsRef<str>,
        content: impl Into<Content<'a>>,
    ) -> Op {
        Op::new(wit::file(&nodes.ids(), path.as_ref(), content.into().blob()))
    }

    /// A file whose content is never shown; mode 0600 unless a modifier says otherwise.
    pub fn secret_file(&self, nodes: impl Targets, path: impl AsRef<str>, content: &Secret) -> Op {
        Op::new(wit::secret_file(&nodes.ids(), path.as_ref(), content))
    }

    /// A symbolic link at `path` that holds `target`.
    pub fn link(&self, nodes: impl Targets, path: impl AsRef<str>, target: impl AsRef<str>) -> Op {
        Op::new(wit::link(&nodes.ids(), path.as_ref(), target.as_ref()))
    }

    /// Nothing at the path.
    pub fn absent(&self, nodes: impl Targets, path: impl AsRef<str>) -> Op {
        Op::new(wit::absent(&nodes.ids(), path.as_ref()))
    }

    /// A release file as one executable or data file.
    pub fn install(&self, nodes: impl Targets, path: impl AsRef<str>, what: &Release) -> Op {
        Op::new(wit::install(&nodes.ids(), path.as_ref(), what))
    }

    /// An archive unpacked below `dest` without its first `strip` path parts; `only` lists the members to take, all when empty.
    pub fn unpack(
        &self,
        nodes: impl Targets,
        dest: impl AsRef<str>,
        what: &Release,
        strip: u32,
        only: &[&str],
    ) -> Op {
        Op::new(wit::unpack(&nodes.ids(), dest.as_ref(), what, strip, &words(only.iter().copied())))
    }

    /// Packages of the distribution.
    pub fn packages<W: Into<String>>(&self, nodes: impl Targets, names: impl IntoIterator<Item = W>) -> Op {
        Op::new(wit::packages(&nodes.ids(), &words(names)))
    }

    /// Kernel parameters, kept in a file of the stage's own below /etc/sysctl.d, and in force. One op a stage and node.
    pub fn sysctl<K: Into<String>, V: Into<String>>(
        &self,
        nodes: impl Targets,
        settings: impl IntoIterator<Item = (K, V)>,
    ) -> Op {
        let settings: Vec<_> = settings.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        Op::new(wit::sysctl(&nodes.ids(), &settings))
    }

    /// Kernel modules, loaded now and at boot.
    pub fn kernel_modules<W: Into<String>>(
        &self,
        nodes: impl Targets,
        names: impl IntoIterator<Item = W>,
    ) -> Op {
        Op::new(wit::kernel_modules(&nodes.ids(), &words(names)))
    }

    /// All swap off, now and at boot.
    pub fn swap_off(&self, nodes: impl Targets) -> Op {
        Op::new(wit::swap_off(&nodes.ids()))
    }

    /// A unit that is enabled and runs.
    pub fn service(&self, nodes: impl Targets, unit: impl AsRef<str>) -> Op {
        Op::new(wit::service(&nodes.ids(), unit.as_ref(), true, true))
    }

    /// A unit that is enabled; whether it runs is left alone, because something else starts it.
    pub fn service_enabled(&self, nodes: impl Targets, unit: impl AsRef<str>) -> Op {
        Op::new(wit::service(&nodes.ids(), unit.as_ref(), true, false))
    }

    /// A restart, meant to be used with [`Op::on_change`].
    pub fn restart(&self, nodes: impl Targets, unit: impl AsRef<str>) -> Op {
        Op::new(wit::restart(&nodes.ids(), unit.as_ref()))
    }

    /// A container image, pulled through the node's runtime. What rolls it out goes [`Op::after`] this: an image that is nowhere then
    /// takes no pod down.
    pub fn image(&self, nodes: impl Targets, reference: impl AsRef<str>) -> Op {
        Op::new(wit::image(&nodes.ids(), reference.as_ref()))
    }

    /// A command as root, without a shell. Say how it is known to be done: [`Op::creates`], [`Op::unless`] or [`Op::on_change`].
    pub fn exec<W: Into<String>>(&self, nodes: impl Targets, argv: impl IntoIterator<Item = W>) -> Op {
        Op::new(wit::exec(&nodes.ids(), &words(argv)))
    }

    /// Polls until the command exits 0.
    pub fn wait_for<W: Into<String>>(
        &self,
        nodes: impl Targets,
        argv: impl IntoIterator<Item = W>,
        deadline: Duration,
    ) -> Op {
        Op::new(wit::wait_for(&nodes.ids(), &words(argv), millis(deadline)))
    }

    /// Kubernetes objects by server-side apply: YAML or JSON text, one or more JSON values, or a rendered [`crate::Blob`].
    /// Objects that vanish from the set are pruned.
    pub fn kube_apply<'a>(&self, set: &str, manifest: impl Into<Content<'a>>) -> Op {
        Op::new(wit::kube_apply(set, manifest.into().blob()))
    }

    /// As [`Self::kube_apply`], with the objects of a release file that is the same for all architectures, such as the definitions
    /// of a project's own kinds.
    pub fn kube_apply_release(&self, set: &str, what: &Release) -> Op {
        Op::new(wit::kube_apply_release(set, what))
    }

    /// Removes all objects of a set.
    pub fn kube_delete(&self, set: &str) -> Op {
        Op::new(wit::kube_delete(set))
    }

    /// Waits for an object: "kind/name", or "node/*" for all. `condition` is "rollout", "exists", "deleted", "condition=<type>" or
    /// "field=<JSON pointer>=<text>".
    pub fn kube_wait(
        &self,
        object: impl AsRef<str>,
        namespace: &str,
        condition: &str,
        deadline: Duration,
    ) -> Op {
        Op::new(wit::kube_wait(object.as_ref(), namespace, condition, millis(deadline)))
    }

    /// Labels ("key=value") and taints ("key=value:Effect") of Kubernetes nodes, owned by this stage.
    pub fn kube_node<L: Into<String>, T: Into<String>>(
        &self,
        nodes: impl Targets,
        labels: impl IntoIterator<Item = L>,
        taints: impl IntoIterator<Item = T>,
    ) -> Op {
        Op::new(wit::kube_node(&nodes.ids(), &words(labels), &words(taints)))
    }

    /// Lets no new pods onto the Kubernetes nodes of these names and evicts those that run there, as far as PodDisruptionBudgets
    /// allow. Pods of DaemonSets, static pods and pods that have ended stay; pods that no controller would make again refuse it;
    /// data in `emptyDir` volumes is lost. Always due: record it for nodes that need it, or with [`Op::on_change`]. Usually
    /// [`Op::disruptive`]: its turn lasts until the end of the stage on that node.
    pub fn drain(&self, nodes: impl Targets) -> Op {
        Op::new(wit::drain(&nodes.ids()))
    }

    /// Lets new pods come again, where it was [`Self::drain`] that kept them away; what a person cordoned stays so.
    pub fn uncordon(&self, nodes: impl Targets) -> Op {
        Op::new(wit::uncordon(&nodes.ids()))
    }

    /// Calls back [`crate::Stage::run`] with the tag; opaque in a plan.
    pub fn custom(&self, nodes: impl Targets, tag: &str, summary: impl AsRef<str>) -> Op {
        Op::new(wit::custom(&nodes.ids(), tag, summary.as_ref()))
    }

    /// A finding about a node, or about the whole cluster. [`Severity::Error`] refuses the run before anything is changed.
    /// `code` is dotted and stable: "preflight.memory".
    pub fn finding(
        &self,
        node: Option<&Node>,
        severity: Severity,
        code: &str,
        message: impl AsRef<str>,
        hint: Option<&str>,
    ) {
        wit::finding(node.map(|node| node.id), severity, code, message.as_ref(), hint);
    }

    /// A read-only command that must exit 0 while planning; otherwise `message` becomes an error for that node.
    pub fn check<W: Into<String>>(
        &self,
        nodes: impl Targets,
        code: &str,
        argv: impl IntoIterator<Item = W>,
        message: impl AsRef<str>,
        hint: Option<&str>,
    ) {
        wit::check(&nodes.ids(), code, &words(argv), message.as_ref(), hint);
    }
}
