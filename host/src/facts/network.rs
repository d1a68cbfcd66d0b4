//! Addresses, the way out, who listens, who answers names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use super::sheet::{Detector, Sheet};

pub(crate) const DETECTORS: &[Detector] = &[
    Detector {
        name: "addresses",
        script: "ip -o addr show || { echo '#names';hostname -I; }",
        read: addresses,
    },
    Detector {
        name: "routes",
        script: "cat /proc/net/route;echo '#mtu';for i in /sys/class/net/*;do echo \"${i##*/} $(cat $i/mtu) $(cat $i/operstate)\";done",
        read: routes,
    },
    Detector {
        name: "listening",
        script: "ss -H -l -n -t -u -p || { for p in tcp tcp6 udp udp6;do echo \"#$p\";cat /proc/net/$p;done; }",
        read: listening,
    },
    Detector {
        name: "dns",
        script: "cat /etc/resolv.conf;[ -e /run/systemd/resolve/resolv.conf ] && echo '#upstream /run/systemd/resolve/resolv.conf'",
        read: dns,
    },
];

fn addresses(text: &str, sheet: &mut Sheet) {
    let mut found = Vec::new();
    let mut names = false;
    for line in text.lines() {
        if line.starts_with("#names") {
            names = true;
            continue;
        }
        let fields: Vec<&str> = line.split_whitespace().collect();
        if names {
            found.extend(fields.iter().filter_map(|field| address(field, None, None)));
            continue;
        }
        // "2: eth0    inet 10.0.0.1/24 brd 10.0.0.255 scope global eth0\…"
        let (Some(interface), Some(value)) = (fields.get(1), fields.get(3)) else { continue };
        let scope =
            fields.iter().position(|field| *field == "scope").and_then(|at| fields.get(at + 1)).copied();
        found.extend(address(value, Some(interface), scope));
    }
    if !found.is_empty() {
        sheet.set("addresses", found);
    }
}

fn address(text: &str, interface: Option<&str>, scope: Option<&str>) -> Option<Value> {
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let address: IpAddr = address.parse().ok()?;
    let mut entry =
        json!({ "address": address.to_string(), "family": if address.is_ipv4() { "ipv4" } else { "ipv6" } });
    if let Some(interface) = interface {
        // "veth1@if2" is veth1.
        entry["interface"] = interface.split('@').next().unwrap_or(interface).into();
    }
    if let Ok(prefix) = prefix.parse::<u8>() {
        entry["prefix"] = prefix.into();
    }
    if let Some(scope) = scope {
        entry["scope"] = scope.into();
    }
    Some(entry)
}

/// "Iface Destination Gateway Flags RefCnt Use Metric Mask …": the default route with the lowest metric.
fn routes(text: &str, sheet: &mut Sheet) {
    let (routes, links) = text.split_once("#mtu").unwrap_or((text, ""));
    let mut best: Option<(u64, &str, &str)> = None;
    for line in routes.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [interface, "00000000", gateway, _, _, _, metric, "00000000", ..] = fields[..] else { continue };
        let metric = metric.parse().unwrap_or(u64::MAX);
        if best.is_none_or(|(known, ..)| metric < known) {
            best = Some((metric, interface, gateway));
        }
    }
    let mut interfaces = serde_json::Map::new();
    for line in links.lines() {
        let mut fields = line.split_whitespace();
        let (Some(name), Some(mtu), state) = (fields.next(), fields.next(), fields.next()) else { continue };
        let mut entry = json!({});
        if let Ok(mtu) = mtu.parse::<u64>() {
            entry["mtu"] = mtu.into();
        }
        if let Some(state) = state {
            entry["state"] = state.into();
        }
        interfaces.insert(name.to_owned(), entry);
    }
    if let Some((_, interface, gateway)) = best {
        sheet.set("network.default-interface", interface);
        if let Some(gateway) = v4(gateway).filter(|gateway| !gateway.is_unspecified()) {
            sheet.set("network.default-gateway", gateway.to_string());
        }
        if let Some(mtu) = interfaces.get(interface).and_then(|entry| entry.get("mtu")) {
            sheet.set("network.mtu", mtu.clone());
        }
    }
    if !interfaces.is_empty() {
        sheet.set("network.interfaces", Value::Object(interfaces));
    }
}

fn listening(text: &str, sheet: &mut Sheet) {
    let mut found: Vec<Value> = Vec::new();
    let mut file = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('#') {
            file = name;
            continue;
        }
        let entry = if file.is_empty() { from_ss(line) } else { from_proc(file, line) };
        found.extend(entry.filter(|entry| !found.contains(entry)).into_iter().collect::<Vec<_>>());
    }
    if !text.trim().is_empty() {
        sheet.set("listening", found);
    }
}

/// `tcp LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))`
fn from_ss(line: &str) -> Option<Value> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (address, port) = fields.get(4)?.rsplit_once(':')?;
    // "[::]", "127.0.0.53%lo", "*"
    let address = address.trim_matches(['[', ']']).split('%').next()?;
    let address = if address == "*" { "::" } else { address };
    let mut entry =
        json!({ "protocol": fields.first()?, "address": address, "port": port.parse::<u16>().ok()? });
    if let Some(process) = line.split_once("users:((\"").and_then(|(_, rest)| rest.split_once('"')) {
        entry["process"] = process.0.into();
    }
    Some(entry)
}

/// `0: 00000000:0016 00000000:0000 0A …`: hexadecimal, addresses in the machine's byte order (little endian here).
fn from_proc(file: &str, line: &str) -> Option<Value> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let listens = if file.starts_with("tcp") { "0A" } else { "07" };
    if *fields.get(3)? != listens {
        return None;
    }
    let (address, port) = fields.get(1)?.split_once(':')?;
    let address = v4(address).map(IpAddr::V4).or_else(|| v6(address).map(IpAddr::V6))?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(json!({ "protocol": file.trim_end_matches('6'), "address": address.to_string(), "port": port }))
}

fn v4(hex: &str) -> Option<Ipv4Addr> {
    (hex.len() == 8)
        .then(|| u32::from_str_radix(hex, 16).ok().map(|word| Ipv4Addr::from(word.swap_bytes())))?
}

fn v6(hex: &str) -> Option<Ipv6Addr> {
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    for (part, bytes) in bytes.chunks_mut(4).enumerate() {
        let word = u32::from_str_radix(&hex[part * 8..part * 8 + 8], 16).ok()?;
        bytes.copy_from_slice(&word.swap_bytes().to_be_bytes());
    }
    Some(Ipv6Addr::from(bytes))
}

fn dns(text: &str, sheet: &mut Sheet) {
    let (mut servers, mut search) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        match fields.next() {
            Some("nameserver") => servers.extend(fields.next()),
            Some("search" | "domain") => search = fields.collect(),
            Some("#upstream") => sheet.set_text("dns.upstream-file", fields.next().unwrap_or("")),
            _ => {}
        }
    }
    if !text.trim().is_empty() {
        sheet.set("dns.nameservers", servers);
        sheet.set("dns.search", search);
    }
}
