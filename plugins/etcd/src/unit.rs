//! etcd's systemd unit.

use crate::layout::{BEGINNING, CONFIG, DATA, PROGRAMS, USER};

/// The unit. etcd tells systemd that it is ready when it has joined its cluster, which a lonely first member cannot: systemd then
/// goes on trying.
pub fn etcd(open_files: u32) -> String {
    format!(
        "[Unit]
Description=etcd: the cluster's memory
Documentation=https://etcd.io
Wants=network-online.target
After=network-online.target
RequiresMountsFor={DATA}

[Service]
Type=notify
User={USER}
Group={USER}
ExecStart=/bin/sh -c 'file={CONFIG}; [ ! -e {BEGINNING} ] || file={BEGINNING}; exec {PROGRAMS}/etcd --config-file=\"$$file\"'
Restart=always
RestartSec=5
TimeoutStartSec=90
LimitNOFILE={open_files}
OOMScoreAdjust=-999
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
"
    )
}
