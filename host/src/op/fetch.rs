//! Bringing a release file to a node: the node fetches it with curl or wget; when it has neither, when its fetch fails for
//! reasons of the network, or when the manifest says so, it comes from the workstation.

use std::time::Duration;

use crate::op::sh;
use crate::op::{ApplyContext, NodeContext, OpError};
use crate::plugin::download::{DownloadError, Release, Source};
use crate::transport::{Output, Script};

/// For one attempt, when the plugin does not say.
const TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// The node has no tool to fetch with.
const NO_TOOL: i32 = 40;
/// The server does not give the file.
const REFUSED: i32 = 41;
/// No answer, or not a whole one.
const NETWORK: i32 = 42;

/// First pause between attempts on the node, in seconds.
const PAUSE: &str = if cfg!(test) { "0.05" } else { "1" };

/// The source for this node's architecture.
///
/// # Errors
/// `ksp::op::architecture` when there is none.
pub fn source<'a>(cx: NodeContext<'_>, release: &'a Release) -> Result<&'a Source, OpError> {
    let arch = cx.facts.arch();
    let source = release.sources.get(arch).ok_or_else(|| {
        let known: Vec<&str> = release.sources.keys().map(String::as_str).collect();
        let what = format!("{} {}", release.name, release.version);
        OpError::new(
            "ksp::op::architecture",
            format!("{what} is not there for {arch}, only for {}", known.join(", ")),
        )
    })?;
    let plain = source.url.chars().all(|c| c.is_ascii_graphic() && c != '"' && c != '\\');
    let scheme = source.url.starts_with("http://") || source.url.starts_with("https://");
    if !plain || !scheme || source.sha256.len() != 64 || !source.sha256.bytes().all(|b| b.is_ascii_hexdigit())
    {
        let message = format!(
            "{:?} with sha256 {:?} is not an address that can be fetched",
            source.shown(),
            source.sha256
        );
        return Err(OpError::new("ksp::op::address", message));
    }
    Ok(source)
}

/// Runs the script that `script` makes of a text which fills `$t`: first one that fetches on the node, then, when that cannot
/// work, one that reads what the workstation sends. The script must check `$t` with [`sh::CHECK`].
///
/// # Errors
/// The file could not be brought, or is not what it should be.
pub async fn bring(
    cx: &ApplyContext<'_>,
    release: &Release,
    source: &Source,
    script: impl Fn(&str) -> String,
) -> Result<Output, OpError> {
    let timeout = cx.at.modifiers.timeout.unwrap_or(TIMEOUT);
    let what = format!("{} {}", release.name, release.version);
    let mut nodes_reason = None;
    if !cx.downloads.push {
        let text = script(
            &[
                sh::set("url", &source.url),
                sh::set("shown", &source.shown()),
                FETCH.replace("@PAUSE@", PAUSE),
            ]
            .concat(),
        );
        let output = cx.mutate_aside(Script::new(text).with_timeout(timeout)).await?;
        match output.status {
            NO_TOOL => nodes_reason = Some("the node has neither curl nor wget".to_owned()),
            NETWORK => nodes_reason = Some(last_line(&output)),
            _ => return finish(&what, source, output),
        }
    }
    if let Some(reason) = &nodes_reason {
        cx.say(format!("{what} comes from this machine: {reason}"));
    }
    let lines = cx.lines.clone();
    let say = move |line: String| drop(lines.send(line));
    let path = cx.downloads.get(source, &say).await.map_err(|error| not_here(error, &what, nodes_reason))?;
    let unreadable =
        |error: std::io::Error| OpError::new("ksp::op::cache", format!("{}: {error}", path.display()));
    let mut file = tokio::fs::File::open(&path).await.map_err(unreadable)?;
    let output = cx.mutate_feed(Script::new(script(sh::RECEIVE)).with_timeout(timeout), &mut file).await?;
    if output.status == sh::CHECKSUM {
        // Damaged in the cache since it was checked, or on the way: both end by fetching it again.
        cx.downloads.forget(source);
        let mut error =
            OpError::new("ksp::op::damaged", format!("{what} arrived damaged and was thrown away"));
        error.retryable = true;
        return Err(error.hint("run the same command again; if it stays, check the node's disk and memory"));
    }
    finish(&what, source, output)
}

fn finish(what: &str, source: &Source, output: Output) -> Result<Output, OpError> {
    match output.status {
        0 => Ok(output),
        REFUSED => {
            Err(with_advice(OpError::new("ksp::op::refused", format!("{what}: {}", last_line(&output)))))
        }
        sh::CHECKSUM => {
            let answer = output.text();
            let line = answer.lines().rev().find_map(|line| line.strip_prefix("got ")).unwrap_or_default();
            let mut words = line.split(' ');
            let got = words.next().unwrap_or_default();
            Err(mismatch(&source.shown(), &source.sha256, got, words.next_back() == Some("html")))
        }
        _ => Err(sh::failure(format!("install {what}"), &output)),
    }
}

