//! `unpack`: the members of a release archive (tar or tar.gz) below a directory.
//!
//! The archive is taken apart in a private folder beside its destination, looked over, and only then moved into place, each
//! member by a rename. An archive that could reach outside of the destination is refused whole.
//! The node remembers the archive's checksum and every member's, so that a member that was changed or removed is noticed, and
//! members that a newer archive no longer has go.

use async_trait::async_trait;

use crate::op::sh::{self, MEMORY};
use crate::op::{
    ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict, fetch, path,
};
use crate::plugin::capability::Need;
use crate::plugin::download::Release;
use crate::transport::Output;
use crate::transport::quote::{command, quote};

/// An archive's members below a directory.
#[derive(Debug, Clone)]
pub struct Unpack {
    /// Absolute path of the directory; made when missing (root, 0755).
    pub dest: String,
    /// The archive.
    pub release: Release,
    /// Leading parts of the members' names that are dropped; a member with fewer parts is left out.
    pub strip: u32,
    /// Members to take, by their name in the archive or by the name that `strip` leaves (which does not depend on version and
    /// architecture); a directory stands for all below it. All when empty.
    pub only: Vec<String>,
}

impl Unpack {
    fn check(&self) -> Result<(), OpError> {
        path::check(&self.dest)?;
        let odd = |name: &&String| path::check(&format!("/{name}")).is_err() || name.contains('\\');
        match self.only.iter().find(odd) {
            Some(name) => {
                Err(OpError::new("ksp::op::path", format!("{name:?} is not the name of an archive's member")))
            }
            None if self.strip > 16 => {
                Err(OpError::new("ksp::op::path", "nobody strips more than 16 parts of a name"))
            }
            None => Ok(()),
        }
    }

    /// The name that is left of a member's, when any is.
    fn stripped<'a>(&self, name: &'a str) -> Option<&'a str> {
        (0..self.strip).try_fold(name, |name, _| name.split_once('/').map(|(_, rest)| rest))
    }

    fn memory(&self) -> String {
        format!("{MEMORY}/unpacked/{}", sh::token(&[&self.dest, &self.release.name]))
    }

    /// What of the op, beside the archive, decides which members there are.
    fn selection(&self) -> String {
        sh::token(&[&self.strip.to_string(), &self.only.join("\n")])
    }

    fn what(&self) -> String {
        format!("{} {}", self.release.name, self.release.version)
    }

    /// The wanted members as the shell reads them: pairs of names, either of which may be the one in the tree.
    fn wanted(&self) -> String {
        let pairs: Vec<String> = self
            .only
            .iter()
            .flat_map(|name| [name.clone(), self.stripped(name).unwrap_or(name).to_owned()])
            .collect();
        command(&pairs)
    }
}

