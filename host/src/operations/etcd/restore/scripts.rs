//! What runs on nodes during a restore. Every script may run again at any moment, after itself or after a part of itself.

use super::super::Etcd;
use super::super::layout::{KEPT_WITH_DATA, PEER_PORT, RunBy};
use super::NOTE;
use crate::node::Node;
use crate::transport::quote::quote;

/// How far revisions jump: more than a cluster writes in the lifetime of a watch, so that nobody takes old data for new (T7).
pub const BUMP: u64 = 1_000_000_000;

/// Static pods.
const MANIFESTS: &str = "/etc/kubernetes/manifests";

/// Where they are meanwhile: outside of the folder that the kubelet watches (T21), on the same file system.
const PUT_ASIDE: &str = "/etc/kubernetes/ksp-restore";

/// Since when no API server runs, by each control plane's own clock.
const STOPPED_AT: &str = "/var/lib/ksp/etcd-restore.stopped";

/// What talks to etcd, or to what talks to it.
const API: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// What stays free beside the new data, in KiB.
const RESERVE_KIB: u64 = 192 << 10;

/// The folder beside the data directory.
fn side(data: &str, id: &str) -> String {
    format!("{}.restore-{id}", data.trim_end_matches('/'))
}

/// Shell variables that all scripts about data begin with: the data directory, and the folder for new and for old data. A mount point
/// has it inside, because only there a rename is one.
fn places(etcd: &Etcd, id: &str) -> String {
    let data = etcd.data_dir.trim_end_matches('/');
    format!(
        "umask 077; data={}; side={}\n\
         if [ -d \"$data\" ] && [ \"$(stat -c %d \"$data\")\" != \"$(stat -c %d \"$data/..\")\" ]; then side=\"$data/restore-{id}\"; fi",
        quote(data),
        quote(&side(data, id)),
    )
}

/// Leaves the note that a restore is under way.
pub fn begin(note: &str) -> String {
    format!(
        "umask 077; mkdir -p /var/lib/ksp && printf '%s\\n' {} >{NOTE}.tmp && mv -f {NOTE}.tmp {NOTE}",
        quote(note)
    )
}

/// Where the snapshot lies on a member's node.
fn snapshot(id: &str) -> String {
    format!("/var/lib/ksp/etcd-restore-{id}.db")
}

/// Takes the snapshot from standard input, unless it is there.
pub fn receive(id: &str, sha256: &str, size: u64) -> String {
    let file = snapshot(id);
    let needed = size / 1024 + RESERVE_KIB;
    format!(
        r#"umask 077; f={file}; sum() {{ s=$(sha256sum <"$1") && [ "${{s%% *}}" = {sha256} ]; }}
if [ -f "$f" ] && sum "$f"; then cat >/dev/null; exit 0; fi
set -- $(df -Pk /var/lib/ksp | tail -n 1)
[ "$4" -ge {needed} ] || {{ echo "/var/lib/ksp has $4 KiB free, and {needed} KiB are needed" >&2; exit 1; }}
if cat >"$f.part" && sum "$f.part" && sync "$f.part" && mv -f "$f.part" "$f"; then exit 0; fi
rm -f "$f.part"; echo "the snapshot did not arrive whole" >&2; exit 1"#
    )
}

/// The members as etcd wants them at its beginning: "cp1=https://10.0.0.1:2380,…".
pub fn initial_cluster<'a>(nodes: impl Iterator<Item = &'a Node>) -> String {
    nodes.map(|node| format!("{}={}", node.name, peer(node))).collect::<Vec<_>>().join(",")
}

fn peer(node: &Node) -> String {
    format!("https://{}", std::net::SocketAddr::new(node.address, PEER_PORT))
}

