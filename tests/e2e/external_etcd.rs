//! An external etcd: it comes up, survives the loss of a member, changes one by one, and gets new members for lost ones.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::recovery::recover;
use crate::support::{EXTERNAL, Lab};

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn an_external_etcd_keeps_its_quorum() -> Result<()> {
    let lab = Lab::fresh("etcd")?;
    a_small_disk(&lab)?;
    a_wrong_clock_is_refused_before_anything_is_made(&lab)?;
    lab.only_one_of_two_runs_goes_on()?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    lab.expect_voters(EXTERNAL, "etcd1", &["etcd1", "etcd2", "etcd3"])?;
    keys_are_where_they_belong(&lab)?;
    any_member_may_die_and_comes_back(&lab)?;
    a_full_disk_stops_one_member_only(&lab)?;
    a_setting_changes_one_member_at_a_time(&lab)?;
    lost_data_make_a_new_member(&lab)?;
    a_dead_member_is_replaced(&lab)?;
    a_living_member_is_replaced(&lab)?;
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

fn any_member_may_die_and_comes_back(lab: &Lab) -> Result<()> {
    let leader = lab.scenario.node("etcd1")?;
    leader.kill()?;
    let written = write(lab, "while-one-is-dead");
    leader.start()?;
    written?;
    ksp_lab::wait::until("etcd1 takes part again by itself", Duration::from_secs(60), || {
        lab.on("etcd1", &format!("{EXTERNAL} endpoint health"))
    })
    .map(drop)
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
    write(lab, "after-the-replacement")?;
    lab.kubectl("get configmap while-one-is-dead after-the-change").map(drop)
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
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    write(lab, "after-the-second-replacement")
}
