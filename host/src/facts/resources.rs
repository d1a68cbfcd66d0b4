//! How much there is: memory, processors, disk space, swap.

use serde_json::{Value, json};

use super::sheet::{Detector, Sheet, pairs};

pub(crate) const DETECTORS: &[Detector] = &[
    Detector { name: "memory", script: "grep -E '^(MemTotal|MemAvailable):' /proc/meminfo", read: memory },
    Detector { name: "cpu", script: "nproc || grep -c '^processor' /proc/cpuinfo", read: cpu },
    Detector {
        name: "disk",
        // A path that does not exist yet will be on the file system of the nearest folder that does.
        script: "for p in / /var /var/lib;do d=$p;while [ ! -e \"$d\" ];do d=${d%/*};d=${d:-/};done;\
                 echo \"$p $(df -P -B1 \"$d\" | tail -n 1) $(df -P -i \"$d\" | tail -n 1)\";done",
        read: disk,
    },
    Detector { name: "swap", script: "cat /proc/swaps", read: swap },
    Detector {
        name: "mounts",
        script: "grep -E '^[^ ]+ [^ ]+ [^ ]+ [^ ]+ / ' /proc/self/mountinfo",
        read: mounts,
    },
];

fn memory(text: &str, sheet: &mut Sheet) {
    for (key, value) in pairs(text, ':') {
        let Some(bytes) = value.trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
        else {
            continue;
        };
        match key {
            "MemTotal" => sheet.set("memory.total-bytes", bytes),
            "MemAvailable" => sheet.set("memory.available-bytes", bytes),
            _ => {}
        }
    }
}

fn cpu(text: &str, sheet: &mut Sheet) {
    sheet.set_number("cpu.count", text);
}

/// "path filesystem 1-blocks used available capacity mounted filesystem inodes iused ifree …".
fn disk(text: &str, sheet: &mut Sheet) {
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let name = match fields.first() {
            Some(&"/") => "root",
            Some(&"/var") => "var",
            Some(&"/var/lib") => "var-lib",
            _ => continue,
        };
        for (key, at) in [("total-bytes", 2), ("free-bytes", 4), ("free-inodes", 10)] {
            sheet.set_number(&format!("disk.{name}.{key}"), fields.get(at).unwrap_or(&""));
        }
        if let Some(mount) = fields.get(6) {
            sheet.set_text(&format!("disk.{name}.mount"), mount);
        }
    }
}

fn swap(text: &str, sheet: &mut Sheet) {
    // Without the heading the file was not there.
    let mut lines = text.lines();
    if !lines.next().is_some_and(|heading| heading.starts_with("Filename")) {
        return;
    }
    let areas: Vec<Value> = lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let kib: u64 = fields.get(2)?.parse().ok()?;
            Some(json!({ "path": fields.first()?, "type": fields.get(1)?, "bytes": kib * 1024 }))
        })
        .collect();
    sheet.set("swap", areas);
}

fn mounts(text: &str, sheet: &mut Sheet) {
    if let Some(line) = text.lines().last() {
        sheet.set("mounts.root-shared", line.split_whitespace().any(|field| field.starts_with("shared:")));
        let read_only =
            line.split_whitespace().nth(5).is_some_and(|options| options.split(',').any(|o| o == "ro"));
        sheet.set("mounts.root-read-only", read_only);
    }
}
