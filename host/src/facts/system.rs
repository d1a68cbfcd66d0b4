//! What the machine is: operating system, architecture, names, identity, boot.

use super::sheet::{Detector, Sheet, pairs};

pub(crate) const DETECTORS: &[Detector] = &[
    Detector { name: "os", script: "cat /etc/os-release || cat /usr/lib/os-release", read: os },
    Detector {
        name: "identity",
        script: "echo \"machine $(uname -m)\";echo \"release $(uname -r)\";echo \"hostname $(cat /proc/sys/kernel/hostname)\";\
                 echo \"machine-id $(cat /etc/machine-id)\";echo \"uuid $(cat /sys/class/dmi/id/product_uuid)\";\
                 echo \"virtualization $(systemd-detect-virt)\"",
        read: identity,
    },
    Detector {
        name: "boot",
        script: "echo \"boot-id $(cat /proc/sys/kernel/random/boot_id)\";echo \"pid1 $(cat /proc/1/stat)\";\
                 echo \"hz $(getconf CLK_TCK)\";grep '^btime ' /proc/stat",
        read: boot,
    },
];

fn os(text: &str, sheet: &mut Sheet) {
    for (key, value) in pairs(text, '=') {
        let value = value.trim_matches(['"', '\'']);
        match key {
            "ID" => sheet.set_text("os.id", value),
            "ID_LIKE" => sheet.set("os.like", value.split_whitespace().collect::<Vec<_>>()),
            "VERSION_ID" => sheet.set_text("os.version", value),
            "VERSION_CODENAME" => sheet.set_text("os.codename", value),
            "PRETTY_NAME" => sheet.set_text("os.name", value),
            _ => {}
        }
    }
}

fn identity(text: &str, sheet: &mut Sheet) {
    for (key, value) in pairs(text, ' ') {
        match key {
            "machine" => {
                let arch = match value {
                    "x86_64" => "amd64",
                    "aarch64" => "arm64",
                    other => other,
                };
                sheet.set_text("arch", arch);
            }
            "release" => sheet.set_text("kernel.release", value),
            "hostname" => sheet.set_text("hostname", value),
            "machine-id" => sheet.set_text("machine-id", value),
            "uuid" => sheet.set_text("product-uuid", &value.to_lowercase()),
            "virtualization" => sheet.set_text("virtualization", value),
            _ => {}
        }
    }
}

/// The kernel's boot id is the machine's: a container that starts again keeps it. The start of PID 1 tells both apart.
fn boot(text: &str, sheet: &mut Sheet) {
    let (mut id, mut ticks, mut hz, mut since) = ("", None, 100_u64, None);
    for (key, value) in pairs(text, ' ') {
        match key {
            "boot-id" => id = value,
            // Field 22; the second, in brackets, may hold anything.
            "pid1" => {
                let rest = value.rsplit_once(')').map_or("", |(_, rest)| rest);
                ticks = rest.split_whitespace().nth(19).and_then(|field| field.parse::<u64>().ok());
            }
            "hz" => hz = value.parse().ok().filter(|hz| *hz > 0).unwrap_or(hz),
            "btime" => since = value.parse::<u64>().ok(),
            _ => {}
        }
    }
    if let Some(ticks) = ticks {
        if !id.is_empty() {
            sheet.set("boot.id", format!("{id}:{ticks}"));
        }
        if let Some(since) = since {
            sheet.set("boot.time", since + ticks / hz);
        }
    }
}
