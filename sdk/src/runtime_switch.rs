//! A living node gets another container runtime, for stages that provide `runtime`: the new one runs beside the old one, the node is
//! drained, everything that the old one runs ends, the kubelet starts anew with the new one, and the node takes pods again.
//!
//! What is left to do is read from the node, so that a run may be killed at any point: the plugin declares [`PROBES`] in its
//! manifest. It asks for the capabilities `exec` and `drain`.

use std::time::Duration;

use crate::runtime::{KNOWN, Runtime};
use crate::{Context, Node, Nodes, Op, Result, Role, Severity, argv};

/// The probes that a plugin declares: the sockets in the kubelet's files, one a line, and the note of a switch that has begun.
pub const PROBES: [&str; 2] = ["kubelet-runtime", "runtime-switch"];

/// Longer than the script's own deadlines together.
const LONGEST: Duration = Duration::from_secs(1500);

/// For the images of one node.
const PULLING: Duration = Duration::from_secs(900);

const SCRIPT: &str = include_str!("runtime_switch/switch.sh");

/// What a node still needs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Todo {
    /// The runtimes that go.
    from: Vec<Runtime>,
    /// Pods have to leave first.
    drain: bool,
    /// The kubelet does not run with the new runtime yet.
    switch: bool,
    /// An earlier run has stopped something: it goes before all that still serve.
    begun: bool,
}

impl Todo {
    fn names(&self) -> String {
        self.from.iter().map(|runtime| runtime.name).collect::<Vec<_>>().join(" and ")
    }
}

/// The nodes whose kubelet uses another runtime than the one that the stage brings.
pub struct Switch {
    to: Runtime,
    nodes: Vec<(Node, Todo)>,
}

/// Compares the nodes with the runtime that they should have. A runtime that nobody knows how to end is refused.
pub fn survey(cx: &Context, nodes: &Nodes, to: Runtime) -> Switch {
    let mut found = Vec::new();
    for (node, facts) in nodes.with_facts() {
        let said = |name: &str| {
            let probe = facts.probe(name).filter(|probe| probe.status == 0);
            probe.map(|probe| probe.stdout).unwrap_or_default()
        };
        let [sockets, note] = PROBES.map(said);
        match todo(&sockets, &note, to) {
            Ok(None) => {}
            Ok(Some(todo)) => found.push((node.clone(), todo)),
            Err(other) => cx.plan().finding(
                Some(node),
                Severity::Error,
                "runtime.another",
                format!("the kubelet uses {other}: ksp does not know how to end what runs there"),
                Some("drain the node, take its runtime away by hand and put the node back with `ksp node remove` and `ksp up`"),
            ),
        }
    }
    Switch { to, nodes: found }
}

/// From the sockets in the kubelet's files and the note of an earlier run.
fn todo(sockets: &str, note: &str, to: Runtime) -> Result<Option<Todo>, String> {
    // `/var/run` is `/run`.
    let plain = |socket: &str| socket.replace("/var/run/", "/run/");
    let is_other = |socket: &String| *socket != plain(to.socket);
    let words = |text: &str| text.split_whitespace().map(plain).collect::<Vec<_>>();
    let phase = note.split_whitespace().next().unwrap_or_default();
    let used: Vec<String> = words(sockets).into_iter().filter(is_other).collect();
    let noted = words(note).into_iter().skip(1).filter(is_other);

    let mut from: Vec<Runtime> = Vec::new();
    for socket in used.iter().cloned().chain(noted) {
        let known = KNOWN.iter().find(|known| plain(known.socket) == socket).ok_or(socket)?;
        if !from.contains(known) {
            from.push(*known);
        }
    }
    let begun = phase == "switching";
    let switch = begun || !used.is_empty();
    let needed = switch || !phase.is_empty();
    // The kubelet may be stopped: pods that are evicted now would never end.
    Ok(needed.then_some(Todo { from, drain: switch && !begun, switch, begun }))
}

