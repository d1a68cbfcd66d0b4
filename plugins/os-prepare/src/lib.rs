//! What every node needs before a container runtime: kernel modules, kernel parameters, no swap, and a NetworkManager that leaves
//! the interfaces of pods alone.

use std::collections::BTreeMap;

use ksp_sdk::prelude::*;

/// Config of `ksp/os-prepare`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct OsPrepare {
    /// What happens to swap. The kubelet refuses to start with swap on unless it is configured for it.
    pub swap: Swap,
    /// Kernel modules in addition to `overlay` and `br_netfilter`.
    pub modules: Vec<String>,
    /// Kernel parameters in addition to, or instead of, those in this plugin's README.
    pub sysctls: BTreeMap<String, String>,
    /// Packages of the distribution to install on every node.
    pub packages: Vec<String>,
}

/// What happens to swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Swap {
    /// Off, now and at boot.
    Off,
    /// Left as it is.
    Keep,
}

impl Default for OsPrepare {
    fn default() -> Self {
        Self { swap: Swap::Off, modules: Vec::new(), sysctls: BTreeMap::new(), packages: Vec::new() }
    }
}

/// The five `kernel.*` and `vm.*` values are what the kubelet's `protectKernelDefaults` checks; the rest is what bridges, many
/// watches and NodePorts need. The table is `kubernetes.md` 4.3.
const SYSCTLS: &[(&str, &str)] = &[
    ("net.ipv4.ip_forward", "1"),
    ("net.bridge.bridge-nf-call-iptables", "1"),
    ("net.bridge.bridge-nf-call-ip6tables", "1"),
    ("net.ipv4.ip_local_reserved_ports", "30000-32767"),
    ("kernel.panic", "10"),
    ("kernel.panic_on_oops", "1"),
    ("kernel.keys.root_maxbytes", "25000000"),
    ("kernel.keys.root_maxkeys", "1000000"),
    ("vm.overcommit_memory", "1"),
    ("vm.panic_on_oom", "0"),
    ("fs.inotify.max_user_instances", "8192"),
    ("fs.inotify.max_user_watches", "524288"),
];

const MODULES: &[&str] = &["overlay", "br_netfilter"];

const NETWORK_MANAGER_FILE: &str = "/etc/NetworkManager/conf.d/90-kubernetes.conf";

/// Interfaces that network plugins make: NetworkManager would take their addresses and routes away.
const UNMANAGED: &str = "[keyfile]
unmanaged-devices=interface-name:cali*;interface-name:tunl*;interface-name:vxlan.calico;interface-name:flannel*;\
interface-name:cni*;interface-name:cilium*;interface-name:lxc*;interface-name:veth*;interface-name:kube-ipvs0;\
interface-name:nodelocaldns
";

impl OsPrepare {
    fn sysctls(&self) -> BTreeMap<String, String> {
        let defaults = SYSCTLS.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        defaults.chain(self.sysctls.clone()).collect()
    }

    fn modules(&self) -> Vec<String> {
        let mut names: Vec<String> = MODULES.iter().map(|name| (*name).to_owned()).collect();
        for name in &self.modules {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

impl Stage for OsPrepare {
    fn validate(&self, _cx: &Context) -> Vec<Finding> {
        self.sysctls
            .iter()
            .filter(|(key, _)| key.contains('/') || key.contains(char::is_whitespace))
            .map(|(key, _)| {
                Finding::error(
                    format!("/sysctls/{}", key.replace('~', "~0").replace('/', "~1")),
                    "not a kernel parameter",
                )
                .hint("write it with dots, such as `net.ipv4.ip_forward`")
            })
            .collect()
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("*")?;
        let plan = cx.plan();
        if !self.packages.is_empty() {
            plan.packages(&nodes, self.packages.clone());
        }
        plan.kernel_modules(&nodes, self.modules());
        plan.sysctl(&nodes, self.sysctls());
        if self.swap == Swap::Off {
            plan.swap_off(&nodes);
        }
        for (node, facts) in nodes.with_facts() {
            if facts.probe("network-manager").is_some_and(|probe| probe.status == 0) {
                let config = plan.file(node, NETWORK_MANAGER_FILE, UNMANAGED);
                plan.restart(node, "NetworkManager.service")
                    .on_change(&config)
                    .disruptive("NetworkManager reads its configuration again");
            }
        }
        Ok(())
    }
}

ksp_sdk::register!(OsPrepare);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_s_sysctls_win() {
        let stage = OsPrepare {
            sysctls: BTreeMap::from([
                ("kernel.panic".into(), "0".into()),
                ("vm.swappiness".into(), "1".into()),
            ]),
            ..OsPrepare::default()
        };
        let sysctls = stage.sysctls();
        assert_eq!(sysctls["kernel.panic"], "0");
        assert_eq!(sysctls["vm.swappiness"], "1");
        assert_eq!(sysctls.len(), SYSCTLS.len() + 1);
    }

    #[test]
    fn modules_are_not_doubled() {
        let stage = OsPrepare { modules: vec!["overlay".into(), "ip_vs".into()], ..OsPrepare::default() };
        assert_eq!(stage.modules(), ["overlay", "br_netfilter", "ip_vs"]);
    }
}
