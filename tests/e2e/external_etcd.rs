//! An external etcd: it comes up, survives the loss of a member, changes one by one, and gets new members for lost ones.

use std::time::Duration;

use anyhow::{Result, ensure};
use ksp_lab::sequence::Sequence;

use crate::recovery::recover;
use crate::support::{EXTERNAL, Lab};

/// What every node uses, on its own loopback.
const ENDPOINT: &str = "https://127.0.0.1:7443";

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn an_external_etcd_keeps_its_quorum() -> Result<()> {
    let lab = Lab::fresh("etcd")?;
    a_small_disk(&lab)?;
    a_wrong_clock_is_refused_before_anything_is_made(&lab)?;
    bring_up_is_interrupted(&lab)?;
    lab.only_one_of_two_runs_goes_on()?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    lab.expect_voters(EXTERNAL, "etcd1", &["etcd1", "etcd2", "etcd3"])?;
    keys_are_where_they_belong(&lab)?;
    certificates_are_for_one_purpose_each(&lab)?;

    let sequence = Sequence::start(&lab.scenario, "w1", ENDPOINT)?;
    a_setting_changes_one_member_at_a_time(&lab)?;
    sequence.passes(3)?;
    let rolled = sequence.seen();
    ksp_lab::tell::say(format_args!("while a setting of etcd changed: {rolled:?}"));
    a_certificate_that_is_put_back_is_used(&lab)?;
    any_member_may_die_and_comes_back(&lab)?;
    a_full_disk_stops_one_member_only(&lab)?;
    lost_data_make_a_new_member(&lab)?;
    a_dead_member_is_replaced(&lab)?;
    a_living_member_is_replaced(&lab)?;
    sequence.finish()?;
    ensure!(rolled.in_a_row <= 1, "one retry did not cure every failed request: {rolled:?}");
    recover(&lab, &["etcd1", "etcd3", "etcd4"], Some(&age::x25519::Identity::generate()))
}

/// For the day when it is full.
fn a_small_disk(lab: &Lab) -> Result<()> {
    lab.on("etcd3", "mkdir -p /var/lib/etcd && mount -t tmpfs -o size=700m,mode=700 tmpfs /var/lib/etcd")
        .map(drop)
}

/// A write that was on its way to the leader when that died is answered by a time-out: whoever writes tries again, and finds it done
/// or not.
fn write(lab: &Lab, name: &str) -> Result<()> {
    let attempt = || {
        lab.kubectl(&format!("create configmap {name} --from-literal=a=b --request-timeout=20s"))
            .or_else(|_| lab.kubectl(&format!("get configmap {name} --request-timeout=20s")))
    };
    attempt().or_else(|_| attempt()).map(drop)
}

/// The time of one container cannot be changed: `date` is what ksp asks.
fn a_wrong_clock_is_refused_before_anything_is_made(lab: &Lab) -> Result<()> {
    let wrong = "printf '#!/bin/sh\\nexec /bin/date -d \"+40 seconds\" \"$@\"\\n' > /usr/local/bin/date; chmod +x /usr/local/bin/date";
    lab.on("etcd2", wrong)?;
    lab.ksp(&["up", "--yes"])?.expect(4)?.says("preflight.clock")?.says("etcd2")?;
    lab.on("etcd2", "rm /usr/local/bin/date")?;
    for node in ["cp1", "etcd1", "etcd2"] {
        let made = lab.on(node, "ls -d /etc/etcd /var/lib/ksp 2>/dev/null || true")?;
        ensure!(made.is_empty(), "{node} was touched: {made}");
    }
    Ok(())
}

/// ksp and a founder are killed when the founders start; what has begun goes on.
fn bring_up_is_interrupted(lab: &Lab) -> Result<()> {
    let started = || lab.on("etcd1", "pgrep -x etcd").map(drop);
    let run = lab.kill_when("etcd", "restart:etcd", started)?;
    lab.on("etcd1", "pkill -9 -x etcd || true")?;
    lab.ksp(&["unlock", &run])?.expect(0).map(drop)
}