#[async_trait]
impl NodeOp for Unpack {
    fn kind(&self) -> &'static str {
        "unpack"
    }

    fn target(&self) -> String {
        format!("{}:{}", self.dest, self.release.name)
    }

    fn summary(&self) -> String {
        format!("unpack {} into {}", self.what(), self.dest)
    }

    // Without a list of members any path below may be written: asked for as a path that is deeper than one part, which only
    // a grant for the whole tree covers.
    fn needs(&self) -> Vec<Need> {
        let mut needs = vec![Need::Artifacts];
        if self.only.is_empty() {
            needs.push(Need::File(format!("{}/**/*", self.dest)));
        }
        for name in &self.only {
            needs.push(Need::File(format!("{}/{}", self.dest, self.stripped(name).unwrap_or(name))));
        }
        needs
    }

    fn probe(&self, _cx: NodeContext<'_>) -> String {
        let names = [sh::set("m", &self.memory()), sh::set("dest", &self.dest)].concat();
        format!("{names}{LOOK}")
    }

    fn judge(&self, cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        self.check()?;
        let source = fetch::source(cx, &self.release)?;
        if !probed.ok() {
            return Err(sh::failure(format!("look at {}", self.dest), probed));
        }
        let answer = probed.text();
        let mut lines = answer.lines();
        let new = format!("+{}, sha256:{}", self.what(), source.sha256);
        let first: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
        let (action, diff) = match first[..] {
            ["missing"] => (ChangeAction::Create, vec![new]),
            ["known", sha256, selection, state] => {
                let mut diff = Vec::new();
                if sha256 != source.sha256 {
                    diff.extend([format!("-{}, sha256:{sha256}", self.release.name), new]);
                } else if selection != self.selection() {
                    diff.push(" other members of the same archive".to_owned());
                } else if state != "same" {
                    diff.extend(lines.map(|line| format!(" {line}")));
                } else {
                    return Ok(Verdict::Satisfied);
                }
                (ChangeAction::Modify, diff)
            }
            _ => return Err(sh::nonsense(&answer)),
        };
        Ok(Verdict::Change(Change { action, diff }))
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        self.check()?;
        let source = fetch::source(cx.at, &self.release)?;
        let folder =
            format!("{}/.ksp-tmp.{}", self.dest, sh::token(&[cx.at.stage, self.kind(), &self.target()]));
        let names = [
            sh::set("d", &self.dest),
            sh::set("w", &folder),
            sh::set("m", &self.memory()),
            sh::set("want", &source.sha256),
            sh::set("selection", &self.selection()),
            sh::set("what", &self.what()),
            sh::set("strip", &self.strip.to_string()),
        ]
        .concat();
        let wanted = format!("set -- {}\n", self.wanted());
        let script = |fill: &str| {
            let begin = format!("{}{names}{BEGIN}{fill}\n{}", sh::header(), sh::CHECK);
            format!("{begin}{EXTRACT}{INSPECT}{wanted}{SELECT}{MOVE}")
        };
        fetch::bring(cx, &self.release, source, script).await?;
        Ok(())
    }

    fn ledger(&self, cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        vec![LedgerEntry {
            kind: self.kind().into(),
            target: self.target(),
            stage: cx.stage.into(),
            digest: self
                .release
                .sources
                .get(cx.facts.arch())
                .map(|source| format!("sha256:{}", source.sha256)),
            details: [("dest".into(), self.dest.clone()), ("memory".into(), self.memory())].into(),
        }]
    }
}

/// Removes the members that the node remembers, and the directories that are empty then.
pub fn teardown(entry: &LedgerEntry) -> String {
    let (Some(dest), Some(memory)) = (entry.details.get("dest"), entry.details.get("memory")) else {
        return String::new();
    };
    if path::check(dest).is_err() || !memory.starts_with(MEMORY) {
        return String::new();
    }
    format!("dest={}\nm={}\n{TAKE_BACK}", quote(dest), quote(memory))
}

// The memory of a node, one file for each archive:
//   <sha256 of the archive> <selection>
//   == members
//   <mode, hex> <size> <mtime> <inode> <ctime> ./<name>      one line a member
//   == sums
//   <sha256>  ./<name>                                       one line a regular file

/// Prints the names that `$m` remembers.
macro_rules! names {
    () => {
        r#"sed -n '/^== members$/,/^== sums$/{/^== /d;p;}' "$m" | cut -d ' ' -f 6-"#
    };
}

