//! containerd's systemd unit.

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
