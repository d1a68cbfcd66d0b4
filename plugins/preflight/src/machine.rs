//! What one machine must have.

use ksp_sdk::prelude::*;

use crate::{Found, Preflight};

/// What is looked at; none for what is not known, which is no finding.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Machine {
    os: Option<String>,
    arch: Option<String>,
    kernel: Option<String>,
    memory_bytes: Option<u64>,
    var_free_bytes: Option<u64>,
    clock_offset_ms: Option<i64>,
    cgroup: Option<String>,
    nameservers: Option<Vec<String>>,
    ports: Vec<u16>,
    systemd: bool,
    has_default_route: bool,
}

impl Machine {
    /// From a node's facts.
    pub fn read(facts: &Facts) -> Self {
        Self {
            os: facts.text("os.id"),
            arch: Some(facts.arch()),
            kernel: facts.text("kernel.release"),
            memory_bytes: facts.number("memory.total-bytes"),
            var_free_bytes: facts.number("disk.var.free-bytes"),
            clock_offset_ms: facts.read("time.offset-ms"),
            cgroup: facts.text("cgroup.version"),
            nameservers: facts.read("dns.nameservers"),
            ports: tcp_ports(facts.read("listening").unwrap_or_default()),
            systemd: facts.probe("systemd").is_some_and(|probe| probe.status == 0),
            has_default_route: facts.get("network.default-interface").is_some(),
        }
    }
}

#[derive(Deserialize)]
struct Listener {
    protocol: String,
    port: u16,
}

fn tcp_ports(listeners: Vec<Listener>) -> Vec<u16> {
    listeners
        .iter()
        .filter(|listener| listener.protocol.starts_with("tcp"))
        .map(|listener| listener.port)
        .collect()
}

/// Families that the stages know how to prepare.
const SYSTEMS: &[&str] = &[
    "debian",
    "ubuntu",
    "rhel",
    "rocky",
    "almalinux",
    "centos",
    "fedora",
    "ol",
    "amzn",
    "opensuse-leap",
    "sles",
    "flatcar",
];

/// The API server, etcd, scheduler, controller manager.
const CONTROL_PLANE_PORTS: &[u16] = &[6443, 2379, 2380, 10257, 10259];
/// A member of an external etcd: clients, members, its own metrics.
const ETCD_PORTS: &[u16] = &[2379, 2380, 2381];
const KUBELET_PORT: u16 = 10250;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// All findings about a machine. Ports, memory and disk matter only before it has joined.
pub fn check(limits: &Preflight, node: &Node, machine: &Machine, joined: bool) -> Vec<Found> {
    let mut found = system(limits, machine);
    if !joined {
        found.extend(resources(limits, node, machine));
        found.extend(ports(node, machine));
    }
    found.extend(clock(limits, machine));
    found
}

fn system(limits: &Preflight, machine: &Machine) -> Vec<Found> {
    let mut found = Vec::new();
    if let Some(os) = &machine.os
        && !SYSTEMS.contains(&os.as_str())
    {
        let message = format!("the operating system `{os}` has not been tried");
        found.push(Found::warning("preflight.os", message, "Debian, Ubuntu and the RHEL family have been"));
    }
    if let Some(arch) = &machine.arch
        && !["amd64", "arm64"].contains(&arch.as_str())
    {
        let message = format!("there are no release files for the architecture `{arch}`");
        found.push(Found::error("preflight.arch", message, "amd64 and arm64 are supported"));
    }
    if let Some(kernel) = &machine.kernel
        && version_of(kernel) < (5, 4)
    {
        let message = format!("Linux {kernel} is too old");
        found.push(Found::error(
            "preflight.kernel",
            message,
            "5.4 is the oldest that works, 5.13 the oldest with everything",
        ));
    }
    if !machine.systemd {
        found.push(Found::error(
            "preflight.systemd",
            "systemd does not run",
            "the kubelet and the runtime are its units",
        ));
    }
    if machine.cgroup.as_deref().is_some_and(|version| version != "v2") && !limits.allow_cgroup_v1 {
        let message = "cgroup v1 is in use, which the kubelet refuses since 1.35";
        let hint = "boot with `systemd.unified_cgroup_hierarchy=1`, or set `allow-cgroup-v1` and the kubelet's `failCgroupV1 = false`";
        found.push(Found::error("preflight.cgroup", message, hint));
    }
    if machine.nameservers.as_ref().is_some_and(Vec::is_empty) {
        found.push(Found::warning(
            "preflight.dns",
            "/etc/resolv.conf names no server",
            "names outside the cluster will not resolve",
        ));
    }
    if !machine.has_default_route {
        found.push(Found::warning(
            "preflight.route",
            "there is no default route",
            "Services need one to leave the node",
        ));
    }
    found
}

/// "6.18.44-fc" is (6, 18); what cannot be read counts as new.
fn version_of(release: &str) -> (u32, u32) {
    let mut parts = release.split(['.', '-']).map(|part| part.parse().ok());
    match (parts.next().flatten(), parts.next().flatten()) {
        (Some(major), Some(minor)) => (major, minor),
        _ => (u32::MAX, 0),
    }
}

