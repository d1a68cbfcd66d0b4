//! `etcdctl` on etcd nodes, and the few questions that need a line of shell around it. The shell sees the words of `etcdctl` as its
//! arguments, never as text.

use ksp_sdk::etcd::{client_url, peer_url};
use ksp_sdk::prelude::*;

use crate::layout;

/// The member list, one member a line: id, state, name, peer address, client address, whether it is a learner. Each field but the
/// first begins with a blank.
const EACH_MEMBER: &str = r#"list=$("$@" member list) || exit 1; each() { printf '%s\n' "$list" | while IFS=, read -r id state name peers clients learner; do "$1"; done; };"#;

/// `etcdctl` with an etcd node's own certificate, asking the members on these nodes in turn.
pub fn ctl(nodes: &[&Node]) -> Vec<String> {
    let endpoints: Vec<String> = nodes.iter().map(|node| client_url(node)).collect();
    let mut argv = bare();
    argv.push(format!("--endpoints={}", endpoints.join(",")));
    argv
}

/// `etcdctl`, asking the member on the node that it runs on.
pub fn local() -> Vec<String> {
    let mut argv = bare();
    argv.push("--endpoints=https://127.0.0.1:2379".into());
    argv
}

fn bare() -> Vec<String> {
    argv![
        format!("{}/etcdctl", layout::PROGRAMS),
        format!("--cacert={}/ca.crt", layout::PKI),
        format!("--cert={}/admin.crt", layout::PKI),
        format!("--key={}/admin.key", layout::PKI),
        "--dial-timeout=2s",
        "--command-timeout=5s",
    ]
}

fn with(mut argv: Vec<String>, more: &[&str]) -> Vec<String> {
    argv.extend(more.iter().map(|word| (*word).to_owned()));
    argv
}

fn shell(script: String, arguments: &[&str], etcdctl: Vec<String>) -> Vec<String> {
    let mut argv = argv!["sh", "-c", script, "sh"];
    argv.extend(arguments.iter().map(|word| (*word).to_owned()));
    argv.extend(etcdctl);
    argv
}

/// True when the member on the node takes part in a quorum.
pub fn healthy() -> Vec<String> {
    with(local(), &["endpoint", "health"])
}

/// Adds the node as a learner: it gets the data before it has a voice.
pub fn add(node: &Node, via: &[&Node]) -> Vec<String> {
    let peers = format!("--peer-urls={}", peer_url(node));
    with(ctl(via), &["member", "add", &node.name, "--learner", &peers])
}

/// True when the node is a member, of whatever kind. One with the id `gone` does not count: it is about to be removed.
pub fn is_listed(node: &Node, via: &[&Node], gone: Option<u64>) -> Vec<String> {
    let script = format!(
        r#"url=$1; gone=$2; shift 2; {EACH_MEMBER} same() {{ [ "$peers" != " $url" ] || [ "$id" = "$gone" ] || echo found; }}; [ -n "$(each same)" ]"#
    );
    shell(script, &[&peer_url(node), &id_of(gone)], ctl(via))
}

fn id_of(gone: Option<u64>) -> String {
    gone.map(|id| format!("{id:x}")).unwrap_or_default()
}

/// Gives the learner on the node a voice; fails until it has caught up.
pub fn promote(node: &Node, via: &[&Node]) -> Vec<String> {
    let script = format!(
        r#"url=$1; shift; {EACH_MEMBER} same() {{ [ "$peers" != " $url" ] || echo "$id"; }}; id=$(each same); [ -n "$id" ] || {{ echo "$url is not in the member list" >&2; exit 1; }}; exec "$@" member promote "$id""#
    );
    shell(script, &[&peer_url(node)], ctl(via))
}

/// True when the node is a member with a voice; `gone` as for [`is_listed`].
pub fn is_voter(node: &Node, via: &[&Node], gone: Option<u64>) -> Vec<String> {
    let script = format!(
        r#"url=$1; gone=$2; shift 2; {EACH_MEMBER} same() {{ [ "$peers$learner" != " $url false" ] || [ "$id" = "$gone" ] || echo found; }}; [ -n "$(each same)" ]"#
    );
    shell(script, &[&peer_url(node), &id_of(gone)], ctl(via))
}

/// Removes a member by its id.
pub fn remove(id: u64) -> Vec<String> {
    with(local(), &["member", "remove", &format!("{id:x}")])
}

