//! Shell text in front of everything that changes a node. It refuses when another run has taken over, and remembers, in the same
//! round trip and before the effect, what the effect would leave behind.
//!
//! Nothing here reads standard input (it belongs to the op), and apart from the first op of a step nothing starts a process.

use crate::exec::layout::Layout;
use crate::ledger::Snapshot;
use crate::op::FENCED_STATUS;
use crate::transport::quote::quote;

/// Exit status of a script that could not write down what it was about to do.
pub const UNRECORDED_STATUS: i32 = 98;

/// The part that every mutating script begins with: refuses when the node has seen a newer run, and raises the node's number.
pub fn fence(layout: &Layout, token: u64) -> String {
    let base = quote(&layout.base);
    format!(
        r#"ksp_b={base}; ksp_f=0
{{ read -r ksp_f <"$ksp_b/fence"; }} 2>/dev/null
case $ksp_f in ''|*[!0-9]*) ksp_f=0;; esac
if [ "$ksp_f" -gt {token} ]; then echo "run number {token} was overtaken by number $ksp_f" >&2; exit {FENCED_STATUS}; fi
if [ "$ksp_f" -lt {token} ]; then
{{ [ -d "$ksp_b" ] || mkdir -p -m 700 "$ksp_b"; }} && echo {token} >"$ksp_b/.fence.$$" && mv -f "$ksp_b/.fence.$$" "$ksp_b/fence" || exit {UNRECORDED_STATUS}
fi"#
    )
}

/// Notes that watchers have to run. Comes after [`fence`].
pub fn mark(markers: &[String]) -> String {
    if markers.is_empty() {
        return String::new();
    }
    let touch: Vec<String> =
        markers.iter().map(|name| format!(": >\"$ksp_b/pending/\"{}", quote(name))).collect();
    format!(
        "{{ [ -d \"$ksp_b/pending\" ] || mkdir -p -m 700 \"$ksp_b/pending\"; }} && {} || exit {UNRECORDED_STATUS}",
        touch.join(" && ")
    )
}

/// Takes markers back. Comes after [`fence`].
pub fn unmark(markers: &[String]) -> String {
    if markers.is_empty() {
        return String::new();
    }
    let paths: Vec<String> =
        markers.iter().map(|name| format!("\"$ksp_b/pending/\"{}", quote(name))).collect();
    format!("rm -f {}", paths.join(" "))
}

/// Writes the ledger, unless a newer one is there: scripts of two steps can overtake each other. Comes after [`fence`].
pub fn ledger(snapshot: &Snapshot) -> String {
    let Snapshot { revision, text } = snapshot;
    // The lock is held for the time of one small write. Whoever finds it for five seconds found one that a dead script left.
    format!(
        r#"ksp_i=0; until mkdir "$ksp_b/.ledger.lock" 2>/dev/null; do
ksp_i=$((ksp_i+1)); [ "$ksp_i" -lt 50 ] || break; sleep 0.1
done
ksp_r=0; {{ read -r ksp_r <"$ksp_b/.ledger.revision"; }} 2>/dev/null
case $ksp_r in ''|*[!0-9]*) ksp_r=0;; esac
if [ "$ksp_r" -lt {revision} ]; then
if (umask 077; cat >"$ksp_b/.ledger.tmp" <<'KSP_LEDGER_END'
{text}
KSP_LEDGER_END
) && {{ sync "$ksp_b/.ledger.tmp" 2>/dev/null || sync; }} && mv -f "$ksp_b/.ledger.tmp" "$ksp_b/ledger.json" && echo {revision} >"$ksp_b/.ledger.revision"
then :; else rmdir "$ksp_b/.ledger.lock"; echo "cannot write $ksp_b/ledger.json" >&2; exit {UNRECORDED_STATUS}; fi
fi
rmdir "$ksp_b/.ledger.lock" 2>/dev/null"#
    )
}

/// Puts parts together, leaving out empty ones.
pub fn join(parts: &[String]) -> String {
    parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("\n")
}