fn resources(limits: &Preflight, node: &Node, machine: &Machine) -> Vec<Found> {
    let mut found = Vec::new();
    let needed = if node.is(Role::ControlPlane) { limits.control_plane_memory } else { limits.memory };
    if let Some(bytes) = machine.memory_bytes
        && bytes / MIB < needed
    {
        let message = format!("{} MiB of memory, {needed} are needed", bytes / MIB);
        found.push(Found::error(
            "preflight.memory",
            message,
            "the limit is `control-plane-memory` or `memory` of this stage",
        ));
    }
    if let Some(bytes) = machine.var_free_bytes
        && bytes / GIB < limits.disk
    {
        let message = format!("{} GiB are free below /var, {} are needed", bytes / GIB, limits.disk);
        found.push(Found::error(
            "preflight.disk",
            message,
            "images and etcd live there; the limit is `disk` of this stage",
        ));
    }
    found
}

fn ports(node: &Node, machine: &Machine) -> Vec<Found> {
    let mut needed = Vec::new();
    if node.is(Role::ControlPlane) {
        needed.extend_from_slice(CONTROL_PLANE_PORTS);
    }
    if node.is(Role::Etcd) {
        needed.extend_from_slice(ETCD_PORTS);
    }
    if node.is(Role::ControlPlane) || node.is(Role::Worker) {
        needed.push(KUBELET_PORT);
    }
    needed.sort_unstable();
    needed.dedup();
    let taken: Vec<String> =
        needed.iter().filter(|port| machine.ports.contains(port)).map(|port| port.to_string()).collect();
    if taken.is_empty() {
        return Vec::new();
    }
    let message = format!("something listens already on TCP {}", taken.join(", "));
    vec![Found::warning(
        "preflight.ports",
        message,
        "what an interrupted run has started is fine; `ss -ltnp` shows who it is",
    )]
}

fn clock(limits: &Preflight, machine: &Machine) -> Option<Found> {
    let offset = machine.clock_offset_ms?.unsigned_abs();
    (offset > limits.clock_skew).then(|| {
        let message = format!("the clock differs by {:.1} s from this machine's", offset as f64 / 1000.0);
        Found::error(
            "preflight.clock",
            message,
            "run chrony or systemd-timesyncd on both; certificates and etcd depend on it",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(role: &str) -> Node {
        Node::for_test(
            0,
            serde_json::from_value(json!({ "name": "n", "address": "10.0.0.1", "roles": [role] })).unwrap(),
        )
    }

    fn fit() -> Machine {
        Machine {
            os: Some("debian".into()),
            arch: Some("amd64".into()),
            kernel: Some("6.1.0-18-amd64".into()),
            memory_bytes: Some(4 * GIB),
            var_free_bytes: Some(40 * GIB),
            clock_offset_ms: Some(-3),
            cgroup: Some("v2".into()),
            nameservers: Some(vec!["10.0.0.53".into()]),
            ports: vec![22],
            systemd: true,
            has_default_route: true,
        }
    }

    fn codes(machine: &Machine, role: &str, joined: bool) -> Vec<&'static str> {
        check(&Preflight::default(), &node(role), machine, joined).iter().map(|found| found.code).collect()
    }

    #[test]
    fn a_fit_machine_has_no_findings() {
        assert_eq!(codes(&fit(), "control-plane", false), [""; 0]);
    }

    /// T30.
    #[test]
    fn everything_wrong_is_found_at_once() {
        let machine = Machine {
            os: Some("plan9".into()),
            arch: Some("riscv64".into()),
            kernel: Some("4.19.0".into()),
            memory_bytes: Some(MIB),
            var_free_bytes: Some(GIB),
            clock_offset_ms: Some(40_000),
            cgroup: Some("v1".into()),
            nameservers: Some(Vec::new()),
            ports: vec![6443],
            systemd: false,
            has_default_route: false,
        };
        let all = [
            "preflight.os",
            "preflight.arch",
            "preflight.kernel",
            "preflight.systemd",
            "preflight.cgroup",
            "preflight.dns",
            "preflight.route",
            "preflight.memory",
            "preflight.disk",
            "preflight.ports",
            "preflight.clock",
        ];
        assert_eq!(codes(&machine, "control-plane", false), all);
    }

    #[test]
    fn an_etcd_node_needs_its_ports_and_the_right_time() {
        let machine = Machine { ports: vec![2380, 6443, 10250], clock_offset_ms: Some(40_000), ..fit() };
        assert_eq!(codes(&machine, "etcd", false), ["preflight.ports", "preflight.clock"]);
        assert_eq!(codes(&machine, "etcd", true), ["preflight.clock"]);
        let machine = Machine { ports: vec![6443, 10250], ..fit() };
        assert_eq!(codes(&machine, "etcd", false), [""; 0]);
    }

    #[test]
    fn a_member_is_not_asked_for_free_ports() {
        let machine = Machine { ports: vec![6443, 10250], memory_bytes: Some(MIB), ..fit() };
        assert_eq!(codes(&machine, "control-plane", true), [""; 0]);
    }

    #[test]
    fn what_is_not_known_is_no_finding() {
        let machine = Machine { systemd: true, has_default_route: true, ..Machine::default() };
        assert_eq!(codes(&machine, "worker", false), [""; 0]);
    }
}