/// True when no member has this id.
pub fn is_removed(id: u64) -> Vec<String> {
    let script = format!(
        r#"gone=$1; shift; {EACH_MEMBER} same() {{ [ "$id" != "$gone" ] || echo found; }}; [ -z "$(each same)" ]"#
    );
    shell(script, &[&format!("{id:x}")], local())
}

/// Removes the member on the node, whatever its id, through members that stay. Nothing when it is none.
pub fn leave(node: &Node, stays: &[&Node]) -> Vec<String> {
    let script = format!(
        r#"url=$1; shift; {EACH_MEMBER} same() {{ [ "$peers" != " $url" ] || echo "$id"; }}; id=$(each same); [ -n "$id" ] || exit 0; exec "$@" member remove "$id""#
    );
    shell(script, &[&peer_url(node)], ctl(stays))
}

/// True when at least so many of the members on these nodes answer.
pub fn answer(nodes: &[&Node], needed: usize) -> Vec<String> {
    let script = [
        r#"set -f; needed=$1; endpoints=$2; shift 2; n=0; silent=;"#,
        r#"for endpoint in $endpoints; do"#,
        r#"if "$@" --endpoints="$endpoint" endpoint health >/dev/null 2>&1; then n=$((n + 1)); else silent="$silent $endpoint"; fi;"#,
        r#"done; [ "$n" -ge "$needed" ] && exit 0;"#,
        r#"echo "$n other members answer and $needed are needed for a quorum while this one is interrupted; silent:$silent" >&2; exit 1"#,
    ]
    .join(" ");
    let endpoints: Vec<String> = nodes.iter().map(|node| client_url(node)).collect();
    shell(script, &[&needed.to_string(), &endpoints.join(" ")], bare())
}

