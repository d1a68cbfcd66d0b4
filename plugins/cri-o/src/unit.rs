//! CRI-O's systemd unit, as upstream ships it.

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
