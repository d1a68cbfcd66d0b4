use std::time::Duration;

use serde_json::json;

use super::*;
use crate::transport::fake::{FakeNode, failure, output};
use crate::transport::local;

fn read(detector: &str, text: &str) -> Value {
    let mut sheet = Sheet::default();
    let detector = detectors().into_iter().find(|known| known.name == detector).unwrap();
    (detector.read)(text, &mut sheet);
    sheet.into_value()
}

#[test]
fn canned_outputs_are_understood() {
    let os = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\nID_LIKE='rhel fedora'\n";
    let identity =
        "machine aarch64\nrelease 6.1.0\nhostname n1\nmachine-id abc\nuuid AB-CD\nvirtualization none\n";
    let boot = "boot-id 11-22\npid1 1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 2500 999\nhz 100\nbtime 1700000000\n";
    let disk = "/ /dev/vda1 1000 400 600 40% / /dev/vda1 50 10 40 20% /\n/var tmpfs 10 4 6 40% /var - - - - - /var\n";
    let swap = "Filename\tType\tSize\tUsed\tPriority\n/swapfile  file  1024  0  -2\n";
    let mounts = "21 1 253:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n";
    let cgroup = "type tmpfs\nunified yes\ncontrollers #subsys_name cpu memory \n";
    let addresses = "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n\
                     4: eth0@if5    inet6 fd00::2/64 scope global nodad \\  valid_lft forever\n";
    let routes = "Iface\tDestination\tGateway\nwlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\n\
                  eth0\t00000000\tFE0200C0\t0003\t0\t0\t100\t00000000\t0\neth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\n\
                  #mtu\neth0 1450 up\nlo 65536 unknown\n";
    let ss = "udp   UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:* users:((\"systemd-resolve\",pid=9,fd=1))\n\
              tcp   LISTEN 0 128 [::]:6443 [::]:* \ntcp LISTEN 0 128 *:10250 *:* users:((\"kubelet\",pid=7,fd=2),(\"x\",pid=8,fd=2))\n";
    let proc = "#tcp\n  sl  local_address rem_address   st\n   0: 0100007F:0016 00000000:0000 0A 0:0 0:0 0\n   \
                1: 0100007F:8B5C 0100007F:9CDB 06 0:0\n#udp6\n  sl\n   5: 000080FE00000000FF00FC00010000FE:0035 0:0 07 0:0\n";
    let dns =
        "nameserver 127.0.0.53\nsearch a b\noptions edns0\n#upstream /run/systemd/resolve/resolv.conf\n";
    let systemd = "systemd 252 (252.38-1~deb12u1)\nstate degraded\nfirewall ufw\n";
    let modules = "[active]\nnf_conntrack\nxt-mark\n[builtin]\nvxlan\n[filesystems]\noverlay\n[loadable]\nbr_netfilter\n\
                   [config]\nCONFIG_NF_TABLES=y\nCONFIG_GENEVE=m\n[paths]\n/proc/net/ip_tables_names\n/sys/kernel/btf/vmlinux\n";
    let mut features = read("modules", modules);
    let has = features["kernel"]["has"].as_object().unwrap();
    let yes: Vec<&str> =
        has.iter().filter(|(_, value)| **value == json!(true)).map(|(name, _)| name.as_str()).collect();
    assert_eq!(yes, ["overlay", "br_netfilter", "nf_tables", "vxlan", "ip_tables", "nf_conntrack", "btf"]);
    features["kernel"]["has"] = Value::Null;
    insta::assert_json_snapshot!(json!([
        read("os", os),
        read("identity", identity),
        read("boot", boot),
        read("memory", "MemTotal:  1000 kB\nMemAvailable: 5 kB\n"),
        read("cpu", "4\n"),
        read("disk", disk),
        read("swap", swap),
        read("mounts", mounts),
        features,
        read("cgroup", cgroup),
        read("addresses", addresses),
        read("addresses", "#names\n10.0.0.1 fd00::1\n"),
        read("routes", routes),
        read("listening", ss),
        read("listening", proc),
        read("dns", dns),
        read("systemd", systemd),
        read("packages", "apt-get\n"),
        read("tools", "curl yes\njq no\n"),
        read("access-control", "selinux 1\napparmor Y\n"),
        read("paths", "/etc/cni/net.d\n"),
    ]));
}

#[test]
fn nothing_and_nonsense_are_no_facts_and_no_panic() {
    let nonsense = [
        "",
        "\n\n",
        " ",
        "\u{fffd}:\u{fffd}\n=\n",
        ": / : :\n[\n]\n#\n#mtu\n((\"",
        "a b c d é:é e f g h i j k l\n",
        "1 (\n)\n",
    ];
    for detector in detectors() {
        for text in nonsense {
            (detector.read)(text, &mut Sheet::default());
        }
    }
    assert_eq!(read("cgroup", "type \ncontrollers \n"), json!({"cgroup": {"controllers": []}}));
    assert_eq!(read("swap", ""), json!({}));
}

#[test]
fn the_clock_offset_leaves_out_the_journey_and_the_work() {
    // Asked at 1000 s; 0.1 s there, 2 s of work, 0.1 s back; the node is 5 s late.
    let watched = time::Watched { asked: Duration::from_secs(1000), took: Duration::from_millis(2200) };
    let mut sheet = Sheet::default();
    time::read(&watched, "995.100000000\nsynchronized\n", "997.100000000\n", &mut sheet);
    assert_eq!(sheet.into_value(), json!({"time": {"synchronized": true, "offset-ms": -5000}}));
    let mut sheet = Sheet::default();
    time::read(&watched, "1000.%N", "1002.%N", &mut sheet);
    assert_eq!(sheet.into_value().pointer("/time/offset-ms"), Some(&json!(-100)));
}

