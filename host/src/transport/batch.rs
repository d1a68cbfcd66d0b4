//! Many read-only fragments in one round trip, one [`Output`] each.
//!
//! A fragment runs in a subshell of its own with `/dev/null` as its input, as one quoted word for `eval`; between fragments
//! both streams carry a mark that no fragment can know. So nothing that a fragment prints or forgets to close reaches another.

use std::time::Duration;

use super::frame::Nonce;
use super::quote::quote;
use super::{DEFAULT_TIMEOUT, Output, Script, Session, TransportError};

/// Added to the deadline for each fragment.
const PER_FRAGMENT: Duration = Duration::from_millis(500);

/// Runs fragments; the answer has one output for each, in order.
///
/// A fragment must not change anything: when so much was printed that some of it had to be dropped, the fragments whose output
/// is not whole run again, each alone.
///
/// # Errors
/// Those of [`Session::run`].
pub async fn run(session: &dyn Session, fragments: &[String]) -> Result<Vec<Output>, TransportError> {
    if fragments.is_empty() {
        return Ok(Vec::new());
    }
    let nonce = Nonce::new();
    let timeout = DEFAULT_TIMEOUT + PER_FRAGMENT * u32::try_from(fragments.len()).unwrap_or(u32::MAX);
    let whole = session.run(Script::new(script(&nonce, fragments)).with_timeout(timeout)).await?;
    let mut outputs = Vec::with_capacity(fragments.len());
    let (mut stdout, mut stderr) = (&whole.stdout[..], &whole.stderr[..]);
    for (number, fragment) in fragments.iter().enumerate() {
        let mark = nonce.mark(number as u64);
        match (cut(&mut stdout, &mark), cut(&mut stderr, &mark)) {
            (Some((out, status)), Some((err, _))) => outputs.push(Output {
                status: status.parse().map_err(|_| unreadable(&status))?,
                stdout: out.into(),
                stderr: err.into(),
                truncated: false,
            }),
            _ if whole.truncated => outputs.push(session.run(Script::new(fragment.clone())).await?),
            _ => return Err(unreadable(whole.tail(1).first().map_or("", String::as_str))),
        }
    }
    Ok(outputs)
}

/// The shell text of a batch.
fn script(nonce: &Nonce, fragments: &[String]) -> String {
    let mut text = String::new();
    for (number, fragment) in fragments.iter().enumerate() {
        let number = number as u64;
        text.push_str(&format!(
            "(eval {})</dev/null;s=$?;{} >&2;{}\n",
            quote(fragment),
            nonce.print(number, "''"),
            nonce.print(number, "$s"),
        ));
    }
    text
}

/// Takes what stands in front of the mark, and the mark's text; leaves the stream as it is when the mark is not there.
fn cut(stream: &mut &[u8], mark: &[u8]) -> Option<(Vec<u8>, String)> {
    let at = find(stream, mark)?;
    let after = &stream[at + mark.len()..];
    let end = after.iter().position(|byte| *byte == b'\n')?;
    let found = (stream[..at].to_vec(), String::from_utf8_lossy(&after[..end]).into_owned());
    *stream = &after[end + 1..];
    Some(found)
}

fn find(stream: &[u8], mark: &[u8]) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = stream[from..].iter().position(|byte| *byte == 1) {
        if stream[from + at..].starts_with(mark) {
            return Some(from + at);
        }
        from += at + 1;
    }
    None
}

fn unreadable(seen: &str) -> TransportError {
    TransportError::Other(format!("the node's shell left out part of the answer; last seen: {seen:?}"))
}