/// T10: keys of members and of clients differ, serve one purpose each, and nobody but the host can make more of them.
fn certificates_are_for_one_purpose_each(lab: &Lab) -> Result<()> {
    const SERVER: &str = "TLS Web Server Authentication";
    const CLIENT: &str = "TLS Web Client Authentication";
    let show =
        |node: &str, path: &str, what: &str| lab.on(node, &format!("openssl x509 -in {path} -noout {what}"));
    for node in ["etcd1", "etcd2", "etcd3"] {
        let address = lab.scenario.node(node)?.address;
        let mut keys = std::collections::BTreeSet::new();
        for (purpose, serves) in [("server", true), ("peer", true), ("admin", false)] {
            let path = format!("/etc/etcd/pki/{purpose}.crt");
            let shown = show(node, &path, "-issuer -ext extendedKeyUsage,subjectAltName")?;
            ensure!(shown.contains(CLIENT) && shown.contains(SERVER) == serves, "{node} {path}: {shown}");
            ensure!(shown.contains("etcd-ca"), "{node} {path}: {shown}");
            let names =
                [format!("DNS:{node}"), format!("IP Address:{address}"), "IP Address:127.0.0.1".into()];
            ensure!(names.iter().all(|name| shown.contains(name) == serves), "{node} {path}: {shown}");
            keys.insert(show(node, &path, "-pubkey")?);
        }
        ensure!(keys.len() == 3, "{node} has one key for two purposes");
    }
    let path = "/etc/kubernetes/pki/apiserver-etcd-client.crt";
    let keys = ["cp1", "cp2"].map(|node| show(node, path, "-pubkey -issuer"));
    let [one, two] = keys;
    let (one, two) = (one?, two?);
    ensure!(one.contains("etcd-ca") && one != two, "control planes share a key: {one}");
    let shown = show("cp1", path, "-ext extendedKeyUsage")?;
    ensure!(shown.contains(CLIENT) && !shown.contains(SERVER), "{shown}");
    Ok(())
}

/// T10: a file that changes on the disk takes effect, on the member that it is for and on no other.
fn a_certificate_that_is_put_back_is_used(lab: &Lab) -> Result<()> {
    let nodes = ["etcd1", "etcd2", "etcd3"];
    let started =
        || nodes.map(|node| lab.on(node, "systemctl show -p MainPID --value etcd").unwrap_or_default());
    let before = started();
    lab.on("etcd2", "rm /etc/etcd/pki/peer.crt")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    let after = started();
    let changed: Vec<bool> = before.iter().zip(&after).map(|(before, after)| before != after).collect();
    ensure!(changed == [false, true, false], "restarted: {changed:?}");
    Ok(())
}

/// T11: whoever has to know the members knows these and no others: every API server, and kubeadm by its configuration in the cluster.
fn everybody_knows(lab: &Lab, members: &[&str]) -> Result<()> {
    let mut urls = Vec::new();
    for member in members {
        urls.push(format!("https://{}:2379", lab.scenario.node(member)?.address));
    }
    urls.sort();
    for node in ["cp1", "cp2"] {
        let flag = "grep -o 'etcd-servers=.*' /etc/kubernetes/manifests/kube-apiserver.yaml";
        let flag = lab.on(node, flag)?;
        ensure!(flag.trim() == format!("etcd-servers={}", urls.join(",")), "{node} has {flag}");
    }
    let config = "get configmap kubeadm-config -n kube-system -o jsonpath={.data.ClusterConfiguration}";
    let config = lab.kubectl(config)?;
    // `endpoints`, and from 1.36 on `httpEndpoints`, which kubeadm fills in with the same.
    let named = config.lines().filter_map(|line| line.trim().strip_prefix("- https://"));
    let mut named: Vec<String> = named.map(|rest| format!("https://{rest}")).collect();
    named.sort();
    named.dedup();
    ensure!(named == urls, "kubeadm-config has {config}");
    Ok(())
}

fn keys_are_where_they_belong(lab: &Lab) -> Result<()> {
    for node in ["etcd1", "etcd2", "etcd3"] {
        let keys = lab.on(node, "stat -c '%a %U %n' /etc/etcd/pki /etc/etcd/pki/*.key /var/lib/etcd")?;
        ensure!(
            keys.trim()
                == "700 etcd /etc/etcd/pki\n600 etcd /etc/etcd/pki/admin.key\n600 etcd /etc/etcd/pki/peer.key\n\
                600 etcd /etc/etcd/pki/server.key\n700 etcd /var/lib/etcd",
            "{node}: {keys}"
        );
        let authority =
            lab.on(node, "find / -xdev -name 'ca.key' -o -xdev -name state.json -path '*ksp*'")?;
        ensure!(authority.is_empty(), "{node} has {authority}");
    }
    let authority = lab.on("cp1", "ls /etc/kubernetes/pki/etcd")?;
    ensure!(authority.trim() == "ca.crt", "cp1 has {authority}");
    Ok(())
}

/// Two of them here; the third one's disk gets full, which ends it too.
fn any_member_may_die_and_comes_back(lab: &Lab) -> Result<()> {
    for name in ["etcd1", "etcd2"] {
        let node = lab.scenario.node(name)?;
        node.kill()?;
        let written = write(lab, &format!("while-{name}-is-dead"));
        node.start()?;
        written?;
        ksp_lab::wait::until(&format!("{name} takes part again by itself"), Duration::from_secs(60), || {
            lab.on(name, &format!("{EXTERNAL} endpoint health"))
        })?;
    }
    Ok(())
}

