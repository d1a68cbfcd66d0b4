//! A balancer on loopback of every node, as a systemd service: it runs before any kubelet does, and takes another list of control
//! planes by a reload. What kubeadm writes is right on every node, because the endpoint is the same on each.

use ksp_sdk::kubeadm::API_PORT;
use ksp_sdk::prelude::*;

use crate::address;

const UNIT: &str = "ksp-api-balancer.service";
const UNIT_FILE: &str = "/etc/systemd/system/ksp-api-balancer.service";
const CONFIG: &str = "/etc/ksp/api-balancer/haproxy.cfg";

/// Ports of nodes that Kubernetes, etcd and NodePort Services listen on.
const TAKEN: [std::ops::RangeInclusive<u16>; 4] =
    [API_PORT..=API_PORT, 2379..=2381, 10248..=10259, 30000..=32767];

/// Config of mode `haproxy`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Haproxy {
    /// Milliseconds between two questions to a control plane.
    #[schemars(range(min = 200, max = 60_000))]
    pub check_interval: u32,
    /// Failed questions in a row after which a control plane gets no more connections and loses those it has.
    #[schemars(range(min = 1, max = 10))]
    pub fall: u32,
    /// Statuses of an API server's answer to `/readyz` that mean that it works. Without anonymous access it is 401; where RBAC refuses
    /// anonymous requests, add 403, which a server that has just started also answers to everybody.
    pub ready_statuses: Vec<u16>,
    /// Connections at a time on a node; open files are twice that and some.
    #[schemars(range(min = 100, max = 100_000))]
    pub max_connections: u32,
}

impl Default for Haproxy {
    fn default() -> Self {
        Self { check_interval: 1000, fall: 3, ready_statuses: vec![200, 401], max_connections: 4000 }
    }
}

impl Haproxy {
    /// The endpoint must be loopback, at a port that is free on control planes too.
    pub fn findings(&self, spec: &Spec) -> Vec<Finding> {
        let endpoint = &spec.endpoint;
        let wrong = |message: String| {
            vec![
                Finding::error("/mode", message)
                    .hint("write `endpoint = \"127.0.0.1:7443\"` in `[cluster]`; it cannot be changed once the cluster is there"),
            ]
        };
        if self.ready_statuses.is_empty()
            || self.ready_statuses.iter().any(|status| !(100..600).contains(status))
        {
            let message = "these are not HTTP statuses by which a control plane can be known to work";
            return vec![
                Finding::error("/haproxy/ready-statuses", message).hint("the usual ones are [200, 401]"),
            ];
        }
        let port = spec.endpoint_port();
        if !address(spec).is_some_and(|address| address.is_loopback()) {
            return wrong(format!(
                "the endpoint `{endpoint}` is not a loopback address, where the balancer of each node listens"
            ));
        }
        if port < 1024 {
            return wrong(format!(
                "port {port} of the endpoint needs rights that the balancer does not have"
            ));
        }
        if TAKEN.iter().any(|ports| ports.contains(&port)) {
            return wrong(format!("port {port} of the endpoint is used by Kubernetes itself on some nodes"));
        }
        Vec::new()
    }

    pub fn plan(&self, cx: &Context, nodes: &Nodes, control_planes: &Nodes) -> Result<()> {
        let plan = cx.plan();
        let package = plan.packages(nodes, ["haproxy"]);
        // Not for a package that was there before: then it is the user's.
        plan.exec(nodes, ["systemctl", "disable", "--now", "haproxy.service"])
            .summary("stop the service that came with the package: the balancer has its own")
            .on_change(&package);
        let config = plan.file(nodes, CONFIG, self.config(&cx.spec()?, control_planes));
        let unit = plan.file(nodes, UNIT_FILE, self.unit());
        // HAProxy checks the file first; connections stay with the process that has them. Nothing happens while it does not run.
        plan.exec(nodes, ["systemctl", "try-reload-or-restart", UNIT])
            .summary("reload the balancer of the API; connections stay")
            .on_change(&config);
        plan.restart(nodes, UNIT)
            .on_change(&unit)
            .disruptive("the node's connections to the API are cut, and made again at once");
        plan.service(nodes, UNIT);
        Ok(())
    }

    /// - The question is the API server's own readiness: a server that has just started refuses what it will allow in a moment.
    /// - A machine that is gone says nothing: connecting ends after a second, and the checks after the first one come faster. An
    ///   answer may take longer, or a busy control plane would lose all its clients.
    /// - A process that was reloaded checks no more; what is left of its connections finds a dead far end by TCP's own means.
    fn config(&self, spec: &Spec, control_planes: &Nodes) -> String {
        let servers: String = control_planes
            .iter()
            .map(|node| format!("    server {} {}\n", node.name, node.at_port(API_PORT)))
            .collect();
        let Self { check_interval, fall, max_connections, .. } = self;
        let statuses: Vec<String> = self.ready_statuses.iter().map(u16::to_string).collect();
        format!(
            "# The API of this cluster on loopback. Written by ksp (stage load-balancer).
global
    quiet
    log stdout format raw daemon notice
    maxconn {max_connections}
    nbthread 1
    stats socket /run/ksp-api-balancer/admin.sock mode 600 level operator
    mworker-max-reloads 5

defaults
    mode tcp
    log global
    maxconn {max_connections}
    retries 3
    option redispatch 1
    option srvtcpka
    srvtcpka-idle 4s
    srvtcpka-intvl 1s
    srvtcpka-cnt 3
    timeout connect 1s
    timeout check 5s
    timeout queue 5s
    # Watches are silent for long; dead ends are found by keepalives.
    timeout client 24h
    timeout server 24h
    timeout client-fin 30s
    timeout server-fin 30s

frontend api
    bind {endpoint}
    default_backend control-planes

backend control-planes
    balance leastconn
    option httpchk
    http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host kubernetes hdr User-Agent ksp-api-balancer
    http-check expect status {statuses}
    default-server check check-ssl verify none inter {check_interval}ms fastinter {fast}ms fall {fall} rise 1 on-marked-down shutdown-sessions tcp-ut 10s
{servers}",
            endpoint = spec.endpoint,
            statuses = statuses.join(","),
            fast = check_interval / 2,
        )
    }

    fn unit(&self) -> String {
        format!(
            "[Unit]
Description=Balancer of the Kubernetes API on loopback
After=network.target
Before=kubelet.service

[Service]
Type=notify
User=haproxy
Group=haproxy
RuntimeDirectory=ksp-api-balancer
RuntimeDirectoryMode=0700
ExecStart=/usr/sbin/haproxy -Ws -f {CONFIG}
ExecReload=/usr/sbin/haproxy -c -q -f {CONFIG}
ExecReload=/bin/kill -USR2 $MAINPID
KillMode=mixed
SuccessExitStatus=143
Restart=always
RestartSec=1
LimitNOFILE={open_files}
CapabilityBoundingSet=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX
RestrictNamespaces=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
",
            open_files = 2 * self.max_connections + 1000,
        )
    }
}