/// True when the member on the node lists exactly these nodes, all of them with a voice.
pub fn lists(nodes: &Nodes) -> Vec<String> {
    let script = [
        r#"set -f; wanted=$1; shift;"#,
        EACH_MEMBER,
        r#"wrong() { case " $wanted " in *"$peers "*) ;; *) echo "$name at$peers is a member and not in the manifest"; return;; esac;"#,
        r#"[ "$learner" = " false" ] || echo "$name has no voice yet"; };"#,
        r#"has() { [ "$peers" != " $url" ] || echo found; }; said=$(each wrong);"#,
        r#"for url in $wanted; do [ -n "$(each has)" ] || said="$url is not a member"; done;"#,
        r#"[ -z "$said" ] || { printf '%s\n' "$said" >&2; exit 1; }"#,
    ]
    .join(" ");
    let urls: Vec<String> = nodes.iter().map(|node| peer_url(node)).collect();
    shell(script, &[&urls.join(" ")], local())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;
    use std::process::{Command, Output};

    use super::*;

    fn node(number: u32) -> Node {
        let spec =
            json!({ "name": format!("e{number}"), "address": format!("10.0.0.{number}"), "roles": ["etcd"] });
        Node::for_test(number, serde_json::from_value(spec).unwrap())
    }

    const LIST: &str = "\
a1, started, e1, https://10.0.0.1:2380, https://10.0.0.1:2379, false
b2, started, e2, https://10.0.0.2:2380, https://10.0.0.2:2379, true
c11, unstarted, , https://10.0.0.11:2380, , true
";

    /// Runs a command with a stand-in for `etcdctl`: it knows the list, tells what else it was asked, and only `healthy` endpoints
    /// are well.
    fn run(argv: &[String], list: &str, healthy: &str) -> Output {
        let folder = tempfile(list, healthy);
        let etcdctl = folder.join("etcdctl");
        let argv: Vec<String> =
            argv.iter()
                .map(|word| {
                    if word == "/usr/local/bin/etcdctl" {
                        etcdctl.display().to_string()
                    } else {
                        word.clone()
                    }
                })
                .collect();
        let output = Command::new(&argv[0]).args(&argv[1..]).output().unwrap();
        std::fs::remove_dir_all(folder).unwrap();
        output
    }

    fn tempfile(list: &str, healthy: &str) -> std::path::PathBuf {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ksp-etcd-{}-{next}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        write(&folder.join("list"), list);
        let script = format!(
            "#!/bin/sh\ncase \"$*\" in *'member list') cat '{}';; *'endpoint health')\n\
             for word; do case $word in --endpoints=*) case ' {healthy} ' in *\" ${{word#--endpoints=}} \"*) exit 0;; esac;; esac; done; exit 1;;\n\
             *) echo \"$*\";; esac\n",
            folder.join("list").display()
        );
        write(&folder.join("etcdctl"), &script);
        folder
    }

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn succeeds(argv: &[String]) -> bool {
        run(argv, LIST, "").status.success()
    }

    #[test]
    fn members_are_known_by_their_peer_address_t6b() {
        let (one, two, eleven, three) = (node(1), node(2), node(11), node(3));
        let via = [&one];
        assert_eq!(
            [&one, &two, &eleven, &three].map(|it| succeeds(&is_listed(it, &via, None))),
            [true, true, true, false]
        );
        assert_eq!(
            [&one, &two, &eleven, &three].map(|it| succeeds(&is_voter(it, &via, None))),
            [true, false, false, false]
        );
        assert_eq!([0xa1, 0xb2, 0xc1, 0xd].map(|id| succeeds(&is_removed(id))), [false, false, true, true]);
        assert!(
            !succeeds(&is_listed(&one, &via, Some(0xa1))) && !succeeds(&is_voter(&one, &via, Some(0xa1)))
        );
        assert!(succeeds(&is_listed(&one, &via, Some(0xb2))) && succeeds(&is_voter(&one, &via, Some(0xb2))));
        let told = |argv: &[String]| String::from_utf8(run(argv, LIST, "").stdout).unwrap();
        assert!(told(&promote(&two, &via)).ends_with("member promote b2\n"));
        assert!(told(&leave(&eleven, &via)).ends_with("member remove c11\n"));
        assert_eq!(told(&leave(&three, &via)), "");
        assert!(!succeeds(&promote(&three, &via)));
    }

    #[test]
    fn the_list_must_be_the_manifest_s() {
        let nodes = |numbers: &[u32]| numbers.iter().map(|number| node(*number)).collect::<Nodes>();
        let voters = LIST.replace("true", "false");
        let said = |numbers: &[u32], list: &str| {
            let output = run(&lists(&nodes(numbers)), list, "");
            (output.status.success(), String::from_utf8(output.stderr).unwrap())
        };
        assert_eq!(said(&[11, 2, 1], &voters), (true, String::new()));
        assert!(said(&[1, 2, 11], LIST).1.contains("e2 has no voice yet"));
        assert!(said(&[1, 11], &voters).1.contains("e2 at https://10.0.0.2:2380 is a member"));
        assert!(said(&[1, 2, 11, 12], &voters).1.contains("https://10.0.0.12:2380 is not a member"));
    }

    #[test]
    fn silent_members_are_counted_before_another_is_interrupted_t3() {
        let (two, three) = (node(2), node(3));
        let others = [&two, &three];
        let both = "https://10.0.0.2:2379 https://10.0.0.3:2379";
        assert!(run(&answer(&others, 2), LIST, both).status.success());
        let refused = run(&answer(&others, 2), LIST, "https://10.0.0.2:2379");
        assert!(!refused.status.success());
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(
            said.contains("1 other members answer and 2 are needed")
                && said.contains("silent: https://10.0.0.3:2379"),
            "{said}"
        );
    }

    #[test]
    fn no_argument_holds_a_line_end() {
        let one = node(1);
        let nodes: Nodes = [node(1), node(2)].into_iter().collect();
        let commands = [
            is_listed(&one, &[&one], None),
            is_voter(&one, &[&one], None),
            is_removed(1),
            leave(&one, &[&one]),
            promote(&one, &[&one]),
            answer(&[&one], 1),
            lists(&nodes),
        ];
        assert!(commands.iter().flatten().all(|word| !word.contains('\n')));
    }

    #[test]
    fn no_list_is_no_answer() {
        let broken = |argv: &[String]| {
            let argv: Vec<String> = argv
                .iter()
                .map(|word| if word.ends_with("/etcdctl") { "false".into() } else { word.clone() })
                .collect();
            !Command::new(&argv[0]).args(&argv[1..]).output().unwrap().status.success()
        };
        let one = node(1);
        for argv in [
            is_listed(&one, &[&one], None),
            is_voter(&one, &[&one], None),
            is_removed(1),
            leave(&one, &[&one]),
            promote(&one, &[&one]),
        ] {
            assert!(broken(&argv), "{argv:?}");
        }
    }
}