/// Full for root as well: etcd ends when it cannot write, and goes on by itself when it can again.
fn a_full_disk_stops_one_member_only(lab: &Lab) -> Result<()> {
    // Its end may be a leader's: whoever writes tries again.
    let put = "head -c 700000 /dev/urandom | base64 -w0";
    let grow = format!(
        "for n in $(seq 10); do {put} | {EXTERNAL} put ksp-test/fill >/dev/null 2>&1 || sleep 1; done"
    );
    ksp_lab::wait::until("etcd3 has ended", Duration::from_secs(180), || {
        // Again and again: etcd itself gives back what it had put aside for its log.
        lab.on("etcd3", "cat /dev/zero >>/var/lib/etcd/fill 2>/dev/null || true")?;
        lab.on("etcd1", &grow)?;
        lab.ksp(&["etcd", "status"])?.expect(1)?.says("its disk is full")?.says("not answering")
    })?;
    write(lab, "while-a-disk-is-full")?;
    lab.on("etcd3", "rm /var/lib/etcd/fill")?;
    lab.on("etcd1", &format!("{EXTERNAL} del ksp-test/fill"))?;
    ksp_lab::wait::until("etcd3 takes part again by itself", Duration::from_secs(90), || {
        lab.ksp(&["etcd", "status"])?.expect(0)
    })
    .map(drop)
}

/// T3.
fn a_setting_changes_one_member_at_a_time(lab: &Lab) -> Result<()> {
    let started = "date -d \"$(systemctl show -p ExecMainStartTimestamp --value etcd)\" +%s";
    lab.edit(|manifest| {
        manifest.replace(
            "use = \"ksp/etcd\"\n[stage.config]\n",
            "use = \"ksp/etcd\"\n[stage.config]\nsnapshot-count = 5000\n",
        )
    })?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    let mut times = Vec::new();
    for node in ["etcd1", "etcd2", "etcd3"] {
        lab.on(
            node,
            "grep -q '\"snapshot-count\": 5000' /etc/etcd/etcd.yaml && test ! -e /etc/etcd/beginning.yaml",
        )?;
        times.push(lab.on(node, started)?.trim().parse::<i64>()?);
    }
    times.sort_unstable();
    ensure!(times.windows(2).all(|pair| pair[0] < pair[1]), "members started together: {times:?}");
    write(lab, "after-the-change")
}

/// T1: it must neither begin a cluster of its own nor come back as the member that it was.
fn lost_data_make_a_new_member(lab: &Lab) -> Result<()> {
    let id =
        |lab: &Lab| lab.on("etcd1", &format!("{EXTERNAL} member list | grep -F ', etcd2, ' | cut -d, -f1"));
    let before = id(lab)?;
    lab.on("etcd2", "systemctl kill -s KILL etcd; find /var/lib/etcd -mindepth 1 -delete; systemctl restart --no-block etcd")?;
    std::thread::sleep(Duration::from_secs(4));
    ensure!(
        lab.on("etcd2", &format!("{EXTERNAL} endpoint health")).is_err(),
        "a member without its data runs"
    );
    // ksp and the new member are killed when it is added, and when it gets its voice.
    for moment in ["member add", "member promote"] {
        let run = lab.kill_in("etcd", moment, Duration::ZERO)?;
        lab.on("etcd2", "systemctl kill -s KILL etcd || true")?;
        lab.ksp(&["unlock", &run])?.expect(0)?;
    }
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    lab.expect_voters(EXTERNAL, "etcd2", &["etcd1", "etcd2", "etcd3"])?;
    ensure!(id(lab)? != before, "etcd2 is the member that it was");
    lab.kubectl("get configmap after-the-change").map(drop)
}

fn a_dead_member_is_replaced(lab: &Lab) -> Result<()> {
    lab.scenario.node("etcd1")?.kill()?;
    lab.edit(|manifest| manifest.replace("\"etcd1\"", "\"etcd4\"").replace("10.89.7.81", "10.89.7.87"))?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    lab.expect_voters(EXTERNAL, "etcd4", &["etcd2", "etcd3", "etcd4"])?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    everybody_knows(lab, &["etcd2", "etcd3", "etcd4"])?;
    write(lab, "after-the-replacement")?;
    lab.kubectl("get configmap while-etcd1-is-dead after-the-change").map(drop)
}

/// By command: it leaves the cluster, loses what ksp made on it, and a machine with an empty disk comes.
fn a_living_member_is_replaced(lab: &Lab) -> Result<()> {
    let new = lab.scenario.node("etcd1")?;
    new.replace()?;
    lab.scenario.write_known_hosts()?;
    let address = new.address.to_string();
    lab.ksp(&["node", "replace", "etcd2", "--with", "etcd1", "--address", &address, "--yes"])?.expect(0)?;
    lab.expect_voters(EXTERNAL, "etcd1", &["etcd1", "etcd3", "etcd4"])?;
    let left = lab.on("etcd2", "ls -d /etc/etcd /var/lib/etcd/member /var/lib/ksp 2>/dev/null || true")?;
    ensure!(left.is_empty(), "etcd2 still has {left}");
    everybody_knows(lab, &["etcd1", "etcd3", "etcd4"])?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    write(lab, "after-the-second-replacement")
}