/// Turns the snapshot into this member's data, beside the present data. All members get the same list and the same new token (T8);
/// nothing of what runs is touched.
pub fn make(etcd: &Etcd, node: &Node, id: &str, size: u64, cluster: &str) -> String {
    let needed = size / 1024 + RESERVE_KIB;
    format!(
        r#"{places}
[ ! -e "$side/before" ] || exit 0
rm -rf "$side" && mkdir -p "$side" || exit 1
set -- $(df -Pk "$side" | tail -n 1)
[ "$4" -ge {needed} ] || {{ rm -rf "$side"; echo "$side has $4 KiB free, and {needed} KiB are needed" >&2; exit 1; }}
/usr/local/bin/etcdutl snapshot restore {snapshot} --data-dir "$side/new" --name {name} --initial-cluster {cluster} \
  --initial-cluster-token ksp-restore-{id} --initial-advertise-peer-urls {peer} --bump-revision {BUMP} --mark-compacted >&2 || exit 1
cp {ca} "$side/new/{KEPT_WITH_DATA}" && chmod 644 "$side/new/{KEPT_WITH_DATA}" || exit 1
if [ -d "$data" ]; then owner=$(stat -c %u:%g "$data"); else u=$(systemctl show -p User --value etcd.service 2>/dev/null)
owner=$(id -u "${{u:-root}}"):$(id -g "${{u:-root}}"); fi
echo "$owner" >"$side/owner" && chown -R "$owner" "$side/new" && sync"#,
        places = places(etcd, id),
        snapshot = snapshot(id),
        name = quote(&node.name),
        cluster = quote(cluster),
        peer = quote(&peer(node)),
        ca = quote(&etcd.ca),
    )
}

/// Puts the new data in the place of the old. The old is kept; after an interruption between the two renames only the second is left.
pub fn swap(etcd: &Etcd, id: &str) -> String {
    format!(
        r#"{places}
if [ -d "$side/before" ] && [ ! -e "$side/new/member" ]; then
[ -d "$data/member/wal" ] && exit 0
echo "the data that this restore has put there is gone again: remove {NOTE} on all members to begin anew" >&2; exit 1
fi
[ -d "$side/new/member" ] || {{ echo "$side/new is not there" >&2; exit 1; }}
mkdir -p "$side/before" || exit 1
if [ -e "$data/member" ] && [ ! -e "$side/before/member" ]; then mv "$data/member" "$side/before/member" || exit 1; fi
[ ! -e "$data/member" ] || {{ echo "$data/member came back: does a member still run?" >&2; exit 1; }}
[ -d "$data" ] || {{ mkdir -m 700 "$data" && chown "$(cat "$side/owner")" "$data"; }} || exit 1
mv "$side/new/member" "$data/member" && rm -rf "$side/new" && sync"#,
        places = places(etcd, id)
    )
}

/// Takes static pods away and waits until their containers are gone. A kubelet that does not work stops nothing: after a while the
/// containers are stopped without it.
fn stop_pods(names: &[&str]) -> String {
    format!(
        r#"umask 077; mkdir -p {PUT_ASIDE} || exit 1
for n in {names}; do [ ! -e {MANIFESTS}/$n.yaml ] || mv -f {MANIFESTS}/$n.yaml {PUT_ASIDE}/$n.yaml || exit 1; done
i=0; while :; do left=
for n in {names}; do c=$(crictl ps -q --name "^$n\$") || {{ echo "the container runtime does not answer" >&2; exit 1; }}; left="$left $c"; done
left=$(echo $left); [ -n "$left" ] || exit 0
i=$((i+1)); [ $i -lt 90 ] || {{ echo "still running after 90 s: $left" >&2; exit 1; }}
case $i in 30|60) crictl stop --timeout 5 $left >/dev/null 2>&1;; esac
sleep 1; done"#,
        names = names.join(" ")
    )
}

/// Stops the API server and what writes through it.
pub fn stop_api() -> String {
    format!("[ -e {STOPPED_AT} ] || date -u +%Y-%m-%dT%H:%M:%SZ >{STOPPED_AT}\n{}", stop_pods(&API))
}

/// Stops the member.
pub fn stop_member(etcd: &Etcd) -> String {
    match etcd.run_by {
        RunBy::Kubelet => stop_pods(&["etcd"]),
        RunBy::Systemd => "systemctl stop etcd.service".to_owned(),
    }
}

