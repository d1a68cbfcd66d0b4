//! A virtual address that one of the control planes holds, by VRRP between their own addresses.

use std::net::IpAddr;

use ksp_sdk::kubeadm::API_PORT;
use ksp_sdk::prelude::*;

use crate::not_virtual;

const UNIT: &str = "ksp-api-vip.service";
const UNIT_FILE: &str = "/etc/systemd/system/ksp-api-vip.service";
const CONFIG: &str = "/etc/ksp/api-vip/keepalived.conf";
const CHECK: &str = "/etc/ksp/api-vip/check.sh";

/// The same on all: a control plane that comes back does not take the address from one that serves.
const PRIORITY: u8 = 100;
/// Added while the API server of the node is ready. Without one anywhere somebody holds the address all the same, which is how the
/// first API server is found.
const WEIGHT: u8 = 50;

/// Config of mode `keepalived`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Keepalived {
    /// Number of the virtual router, 1 to 255; no other one on the same network may have it. 0 makes one of the cluster's name.
    pub router_id: u8,
    /// Network interface that gets the address; empty takes the one with the node's own address.
    pub interface: String,
    /// Length of the network's prefix that the address gets; 0 makes it a single address.
    #[schemars(range(max = 128))]
    pub prefix: u8,
}

/// FNV-1a: stable, and apart for names that differ in one letter.
fn router_id(cluster: &str) -> u8 {
    let hash = cluster
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    u8::try_from(hash % 255).unwrap_or_default() + 1
}

/// The interface that has a node's address.
fn interface_of(node: &Node, facts: &Facts) -> Option<String> {
    #[derive(Deserialize)]
    struct Address {
        address: IpAddr,
        interface: Option<String>,
    }
    let own: IpAddr = node.address.parse().ok()?;
    let addresses: Vec<Address> = facts.read("addresses")?;
    addresses.into_iter().find(|it| it.address == own)?.interface
}

impl Keepalived {
    /// The endpoint must be an address that no machine has for itself.
    pub fn findings(&self, spec: &Spec, nodes: &Nodes) -> Vec<Finding> {
        let mut findings: Vec<Finding> = not_virtual(spec, nodes).into_iter().collect();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !self.interface.chars().all(plain) {
            findings.push(Finding::error(
                "/keepalived/interface",
                format!("`{}` is not the name of a network interface", self.interface),
            ));
        }
        findings
    }

    pub fn plan(&self, cx: &Context, control_planes: &Nodes) -> Result<()> {
        let plan = cx.plan();
        let spec = cx.spec()?;
        let package = plan.packages(control_planes, ["keepalived", "curl"]);
        plan.exec(control_planes, ["systemctl", "disable", "--now", "keepalived.service"])
            .summary("keep the service that came with the package from running: the address has its own")
            .on_change(&package);
        let unit = plan.file(control_planes, UNIT_FILE, unit());
        for (node, facts) in control_planes.with_facts() {
            let interface = match self.interface.as_str() {
                "" => interface_of(node, &facts),
                given => Some(given.to_owned()),
            };
            let Some(interface) = interface else {
                let message = format!("no network interface of the node has its address {}", node.address);
                let hint = Some("name it: `keepalived = { interface = \"…\" }` in the stage's config");
                plan.finding(Some(node), Severity::Error, "load-balancer.no-interface", message, hint);
                continue;
            };
            let check = plan.file(node, CHECK, check(node)).mode(0o755);
            let config = plan.file(node, CONFIG, self.config(&spec, node, control_planes, &interface));
            plan.exec(node, ["systemctl", "try-reload-or-restart", UNIT])
                .summary("reload the holder of the virtual address; the address stays where it is")
                .on_change(&config)
                .on_change(&check);
        }
        plan.restart(control_planes, UNIT)
            .on_change(&unit)
            .disruptive("the virtual address moves to another control plane");
        plan.service(control_planes, UNIT);
        Ok(())
    }

    fn config(&self, spec: &Spec, node: &Node, control_planes: &Nodes, interface: &str) -> String {
        let peers: String = control_planes
            .iter()
            .filter(|peer| peer.id != node.id)
            .map(|peer| format!("        {}\n", peer.address))
            .collect();
        let id = if self.router_id == 0 { router_id(&spec.name) } else { self.router_id };
        let host = spec.endpoint_host();
        let single = if host.contains(':') { 128 } else { 32 };
        let prefix = if self.prefix == 0 { single } else { self.prefix };
        // Alone, it has nobody to tell; without the block it would tell everybody.
        let peers = if peers.is_empty() { "        127.0.0.1\n".to_owned() } else { peers };
        format!(
            "# The address of this cluster's API. Written by ksp (stage load-balancer).
global_defs {{
    router_id {name}
    script_user nobody
    enable_script_security
    vrrp_garp_master_refresh 60
}}

vrrp_script api {{
    script \"{CHECK}\"
    interval 2
    timeout 4
    fall 2
    rise 1
    weight {WEIGHT}
}}

vrrp_instance api {{
    state BACKUP
    interface {interface}
    virtual_router_id {id}
    priority {PRIORITY}
    advert_int 1
    unicast_src_ip {own}
    unicast_peer {{
{peers}    }}
    virtual_ipaddress {{
        {host}/{prefix} dev {interface}
    }}
    track_script {{
        api
    }}
}}
",
            name = node.name,
            own = node.address,
        )
    }
}

/// Whether the node's own API server is ready. Without anonymous access the question is refused, by a server that works.
fn check(node: &Node) -> String {
    let server = node.at_port(API_PORT);
    format!(
        "#!/bin/sh
# Is the API server of this node ready? Written by ksp (stage load-balancer).
case $(curl --silent --insecure --noproxy '*' --max-time 3 --output /dev/null --write-out '%{{http_code}}' https://{server}/readyz) in
200 | 401) exit 0 ;;
esac
exit 1
"
    )
}

/// Not tested before: `keepalived --config-test` of Debian 12 ends itself by a signal.
fn unit() -> String {
    format!(
        "[Unit]
Description=Virtual address of the Kubernetes API
After=network-online.target
Wants=network-online.target
Before=kubelet.service

[Service]
Type=simple
RuntimeDirectory=ksp-api-vip
RuntimeDirectoryMode=0700
ExecStart=/usr/sbin/keepalived --dont-fork --log-console --no-syslog --vrrp --use-file={CONFIG} --pid=/run/ksp-api-vip/keepalived.pid --vrrp_pid=/run/ksp-api-vip/vrrp.pid
ExecReload=/bin/kill -HUP $MAINPID
KillMode=mixed
Restart=always
RestartSec=1
NoNewPrivileges=yes
ProtectSystem=strict
ReadWritePaths=/run
ProtectHome=yes
PrivateTmp=yes

[Install]
WantedBy=multi-user.target
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn router_ids_are_stable_and_in_range() {
        assert_eq!(router_id("prod"), router_id("prod"));
        assert_ne!(router_id("prod"), router_id("test"));
        assert!((0..2000).map(|number| router_id(&number.to_string())).all(|id| id > 0));
    }
}