#[tokio::test]
async fn own_files_are_read_and_kept_apart() {
    let node = FakeNode::new();
    node.on("[ -e", failure(1, "")).on("ls -1", output(0, "a.1\nb.2\n"));
    node.on("node.json", output(0, r#"{"cluster-id":"c","node":"n1","machine-id":"m"}"#));
    node.on(
        "ledger.json",
        output(0, r#"{"version":1,"entries":[{"kind":"file","target":"/x","stage":"s"}]}"#),
    );
    node.on("fence", output(0, "7\n")).on("dirty", output(0, "")).on("lease.json", output(0, "{half"));
    let state = r#"{"version":1,"generation":3,"cluster-id":"c","authorities":{},"credentials":{},"keypairs":{},"secrets":{"s":"canary"}}"#;
    node.on("state.json", output(0, state));
    let probe = |plugin: &str, argv: &[&str]| Probe {
        plugin: plugin.into(),
        name: "it".into(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
    };
    let probes = [probe("a.b/c", &["show", "it's"]), probe("ksp/d", &["other"])];
    node.on(r"show 'it'\''s'", output(3, "shown\n"));

    let gathered = gather(&node, &probes, true).await.unwrap();
    assert_eq!(node.calls(), 1, "one round trip");
    // Two plugins may use the same name: each gets its own answer, and no other.
    let of = |plugin: &str, key: &str| gathered.facts.get_for(plugin, key);
    assert_eq!(of("a.b/c", "probe.it"), Some(json!({"status": 3, "stdout": "shown\n"})));
    assert_eq!(of("ksp/d", "probe.it.status"), Some(json!(0)));
    assert_eq!((of("ksp/e", "probe.it"), of("ksp/e", "probe")), (None, None));
    assert_eq!(of("ksp/e", "arch"), gathered.facts.get("arch").cloned());
    assert_eq!(gathered.facts.all_for("ksp/d")["probe"], json!({ "it": of("ksp/d", "probe.it") }));
    assert_eq!(gathered.facts.all_for("ksp/e")["probe"], json!({}));
    assert_eq!(gathered.ledger.entries[0].target, "/x");
    assert_eq!(gathered.state.as_ref().unwrap().generation, 3);
    let marks = &gathered.marks;
    assert_eq!(
        (marks.fence, marks.dirty, marks.lease.is_none(), marks.pending.len()),
        (Some(7), true, true, 2)
    );
    assert!(marks.damaged.contains_key("lease.json"));
    assert_eq!(marks.identity.as_ref().unwrap().machine_id, "m");
    assert!(!format!("{gathered:?}").contains("canary"), "secrets never show");

    let worker = gather(&node, &[], false).await.unwrap();
    assert!(worker.state.is_none() && !node.texts().iter().skip(40).any(|text| text.contains("state.json")));
}

#[tokio::test]
async fn a_fresh_machine_has_no_marks() {
    let node = FakeNode::new();
    node.on("/var/lib/ksp", failure(1, "")).on("ls -1", failure(2, "ls: cannot access\n"));
    let gathered = gather(&node, &[], true).await.unwrap();
    assert_eq!(gathered.marks, NodeMarks::default());
    assert!(gathered.ledger.entries.is_empty() && gathered.state.is_none());
}

#[tokio::test]
async fn a_damaged_ledger_stops_a_damaged_state_does_not() {
    let node = FakeNode::new();
    node.on("/var/lib/ksp", failure(1, "")).on("state.json", output(0, r#"{"version":1,"secrets":"canary"#));
    let gathered = gather(&node, &[], true).await.unwrap();
    assert!(gathered.state.is_none());
    assert!(!format!("{:?}", gathered.marks).contains("canary"));
    for damaged in ["{\"version\":1,", r#"{"version":2,"entries":[]}"#] {
        node.on("ledger.json", output(0, damaged));
        let error = gather(&node, &[], true).await.unwrap_err().to_string();
        assert!(error.contains("/var/lib/ksp/ledger.json"), "{error}");
    }
}

#[tokio::test]
async fn this_machine_can_be_read() {
    let session = local::connect().await.unwrap();
    let argv = vec!["cat".to_owned(), "/proc/uptime".to_owned()];
    let probes = [Probe { plugin: "ksp/any".into(), name: "uptime".into(), argv }];
    let facts = gather(&*session, &probes, false).await.unwrap().facts;
    let shown = serde_json::to_string_pretty(&facts.0).unwrap();
    for key in
        ["os.id", "os.version", "kernel.release", "hostname", "machine-id", "boot.id", "cgroup.version"]
    {
        assert!(facts.text(key).is_some(), "{key}: {shown}");
    }
    for key in
        ["memory.total-bytes", "cpu.count", "disk.root.free-bytes", "disk.var-lib.free-inodes", "boot.time"]
    {
        assert!(facts.number(key).is_some_and(|number| number > 0), "{key}: {shown}");
    }
    for key in ["swap", "kernel.modules", "addresses", "listening", "dns.nameservers", "paths"] {
        assert!(facts.get(key).is_some_and(Value::is_array), "{key}: {shown}");
    }
    assert!(["amd64", "arm64"].contains(&facts.arch()));
    assert!(facts.is("tools.sha256sum"));
    assert!(facts.get("time.offset-ms").and_then(Value::as_i64).unwrap().abs() < 2000, "{shown}");
    assert_eq!(facts.get_for("ksp/any", "probe.uptime.status"), Some(json!(0)));
}