/// Begins anew with an empty memory: a kubelet waits minutes before it starts again what has failed often.
pub fn restart_kubelet() -> String {
    "systemctl restart kubelet.service".to_owned()
}

fn put_back(name: &str) -> String {
    format!(
        "[ ! -e {PUT_ASIDE}/{name}.yaml ] || mv -f {PUT_ASIDE}/{name}.yaml {MANIFESTS}/{name}.yaml || exit 1"
    )
}

/// Starts the member and waits until it answers a read that a majority agreed on.
pub fn start_member(etcd: &Etcd) -> String {
    let (start, log) = match etcd.run_by {
        RunBy::Kubelet => (put_back("etcd"), tail_of("etcd")),
        RunBy::Systemd => (
            "systemctl reset-failed etcd.service 2>/dev/null; systemctl start etcd.service || exit 1"
                .to_owned(),
            "journalctl -u etcd.service -n 8 --no-pager -o cat".to_owned(),
        ),
    };
    format!(
        r#"{start}
i=0; until why=$({ctl} --dial-timeout=2s --command-timeout=3s get ksp-restore --keys-only 2>&1); do
i=$((i+1)); [ $i -lt 45 ] || {{ echo "the member does not answer: $why" | tail -n 1 >&2; {log} >&2; exit 1; }}
sleep 1; done"#,
        ctl = etcd.ctl()
    )
}

fn tail_of(name: &str) -> String {
    format!("crictl logs --tail 8 \"$(crictl ps -a -q --latest --name '^{name}$')\"")
}

/// Starts the API server, waits until it is ready, then what works through it.
pub fn start_api(server: &str) -> String {
    format!(
        r#"{api}
i=0; until why=$(kubectl --kubeconfig=/etc/kubernetes/admin.conf --server={server} --request-timeout=3s get --raw /readyz 2>&1); do
i=$((i+1)); [ $i -lt 90 ] || {{ echo "the API server is not ready: $why" | tail -n 1 >&2; {log} >&2; exit 1; }}
sleep 1; done
{manager}
{scheduler}"#,
        api = put_back("kube-apiserver"),
        server = quote(server),
        log = tail_of("kube-apiserver"),
        manager = put_back("kube-controller-manager"),
        scheduler = put_back("kube-scheduler"),
    )
}

/// Waits until each of these nodes is ready, by what its kubelet has said since.
pub fn nodes_ready(server: &str, nodes: &[&str]) -> String {
    let template = r#"{range .items[*]}{.metadata.name} {.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}{"\n"}{end}"#;
    let names: Vec<String> = nodes.iter().map(|name| quote(name)).collect();
    format!(
        r#"since=$(cat {STOPPED_AT}); i=0; while :; do
all=$(kubectl --kubeconfig=/etc/kubernetes/admin.conf --server={server} --request-timeout=5s get nodes -o jsonpath={template} 2>&1)
left=; for n in {names}; do
set -- $(echo "$all" | grep "^$n "); [ "$2" = True ] && expr "x$3" '>=' "x$since" >/dev/null || left="$left $n"; done
[ -n "$left" ] || exit 0
i=$((i+1)); [ $i -lt 90 ] || {{ echo "not ready after 90 tries:$left" >&2; echo "$all" | tail -n 5 >&2; exit 1; }}
sleep 1; done"#,
        server = quote(server),
        template = quote(template),
        names = names.join(" "),
    )
}

/// Removes what only the restore needed. The old data stays.
pub fn end(etcd: &Etcd, id: &str) -> String {
    format!(
        "{}\nrm -rf {} {NOTE} {STOPPED_AT} \"$side/new\" \"$side/owner\" || exit 1\n\
         rmdir {PUT_ASIDE} 2>/dev/null; [ ! -d \"$side/before\" ] || echo \"kept $side/before\"",
        places(etcd, id),
        snapshot(id)
    )
}

#[cfg(test)]
mod tests;
