//! What the API answered when it did not do what was asked, and what is worth asking again.

use std::error::Error;
use std::fmt::Display;
use std::time::Duration;

use kube::core::Status;
use tokio::time::Instant;

use super::REQUEST_TIMEOUT;
use crate::op::OpError;

/// The pause before the second attempt; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// See [`FIRST_PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// An internal error of the API server may be a change of etcd's leader, or a manifest that it stumbles over each time.
const INTERNAL_ERRORS_FOR: Duration = Duration::from_secs(15);

/// What went wrong, in one line.
pub(super) fn describe(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error {
        return if status.message.is_empty() {
            format!("HTTP {}", status.code)
        } else {
            status.message.clone()
        };
    }
    // The outer errors only say that there is an inner one.
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// True for the API's "there is no such thing".
pub(super) fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

/// The failure of `what`: "cannot apply DaemonSet kube-system/x".
pub(super) fn failure(what: impl Display, error: &kube::Error) -> OpError {
    let (code, hint) = match error {
        kube::Error::Api(status) => classify(status),
        _ => (
            "ksp::kube::unreachable",
            Some("look at the API server's container log on a control plane: `crictl logs`"),
        ),
    };
    let mut mapped = OpError::new(code, format!("{what}: {}", describe(error)));
    mapped.retryable = is_transient(error);
    match hint {
        Some(hint) => mapped.hint(hint),
        None => mapped,
    }
}

fn classify(status: &Status) -> (&'static str, Option<&'static str>) {
    match status.code {
        _ if is_immutable(status) => (
            "ksp::kube::immutable-field",
            Some(
                "the API never changes this field: delete the object with kubectl and run again, or give it another name",
            ),
        ),
        401 => (
            "ksp::kube::unauthorized",
            Some("the cluster's certificate authority is not the one ksp knows, or clocks differ"),
        ),
        403 => ("ksp::kube::forbidden", None),
        404 => ("ksp::kube::not-found", None),
        409 => ("ksp::kube::conflict", None),
        400 | 422 => ("ksp::kube::invalid", None),
        429 | 500.. => {
            ("ksp::kube::busy", Some("look at the API server's and etcd's container logs on a control plane"))
        }
        _ => ("ksp::kube::refused", None),
    }
}

fn is_immutable(status: &Status) -> bool {
    status.code == 422
        && ["immutable", "Forbidden: updates to"].iter().any(|sign| status.message.contains(sign))
}

/// True when the same request may succeed later.
pub(super) fn is_transient(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => match status.code {
            429 | 500.. => true,
            // Written by somebody else meanwhile.
            409 => status.reason == "Conflict",
            // The namespace or its service account was created a moment ago.
            404 => status.details.as_ref().is_some_and(|details| details.kind == "namespaces"),
            403 => status.message.contains("error looking up service account"),
            _ => false,
        },
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

fn is_internal(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 500)
}

fn retry_after(error: &kube::Error) -> Duration {
    let kube::Error::Api(status) = error else { return Duration::ZERO };
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    Duration::from_secs(u64::from(seconds.min(30)))
}

/// Asks until the answer is final or the deadline has come. `what` begins the error's text.
pub(super) async fn retry<T, Call, Answer>(
    deadline: Instant,
    what: impl Display,
    mut call: Call,
) -> Result<T, OpError>
where
    Call: FnMut() -> Answer,
    Answer: Future<Output = kube::Result<T>>,
{
    let (mut pause, started) = (FIRST_PAUSE, Instant::now());
    let mut before: Option<OpError> = None;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let (failed, wait) = match tokio::time::timeout(left.min(REQUEST_TIMEOUT), call()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => {
                let failed = failure(&what, &error);
                let stumbles = is_internal(&error) && started.elapsed() > INTERNAL_ERRORS_FOR;
                if stumbles || !is_transient(&error) {
                    return Err(failed);
                }
                (failed, pause.max(retry_after(&error)))
            }
            // The last answer says more than the silence that the deadline cut short.
            Err(_) => (before.unwrap_or_else(|| silence(&what)), pause),
        };
        if Instant::now() + wait >= deadline {
            return Err(failed);
        }
        tracing::debug!(error = %failed, "asking the API again");
        before = Some(failed);
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn silence(what: &impl Display) -> OpError {
    let mut silent = OpError::new("ksp::kube::timeout", format!("{what}: the API server did not answer"));
    silent.retryable = true;
    silent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn api(code: u16, reason: &str, message: &str) -> kube::Error {
        kube::Error::Api(Status::failure(message, reason).with_code(code).boxed())
    }

    /// T19: only what has a name is tried again; everything else stops the run.
    #[test]
    fn answers_are_told_apart() {
        let cases = [
            (
                api(422, "Invalid", "spec.selector: Invalid value: …: field is immutable"),
                "ksp::kube::immutable-field",
                false,
            ),
            (
                api(422, "Invalid", "spec: Forbidden: updates to statefulset spec"),
                "ksp::kube::immutable-field",
                false,
            ),
            (api(403, "Forbidden", "no"), "ksp::kube::forbidden", false),
            (api(409, "Conflict", "the object has been modified"), "ksp::kube::conflict", true),
            (api(409, "AlreadyExists", "exists"), "ksp::kube::conflict", false),
            (api(429, "TooManyRequests", "slow down"), "ksp::kube::busy", true),
            (api(500, "InternalError", "etcdserver: leader changed"), "ksp::kube::busy", true),
            (kube::Error::Service("lost".into()), "ksp::kube::unreachable", true),
        ];
        for (error, code, retryable) in cases {
            let mapped = failure("cannot apply x", &error);
            assert_eq!((mapped.code, mapped.retryable), (code, retryable), "{mapped}");
            assert!(mapped.message.starts_with("cannot apply x: "));
        }
    }

    #[tokio::test]
    async fn a_transient_failure_is_tried_again_within_the_deadline() {
        let mut answers = vec![Ok(7), Err(api(503, "ServiceUnavailable", "later"))];
        let deadline = Instant::now() + Duration::from_millis(400);
        let answer = retry(deadline, "x", || std::future::ready(answers.pop().unwrap())).await;
        assert_eq!(answer.unwrap(), 7);

        let started = Instant::now();
        let never = || std::future::ready(Err::<(), _>(api(503, "ServiceUnavailable", "later")));
        let error = retry(started + Duration::from_millis(400), "x", never).await.unwrap_err();
        assert_eq!(error.code, "ksp::kube::busy");
        assert!(started.elapsed() <= Duration::from_millis(400));
    }

    #[tokio::test]
    async fn silence_ends_at_the_deadline() {
        let deadline = Instant::now() + Duration::from_millis(50);
        let error = retry(deadline, "x", std::future::pending::<kube::Result<()>>).await.unwrap_err();
        assert_eq!(error.code, "ksp::kube::timeout");
        assert!(deadline.elapsed() < Duration::from_secs(5));
    }
}
