//! CRI-O's systemd unit, as upstream ships it.

use crate::Proxy;

/// The unit. Containers outlive a restart: their monitors are in scopes of their own.
pub fn crio(open_files: u32) -> String {
    format!(
        "[Unit]
Description=Container Runtime Interface for OCI (CRI-O)
Documentation=https://github.com/cri-o/cri-o
Wants=network-online.target
Before=kubelet.service
After=network-online.target

[Service]
Type=notify
Environment=GOTRACEBACK=crash
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/crio
ExecReload=/bin/kill -s HUP $MAINPID
Restart=always
RestartSec=5
OOMScoreAdjust=-999
LimitNOFILE={open_files}
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
TimeoutStartSec=0

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
        .map(|(name, value)| format!("Environment=\"{name}={}\"\n", escape(value)))
        .collect();
    if lines.is_empty() { lines } else { format!("[Service]\n{lines}") }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")
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
