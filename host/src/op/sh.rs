//! Shell text that ops share. POSIX sh and coreutils; every value goes through [`quote`].

use sha2::{Digest as _, Sha256};

use crate::op::{NodeContext, OpError};
use crate::transport::Output;
use crate::transport::quote::quote;

/// Where a node remembers what ops need to know later. Root only.
pub const MEMORY: &str = "/var/lib/ksp";

/// Exit status of a script that found the disk full.
pub const FULL: i32 = 28;
/// Exit status of a script that found the file system read-only.
pub const READ_ONLY: i32 = 30;
/// Exit status of a script that found something in its way, named in its last line.
pub const IN_THE_WAY: i32 = 31;
/// Exit status of a script that refuses an archive, for a reason named in its last line.
pub const ARCHIVE: i32 = 44;
/// Exit status of a script whose bytes did not have the expected checksum.
pub const CHECKSUM: i32 = 43;

/// First lines of every script: messages in English (they are told apart by their text), and the folders that `sudo` leaves
/// out of its path on some distributions.
pub const HEADER: &str = r#"LC_ALL=C; export LC_ALL
PATH="$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/sbin"; export PATH
umask 022
"#;

/// `ksp_failed DIRECTORY TEXT`: ends the script, and says so when the disk below the directory is the cause.
pub const FAILED: &str = r#"ksp_failed() {
  printf '%s\n' "$2" >&2
  ksp_w=$1
  while [ ! -e "$ksp_w" ] && [ -n "$ksp_w" ]; do ksp_w=${ksp_w%/*}; done
  case $2 in
    *'No space left'*|*'quota exceeded'*) df -P -- "${ksp_w:-/}" >&2; df -P -i -- "${ksp_w:-/}" >&2; exit 28;;
    *'Read-only file system'*) exit 30;;
  esac
  exit 1
}
"#;

/// `ksp_parent DIRECTORY`: makes it when it is missing (root, 0755), and notes what it made in [`FOLDERS`]. Refuses a path that goes through a symbolic link which
/// somebody other than root can change: root would write where that somebody wants.
pub const PARENT: &str = r#"ksp_parent() {
  ksp_w=$1
  while [ -n "$ksp_w" ]; do
    if [ -L "$ksp_w" ]; then
      ksp_u=${ksp_w%/*}; ksp_u=$(stat -c %u -- "${ksp_u:-/}")
      [ "$ksp_u" = 0 ] || { echo "$ksp_w is a symbolic link below a directory of user $ksp_u" >&2; exit 31; }
    fi
    ksp_w=${ksp_w%/*}
  done
  [ ! -d "${1:-/}" ] || return 0
  ksp_w=$1
  while [ -n "$ksp_w" ] && [ ! -d "$ksp_w" ]; do
    ksp_e=$( (umask 077; mkdir -p /var/lib/ksp && printf '%s\n' "$ksp_w" >> /var/lib/ksp/folders) 2>&1 ) || ksp_failed /var/lib/ksp "$ksp_e"
    ksp_w=${ksp_w%/*}
  done
  ksp_e=$( (umask 022; mkdir -p -- "$1") 2>&1 ) || ksp_failed "$1" "$ksp_e"
}
"#;

/// The folders that were made on the way to something, one a line: they go with it, when they are empty by then.
pub const FOLDERS: &str = "/var/lib/ksp/folders";

/// Everything that a script which changes files starts with.
pub fn header() -> String {
    format!("{HEADER}{FAILED}{PARENT}")
}

/// `name='value'`, one line.
pub fn set(name: &str, value: &str) -> String {
    format!("{name}={}\n", quote(value))
}

/// Twelve hex digits that stand for these parts.
pub fn token(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize())[..12].to_owned()
}

/// The directory that holds `path`; empty for the root directory, so that `"$dir/name"` is right.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A temporary name beside `path`. It starts with a dot: kubelet, systemd and cron skip such names (T21).
/// It is the same for every attempt of the same op, so that an attempt removes what a killed one left behind.
pub fn temporary(cx: NodeContext<'_>, kind: &str, path: &str) -> String {
    let name = path.rsplit_once('/').map_or(path, |(_, name)| name);
    // Names end at 255 bytes.
    let name = if name.len() > 200 { "" } else { name };
    format!("{}/.{name}.ksp-tmp.{}", parent(path), token(&[cx.stage, kind, path]))
}

/// A file to put in place atomically.
#[derive(Debug)]
pub struct Place<'a> {
    /// Where it goes.
    pub path: &'a str,
    /// Where it is written first; see [`temporary`].
    pub temp: &'a str,
    /// Permission bits.
    pub mode: u32,
    /// User and group.
    pub owner: (&'a str, &'a str),
    /// 64 hex digits.
    pub sha256: &'a str,
}

impl Place<'_> {
    /// A script that fills `$t` by `fill`, checks it, and renames it to `$p`. The old file stays whole until then, and `$t`
    /// is gone however the script ends (but for a kill).
    pub fn script(&self, fill: &str) -> String {
        let names = [
            set("p", self.path),
            set("d", parent(self.path)),
            set("t", self.temp),
            set("want", self.sha256),
            set("owner", &format!("{}:{}", self.owner.0, self.owner.1)),
            set("mode", &format!("{:04o}", self.mode)),
        ]
        .concat();
        format!("{}{names}{BEGIN_PLACE}{fill}\n{CHECK}{END_PLACE}", header())
    }
}

/// A script that puts a short text in place: root's, 0644. `temp` as [`temporary`] makes it.
pub fn place_text(path: &str, temp: &str, content: &str) -> String {
    let sha256 = sha256(content.as_bytes());
    let place = Place { path, temp, mode: 0o644, owner: ("root", "root"), sha256: &sha256 };
    place.script(&format!("e=$(printf %s {} 2>&1 > \"$t\") || ksp_failed \"$d\" \"$e\"", quote(content)))
}

const BEGIN_PLACE: &str = r#"ksp_parent "$d"
if [ -d "$p" ] && [ ! -L "$p" ]; then echo "$p is a directory" >&2; exit 31; fi
trap 'rm -f -- "$t"' EXIT
trap 'exit 129' HUP INT TERM PIPE
rm -f -- "$t"
umask 077
e=$( (set -C; : > "$t") 2>&1 ) || ksp_failed "$d" "$e"
"#;

/// Compares `$t` with `$want`; prints what it got.
pub const CHECK: &str = r#"got=$(sha256sum < "$t") || exit 1
got=${got%% *}
if [ "$got" != "$want" ]; then
  kind=-
  if head -c 512 "$t" | tr 'A-Z' 'a-z' | grep -q -e '<!doctype html' -e '<html'; then kind=html; fi
  echo "got $got $(wc -c < "$t") $kind"
  exit 43
fi
"#;

// `mv -T`: a symbolic link to a directory at the path is replaced, not followed.
const END_PLACE: &str = r#"e=$( { chown -h -- "$owner" "$t" && chmod -- "$mode" "$t" && sync -- "$t" && mv -fT -- "$t" "$p"; } 2>&1 ) || ksp_failed "$d" "$e"
if command -v restorecon >/dev/null 2>&1; then restorecon -- "$p" || :; fi
sync -- "${d:-/}"
"#;

/// Fills `$t` from standard input.
pub const RECEIVE: &str = r#"e=$(cat 2>&1 > "$t") || ksp_failed "$d" "$e""#;

/// The error for a script that failed, with the causes that [`FAILED`] and [`PARENT`] tell apart.
pub fn failure(what: impl Into<String>, output: &Output) -> OpError {
    let what = what.into();
    let last = output.tail(1).pop().unwrap_or_default();
    let mut error = OpError::from_output(what.clone(), output);
    match output.status {
        FULL => {
            error.code = "ksp::op::disk-full";
            error.message = format!("{what}: the disk is full");
            error.retryable = false;
            error.hint(
                "free some space on the node, then run the same command again; the old file is untouched",
            )
        }
        READ_ONLY => {
            error.code = "ksp::op::read-only";
            error.message = format!("{what}: the file system is read-only");
            error.retryable = false;
            error.hint("a disk with errors is often remounted read-only: look at `dmesg` on the node")
        }
        IN_THE_WAY | ARCHIVE => {
            error.code = if output.status == ARCHIVE { "ksp::op::archive" } else { "ksp::op::in-the-way" };
            error.message = format!("{what}: {last}");
            error.retryable = false;
            error
        }
        _ => error,
    }
}

/// A read-only fragment that tells what is at `path`: read by [`Seen::parse`]. Symbolic links are not followed.
pub fn look(path: &str) -> String {
    format!("{}{LOOK}", set("p", path))
}

const LOOK: &str = r#"if [ -L "$p" ]; then printf 'link %s\n' "$(readlink -- "$p")"
elif [ -f "$p" ]; then stat -c 'file %a %u %U %g %G %s' -- "$p"
elif [ -d "$p" ]; then stat -c 'directory %a %u %U %g %G %s' -- "$p"
elif [ -e "$p" ]; then echo other
else echo missing; fi
"#;

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Nothing.
    Missing,
    /// A symbolic link, and what it holds.
    Link(String),
    /// A regular file.
    File(Status),
    /// A directory.
    Directory(Status),
    /// A device, a socket, …
    Other,
}

/// Mode and owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Permission bits.
    pub mode: u32,
    /// Number and name of the user.
    pub user: (String, String),
    /// Number and name of the group.
    pub group: (String, String),
    /// Bytes.
    pub size: u64,
}

impl Seen {
    /// Reads the line of [`look`].
    ///
    /// # Errors
    /// It is not such a line.
    pub fn parse(line: &str) -> Result<Self, OpError> {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let status = || Status::parse(rest).ok_or_else(|| nonsense(line));
        match kind {
            "missing" => Ok(Seen::Missing),
            "other" => Ok(Seen::Other),
            "link" => Ok(Seen::Link(rest.to_owned())),
            "file" => Ok(Seen::File(status()?)),
            "directory" => Ok(Seen::Directory(status()?)),
            _ => Err(nonsense(line)),
        }
    }
}

impl Status {
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split(' ').collect();
        let [mode, uid, user, gid, group, size] = fields[..] else { return None };
        Some(Self {
            mode: u32::from_str_radix(mode, 8).ok()?,
            user: (uid.to_owned(), user.to_owned()),
            group: (gid.to_owned(), group.to_owned()),
            size: size.parse().ok()?,
        })
    }

    /// True when these are its user and group, by name or by number.
    pub fn is_owned_by(&self, user: &str, group: &str) -> bool {
        (self.user.0 == user || self.user.1 == user) && (self.group.0 == group || self.group.1 == group)
    }

    /// Lines that show another mode; none when it is this one.
    pub fn mode_diff(&self, mode: u32) -> Vec<String> {
        if self.mode == mode {
            return Vec::new();
        }
        vec![format!("-mode {:04o}", self.mode), format!("+mode {mode:04o}")]
    }

    /// Lines that show another owner; none when it is this one.
    pub fn owner_diff(&self, user: &str, group: &str) -> Vec<String> {
        if self.is_owned_by(user, group) {
            return Vec::new();
        }
        vec![format!("-owner {}", self.owner()), format!("+owner {user}:{group}")]
    }

    /// "user:group" by name.
    pub fn owner(&self) -> String {
        format!("{}:{}", self.user.1, self.group.1)
    }
}

/// The error for a path that something else is at; `wanted` is "a file" or the like.
pub fn in_the_way(path: &str, wanted: &str) -> OpError {
    OpError::new("ksp::op::in-the-way", format!("{path} exists and is not {wanted}"))
        .hint("move it away, or give the plugin another path")
}

/// The error for a probe's answer that makes no sense.
pub fn nonsense(answer: &str) -> OpError {
    OpError::new("ksp::op::probe", format!("the probe's answer makes no sense: {answer:?}"))
        .hint("the node's /bin/sh or coreutils behave unusually; please report this")
}

/// "sha256" of these bytes: 64 hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