// First inode, size and times of all members; only when one moved, their bytes.
const LOOK: &str = concat!(
    r#"if [ ! -r "$m" ]; then echo missing; exit 0; fi
read -r sha256 selection < "$m"
members=$(sed -n '/^== members$/,/^== sums$/{/^== /d;p;}' "$m")
now=$( cd "$dest" 2>/dev/null && "#,
    names!(),
    r#" | tr '\n' '\0' | TZ=UTC0 xargs -0 stat -c '%f %s %Y %i %.9Z %n' -- 2>&1 )
if [ "$now" = "$members" ]; then echo "known $sha256 $selection same"; exit 0; fi
brief() { printf '%s\n' "$1" | cut -d ' ' -f 1-3,6-; }
if [ "$(brief "$now")" = "$(brief "$members")" ] && sums=$(cd "$dest" && sed '1,/^== sums$/d' "$m" | sha256sum -c --quiet 2>&1); then
  echo "known $sha256 $selection same"; exit 0
fi
echo "known $sha256 $selection changed"
if ! cd "$dest" 2>/dev/null; then echo "$dest is missing"; exit 0; fi
{ printf '%s\n' "$members" | while read -r mode size mtime _ _ name; do
    seen=$(stat -c '%f %s %Y' -- "$name" 2>/dev/null)
    if [ -z "$seen" ]; then echo "missing: ${name#./}"
    elif [ "$seen" != "$mode $size $mtime" ]; then echo "changed: ${name#./}"; fi
  done
  sed '1,/^== sums$/d' "$m" | sha256sum -c --quiet 2>/dev/null | sed -n 's,^\./\(.*\): FAILED$,changed: \1,p'
} | sort -u | head -n 10
"#
);

const BEGIN: &str = r#"ksp_parent "$d"
command -v tar >/dev/null 2>&1 || { echo 'tar is not installed on the node' >&2; exit 44; }
t=$w/archive
x=$w/tree
trap 'rm -rf -- "$w"' EXIT
trap 'exit 129' HUP INT TERM PIPE
rm -rf -- "$w"
umask 077
e=$( { mkdir -- "$w" "$x" && : > "$t"; } 2>&1 ) || ksp_failed "$d" "$e"
"#;

// What tar itself refuses or mends differs from version to version, so names and types are looked at first.
const EXTRACT: &str = r#"umask 022
refuse() { echo "$what: $1" >&2; exit 44; }
case $(head -c 2 "$t" | od -A n -t x1) in *'1f 8b'*)
  # Once, and not for each look that tar takes.
  e=$( { gzip -dc < "$t" > "$w/plain"; } 2>&1 ) || {
    case $e in *'No space left'*|*'quota exceeded'*) ksp_failed "$d" "$e";; esac
    refuse "not a tar or tar.gz archive: $(printf '%s\n' "$e" | head -n 1)"
  }
  mv -f -- "$w/plain" "$t";;
esac
e=$( { tar -tf "$t" > "$w/names" && tar -tvf "$t" > "$w/listing"; } 2>&1 ) || {
  case $e in *'No space left'*) ksp_failed "$d" "$e";; esac
  refuse "not a tar or tar.gz archive: $(printf '%s\n' "$e" | head -n 1)"
}
[ "$(wc -l < "$w/names")" -le 100000 ] || refuse 'more than 100000 members'
bad=$(grep -m 1 -E '^/|(^|/)\.\.(/|$)' "$w/names") && refuse "member $bad would end outside"
bad=$(cut -c 1 "$w/listing" | sort -u | tr -d 'dl\n-')
[ -z "$bad" ] || refuse "members of type $bad (hard link, device or the like)"
bad=$(grep -m 1 -E '^l.* -> /' "$w/listing") && refuse "link to an absolute path: ${bad##*[0-9] }"
e=$(cd "$x" && tar -xf "$t" --no-same-owner --no-same-permissions 2>&1) || {
  case $e in *'No space left'*|*'quota exceeded'*|*'Wrote only'*) ksp_failed "$d" "$e
No space left";; esac
  refuse "cannot be unpacked: $(printf '%s\n' "$e" | head -n 1)"
}
n=0
while [ $n -lt "$strip" ]; do
  mkdir -- "$x.$n"
  for top in "$x"/* "$x"/.[!.]* "$x"/..?*; do
    if [ ! -d "$top" ] || [ -L "$top" ]; then continue; fi
    for part in "$top"/* "$top"/.[!.]* "$top"/..?*; do
      if [ ! -e "$part" ] && [ ! -L "$part" ]; then continue; fi
      e=$(mv -- "$part" "$x.$n/" 2>&1) || refuse "two members end at the same path: $e"
    done
  done
  x=$x.$n
  n=$((n + 1))
done
"#;

// Links may climb only within the tree: as many `..` in front as there are directories above the link, none later.
const INSPECT: &str = r#"bad=$(find "$x" ! -type f ! -type d ! -type l | head -n 1)
[ -z "$bad" ] || refuse "special file ${bad#"$x"/}"
bad=$(find "$x" \( -name '*[[:cntrl:]]*' -o -name '*\\*' \) | head -n 1)
[ -z "$bad" ] || refuse 'a name with control characters or backslashes'
bad=$(find "$x" -type f \( -perm -4000 -o -perm -2000 -o -links +1 \) | head -n 1)
[ -z "$bad" ] || refuse "setuid, setgid or hard-linked member ${bad#"$x"/}"
bad=$(cd "$x" && find . -type l | while IFS= read -r link; do
  to=$(readlink -- "$link"); at=${link#./}
  while :; do
    case $to in
      ../*|..) case $at in */*) at=${at%/*};; *) echo "$link"; break;; esac
        case $to in ..) to=;; *) to=${to#../};; esac;;
      ./*) to=${to#./};;
      /*|*/../*|*/..) echo "$link"; break;;
      *) break;;
    esac
  done
