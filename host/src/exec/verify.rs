//! Waits until a command on a node exits 0: one script that polls over there, so that waiting costs no round trips.

use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::op::OpError;
use crate::transport::{Script, Session, quote};

/// Added to the deadline for the way there and back.
const GRACE: Duration = Duration::from_secs(20);

/// Polls once a second. What the command says while it fails goes to `reasons` whenever it changes, and into the error.
///
/// # Errors
/// `ksp::op::verify-timeout` with the last reason, or of the transport.
pub async fn verify(
    session: &dyn Session,
    argv: &[String],
    deadline: Duration,
    reasons: UnboundedSender<String>,
) -> Result<(), OpError> {
    let mut script = Script::new(text(argv, deadline)).with_timeout(deadline + GRACE);
    script.lines = Some(reasons);
    let output = session.run_aside(script).await?;
    if output.ok() {
        return Ok(());
    }
    let seconds = deadline.as_secs_f64();
    let mut error = OpError::new(
        "ksp::op::verify-timeout",
        format!("what it should bring about was not there after {seconds:.0}s"),
    );
    error.command = Some(quote::command(argv));
    error.tail = output.tail(20);
    Err(error)
}

fn text(argv: &[String], deadline: Duration) -> String {
    // Rounded up: a deadline below a second still allows one attempt and one more.
    let seconds = deadline.as_secs() + u64::from(deadline.subsec_nanos() > 0);
    format!(
        r#"read -r up _ </proc/uptime; end=$((${{up%%.*}}+{seconds})); said=
until why=$({command} 2>&1); do
[ "$why" = "$said" ] || printf '%s\n' "$why" | tail -n 20
said=$why
read -r up _ </proc/uptime
[ "${{up%%.*}}" -lt "$end" ] || exit 1
sleep 1
done"#,
        command = quote::command(argv)
    )
}