/// A failed download as an op reports it; `nodes_reason` is why the node did not fetch it itself.
pub fn not_here(error: DownloadError, what: &str, nodes_reason: Option<String>) -> OpError {
    let mut mapped = match &error {
        DownloadError::Checksum { url, expected, got, html } => mismatch(url, expected, got, *html),
        DownloadError::Refused { .. } => {
            with_advice(OpError::new("ksp::op::refused", format!("{what}: {error}")))
        }
        DownloadError::Cache { .. } => {
            OpError::new("ksp::op::cache", format!("this machine's cache: {error}"))
                .hint("free some space, or set KSP_CACHE_DIR to a folder that can be written")
        }
        DownloadError::Unreachable { .. } => {
            let mut unreachable = OpError::new("ksp::op::unreachable-address", format!("{what}: {error}"));
            unreachable.retryable = true;
            unreachable.hint("behind an air gap, name a mirror: `files` in [mirrors]")
        }
    };
    if let Some(reason) = nodes_reason {
        mapped.tail.push(format!("on the node: {reason}"));
    }
    mapped
}

fn with_advice(error: OpError) -> OpError {
    error
        .hint("check the version in the manifest: this file may not exist, or no longer")
        .hint("with [mirrors], check that the mirror holds it at the same path")
}

fn mismatch(url: &str, expected: &str, got: &str, html: bool) -> OpError {
    let message = format!(
        "checksum of {url} differs: expected sha256:{expected}, got sha256:{got}; the file was not used"
    );
    let error = OpError::new("ksp::op::checksum-mismatch", message);
    if html {
        return error
            .hint("the answer is a web page: a login or a proxy stands between, or the address is wrong");
    }
    error.hint("the file was changed or damaged on its way or on the server; do not change the checksum without knowing why")
}

fn last_line(output: &Output) -> String {
    output.tail(1).pop().unwrap_or_default()
}

// The address goes over standard input: it may carry a password, and arguments are visible to everybody.
// busybox wget knows neither `-S` nor `-i`.
const FETCH: &str = r#"ksp_curl() {
  printf 'url = "%s"\n' "$url" | curl -q -K - -sS -L -g --fail --proto '=http,https' --proto-redir '=http,https' --max-redirs 10 \
    --connect-timeout 10 --speed-limit 1000 --speed-time 30 -C - -D - -o "$t" 2>&1
}
ksp_wget() {
  : > "$t"
  case $(wget --version 2>&1) in
    *'GNU Wget'*) printf '%s\n' "$url" | wget -i - -nv -S --tries=1 --timeout=30 --max-redirect=10 -O "$t" 2>&1;;
    *) wget -O "$t" "$url" 2>&1 </dev/null;;
  esac
}
if command -v curl >/dev/null 2>&1; then tool=curl
elif command -v wget >/dev/null 2>&1; then tool=wget
else exit 40; fi
echo "fetching $shown"
# Its sleep must not hold the output open when the script has ended.
( while sleep 5 >/dev/null && [ -e "$t" ]; do echo "$(($(wc -c < "$t") / 1048576)) MiB of $shown fetched"; done ) </dev/null 2>/dev/null &
teller=$!
n=1 pause=@PAUSE@ fresh=yes
while :; do
  answer=$("ksp_$tool"); status=$?
  if [ $status -eq 0 ]; then
    [ $fresh = no ] || break
    got=$(sha256sum < "$t")
    [ "${got%% *}" != "$want" ] || break
    # Two parts that do not belong together.
    : > "$t"; fresh=yes; continue
  fi
  code=$(printf '%s\n' "$answer" | sed -n 's/.*HTTP\/[0-9.]* \([0-9][0-9][0-9]\).*/\1/p' | tail -n 1)
  reason=$(printf '%s\n' "$answer" | tr -d '\r' | sed '/^[[:space:]]*$/d; s/^curl: ([0-9]*) //' | tail -n 1)
  case $code in [45]??) reason="answered $code";; esac
  pause_now=$pause
  case $tool$status:$code in
    # A proxy that wants a password, a certificate that this node does not trust: the same again would help nobody.
    *:407|curl35:*|curl60:*|curl77:*) n=4;;
    *:416|curl33:*|curl36:*) : > "$t";;
    *:429|*:503)
      after=$(printf '%s\n' "$answer" | tr -d '\r' | sed -n 's/^ *[Rr]etry-[Aa]fter: *\([0-9][0-9]*\)$/\1/p' | tail -n 1)
      [ -z "$after" ] || [ "$after" -gt 60 ] || pause_now=$after;;
    *:408|*:5??) ;;
    *:4??|curl47:*|curl3:*) kill $teller 2>/dev/null; echo "$shown $reason" >&2; exit 41;;
    curl23:*|wget3:*)
      kill $teller 2>/dev/null
      free=$(df --output=avail -k -- "$d" | tail -n 1)
      [ "$free" -gt 256 ] || reason='No space left on device'
      ksp_failed "$d" "$reason";;
  esac
  if [ $n -ge 4 ]; then kill $teller 2>/dev/null; echo "$shown: $reason" >&2; exit 42; fi
  n=$((n + 1))
  echo "$shown: $reason; attempt $n of 4 follows"
  sleep "$pause_now"
  case $pause in 1) pause=2;; 2) pause=4;; esac
  [ ! -s "$t" ] || fresh=no
done
kill $teller 2>/dev/null"#;