impl Switch {
    /// Restarts the new runtime where one of `watched` has changed: where it serves within the disruption budget, and at once where
    /// another one still does. Records before what must come before it runs for the first time there.
    pub fn restart(&self, cx: &Context, nodes: &Nodes, watched: &[&Op]) {
        for (node, todo) in self.nodes.iter().filter(|(_, todo)| todo.drain) {
            // It must leave alone what the other one runs.
            let beside = todo.names();
            self.script(cx, "begin", node, todo)
                .summary(format!("let {} come up beside {beside}", self.to.name));
        }
        let switches = |node: &Node| self.nodes.iter().any(|(other, _)| other.id == node.id);
        let (switching, serving) = (nodes.filter(switches), nodes.filter(|node| !switches(node)));
        let restart = |nodes: &Nodes| self.to.restart(&cx.plan(), nodes, watched);
        if !serving.is_empty() {
            let reason = format!("{} is restarted; containers keep running", self.to.name);
            drop(restart(&serving).disruptive(reason));
        }
        if !switching.is_empty() {
            drop(restart(&switching));
        }
    }

    /// Records all the rest: after the ops that make the new runtime run, and last on these nodes. Nodes that an interrupted run left
    /// half-way first, then control planes, then workers; within each as many at a time as the disruption budget allows.
    /// `drain_within` bounds a drain.
    ///
    /// # Errors
    /// The nodes cannot be asked for.
    pub fn record(&self, cx: &Context, drain_within: Duration) -> Result<()> {
        let only = cx.nodes("role=control-plane")?.len() == 1;
        let rank = |(node, todo): &(Node, Todo)| {
            if todo.begun || !todo.switch { 0 } else { 1 + usize::from(!node.is(Role::ControlPlane)) }
        };
        let mut before: Vec<Op> = Vec::new();
        for wanted in 0..3 {
            let group = self.nodes.iter().filter(|entry| rank(entry) == wanted);
            let ends: Vec<Op> =
                group.map(|(node, todo)| self.one(cx, node, todo, &before, only, drain_within)).collect();
            before.extend(ends);
        }
        Ok(())
    }

    /// One node; the op after which it is done.
    fn one(
        &self,
        cx: &Context,
        node: &Node,
        todo: &Todo,
        before: &[Op],
        only: bool,
        drain_within: Duration,
    ) -> Op {
        let plan = cx.plan();
        let (from, to) = (todo.names(), self.to.name);
        let alone = if only && node.is(Role::ControlPlane) {
            "; the API is away for about half a minute, for there is no other control plane"
        } else {
            ""
        };
        let reason = format!("every container on the node ends and starts anew with {to}{alone}");
        let script = |verb: &str| self.script(cx, verb, node, todo);

        if todo.drain {
            script("pull")
                .summary(format!("pull the images of the node's own pods with {to}"))
                .timeout(PULLING);
            let drain = plan.drain(node).timeout(drain_within).disruptive(&reason);
            drop(drain.after_all(before));
        }
        let switched = todo.switch.then(|| {
            script("switch")
                .summary(format!("switch the kubelet from {from} to {to}"))
                .timeout(LONGEST)
                .disruptive(&reason)
        });
        let open = plan.uncordon(node);
        if let Some(switched) = &switched {
            // Nobody has closed the node yet when the plan is made.
            drop(open.only_for(switched));
        }
        script("end").summary(format!("the switch to {to} is done")).provides("runtime")
    }

    fn script(&self, cx: &Context, verb: &str, node: &Node, todo: &Todo) -> Op {
        let server = match node.is(Role::ControlPlane) {
            true => node.at_port(crate::kubeadm::API_PORT),
            false => "-".into(),
        };
        let Runtime { reports, socket, unit, .. } = self.to;
        let mut argv = argv!["sh", "-s", "--", verb, node.name.as_str(), server, reports, socket, unit];
        for runtime in &todo.from {
            argv.extend(argv![runtime.socket, runtime.unit]);
        }
        cx.plan().exec(node, argv).stdin(SCRIPT)
    }
}

#[cfg(test)]
mod tests;
