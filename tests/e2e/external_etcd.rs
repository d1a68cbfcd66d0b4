//! An external etcd: it comes up, survives the loss of a member, changes one by one, and gets new members for lost ones.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::support::Lab;

const CTL: &str = "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/etcd/pki/ca.crt --cert=/etc/etcd/pki/admin.crt \
    --key=/etc/etcd/pki/admin.key --dial-timeout=2s";

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn an_external_etcd_keeps_its_quorum() -> Result<()> {
    let lab = Lab::fresh("etcd")?;
    a_wrong_clock_is_refused_before_anything_is_made(&lab)?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("Cluster etcd is ready")?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    ensure!(voters(&lab, "etcd1")? == ["etcd1", "etcd2", "etcd3"]);
    keys_are_where_they_belong(&lab)?;
    any_member_may_die_and_comes_back(&lab)?;
    a_setting_changes_one_member_at_a_time(&lab)?;
    lost_data_make_a_new_member(&lab)?;
    a_dead_member_is_replaced(&lab)
}

/// Names of the voting members, as the member on a node lists them.
fn voters(lab: &Lab, node: &str) -> Result<Vec<String>> {
    let list = lab.on(node, &format!("{CTL} member list"))?;
    let mut names: Vec<String> = list
        .lines()
        .map(|line| line.split(", ").collect::<Vec<_>>())
        .filter(|fields| fields.get(1) == Some(&"started") && fields.last() == Some(&"false"))
        .map(|fields| fields[2].to_owned())
        .collect();
    names.sort();
    Ok(names)
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
        lab.on("etcd1", &format!("{CTL} endpoint health"))
    })
    .map(drop)
}

fn edit(lab: &Lab, change: impl FnOnce(&str) -> String) -> Result<()> {
    let path = lab.scenario.manifest_path();
    let before = fs::read_to_string(&path)?;
    let after = change(&before);
    ensure!(before != after, "the manifest is as it was");
    fs::write(&path, after).context("cannot write the manifest")
}

fn a_setting_changes_one_member_at_a_time(lab: &Lab) -> Result<()> {
    let started = "date -d \"$(systemctl show -p ExecMainStartTimestamp --value etcd)\" +%s";
    edit(lab, |manifest| {
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
    let id = |lab: &Lab| lab.on("etcd1", &format!("{CTL} member list | grep -F ', etcd2, ' | cut -d, -f1"));
    let before = id(lab)?;
    lab.on("etcd2", "systemctl kill -s KILL etcd; find /var/lib/etcd -mindepth 1 -delete; systemctl restart --no-block etcd")?;
    std::thread::sleep(Duration::from_secs(4));
    ensure!(lab.on("etcd2", &format!("{CTL} endpoint health")).is_err(), "a member without its data runs");
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    ensure!(voters(lab, "etcd2")? == ["etcd1", "etcd2", "etcd3"]);
    ensure!(id(lab)? != before, "etcd2 is the member that it was");
    lab.kubectl("get configmap after-the-change").map(drop)
}

fn a_dead_member_is_replaced(lab: &Lab) -> Result<()> {
    lab.scenario.node("etcd1")?.kill()?;
    edit(lab, |manifest| manifest.replace("\"etcd1\"", "\"etcd4\"").replace("10.89.7.81", "10.89.7.87"))?;
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    ensure!(voters(lab, "etcd4")? == ["etcd2", "etcd3", "etcd4"]);
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;
    write(lab, "after-the-replacement")?;
    lab.kubectl("get configmap while-one-is-dead after-the-change").map(drop)
}