done | head -n 1)
[ -z "$bad" ] || refuse "link ${bad#./} leads outside"
"#;

const SELECT: &str = r#"if [ $# -gt 0 ]; then
  mkdir -- "$w/taken"
  while [ $# -gt 0 ]; do
    name=
    for one in "$1" "$2"; do
      if [ -n "$name" ]; then :
      elif [ -e "$w/taken/$one" ] || [ -L "$w/taken/$one" ]; then name=.
      elif [ -e "$x/$one" ] || [ -L "$x/$one" ]; then name=$one; fi
    done
    [ -n "$name" ] || refuse "no member $1; it has: $(head -n 10 "$w/names" | tr '\n' ' ')"
    if [ "$name" != . ]; then
      mkdir -p -- "$w/taken/$name" && rmdir -- "$w/taken/$name" && mv -T -- "$x/$name" "$w/taken/$name" || exit 1
    fi
    shift 2
  done
  x=$w/taken
fi
members=$(cd "$x" && find . ! -type d | LC_ALL=C sort)
[ -n "$members" ] || refuse 'no members are left'
"#;

const MOVE: &str = concat!(
    r#"each() { printf '%s\n' "$members" | tr '\n' '\0' | xargs -0 "$@"; }
old=
if [ -r "$m" ]; then old=$("#,
    names!(),
    r#"); fi
# These files and not the whole file system: others may have much to write.
e=$(find "$x" -type f -exec sync -- {} + 2>&1) || ksp_failed "$d" "$e"
# Its exit status is the loop's: a redirection keeps it in this shell.
(cd "$x" && find . -type d | LC_ALL=C sort) > "$w/folders"
while IFS= read -r folder; do
  e=$( { ksp_parent "$d/$folder" && find "$x/$folder" -mindepth 1 -maxdepth 1 ! -type d -exec mv -f -t "$d/$folder" -- {} +; } 2>&1 ) || ksp_failed "$d" "$e"
done < "$w/folders"
cd "$d" || exit 1
if command -v restorecon >/dev/null 2>&1; then each restorecon -- || :; fi
printf '%s\n' "$members" > "$w/members"
printf '%s\n' "$old" | grep -v -x -F -f "$w/members" | while IFS= read -r name; do
  case $name in ./*) rm -f -- "$name"; rmdir -- "${name%/*}" 2>/dev/null || :;; esac
done
umask 077
{ echo "$want $selection"
  echo '== members'; each stat -c '%f %s %Y %i %.9Z %n' --
  echo '== sums'; printf '%s\n' "$members" | while IFS= read -r name; do if [ ! -L "$name" ]; then printf '%s\0' "$name"; fi; done | xargs -0 -r sha256sum --
} > "$w/memory" && mkdir -p -- "${m%/*}" && cp -- "$w/memory" "$m.new" && sync -- "$m.new" && mv -f -- "$m.new" "$m" || ksp_failed "${m%/*}" "cannot write $m"
"#
);

const TAKE_BACK: &str = concat!(
    r#"if [ -r "$m" ] && cd "$dest" 2>/dev/null; then
  "#,
    names!(),
    r#" | while IFS= read -r name; do case $name in ./*) rm -f -- "$name";; esac; done
  "#,
    names!(),
    r#" | sed 's,/[^/]*$,,' | sort -ru | while IFS= read -r folder; do case $folder in ./*) rmdir -- "$folder" 2>/dev/null || :;; esac; done
fi
rm -f -- "$m"
"#
);

#[cfg(test)]
#[path = "tests/unpack.rs"]
mod tests;
