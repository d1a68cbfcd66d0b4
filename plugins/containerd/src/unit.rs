//! containerd's systemd unit.

use crate::Proxy;

/// The unit. `KillMode=process` and `Delegate` keep containers alive across a restart of the daemon.
pub fn containerd(open_files: u32) -> String {
    format!(
        "[Unit]
Description=containerd container runtime
Documentation=https://containerd.io
After=network.target local-fs.target

[Service]
Type=notify
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/containerd
Restart=always
RestartSec=5
Delegate=yes
KillMode=process
OOMScoreAdjust=-999
LimitNOFILE={open_files}
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity

[Install]
WantedBy=multi-user.target
"
    )
}

/// The drop-in with the proxy; empty without one. Addresses can carry a password: the file is for root only.
pub fn proxy(proxy: &Proxy) -> String {
    let no_proxy = proxy.no_proxy.join(",");
    let variables = [("HTTP_PROXY", &proxy.http), ("HTTPS_PROXY", &proxy.https), ("NO_PROXY", &no_proxy)];
    let lines: String = variables
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| {
            format!(
                "Environment=\"{name}={}\"\n",
                value.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")
            )
        })
        .collect();
    if lines.is_empty() { lines } else { format!("[Service]\n{lines}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_proxy_there_is_no_drop_in() {
        assert_eq!(proxy(&Proxy::default()), "");
    }

    #[test]
    fn specifiers_of_systemd_are_escaped() {
        let text = proxy(&Proxy { http: "http://u:p%40@proxy:3128".into(), ..Proxy::default() });
        assert_eq!(text, "[Service]\nEnvironment=\"HTTP_PROXY=http://u:p%%40@proxy:3128\"\n");
    }
}
