//! The systemd units.

use crate::EtcdBackup;

/// One backup. It comes after everything else that wants the disk or the processor.
pub fn service(script: &str, settings: &str) -> String {
    format!(
        "[Unit]
Description=Snapshot of the etcd member on this node

[Service]
Type=oneshot
EnvironmentFile={settings}
ExecStart={script}
TimeoutStartSec=30min
Nice=10
IOSchedulingClass=idle
NoNewPrivileges=yes
PrivateTmp=yes
ProtectHome=yes
"
    )
}

/// When. The first one comes soon after the timer was set up, and one that was missed while the machine was off is made up for.
pub fn timer(config: &EtcdBackup) -> String {
    format!(
        "[Unit]
Description=Snapshots of the etcd member on this node

[Timer]
OnActiveSec=1min
OnCalendar={}
RandomizedDelaySec={}min
FixedRandomDelay=yes
Persistent=yes

[Install]
WantedBy=timers.target
",
        config.schedule, config.delay_minutes
    )
}
