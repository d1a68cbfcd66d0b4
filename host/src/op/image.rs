//! `image`: a container image on the node, pulled through its runtime by crictl.
//! Images stay when a stage is taken back: other pods may use them, and the runtime collects what nobody uses.

use std::time::Duration;

use async_trait::async_trait;

use crate::op::sh;
use crate::op::{ApplyContext, Change, ChangeAction, LedgerEntry, NodeContext, NodeOp, OpError, Verdict};
use crate::plugin::capability::Need;
use crate::transport::quote::quote;
use crate::transport::{Output, Script};

/// For one attempt, when the plugin does not say.
const TIMEOUT: Duration = Duration::from_secs(300);

/// An image.
#[derive(Debug, Clone)]
pub struct Image {
    /// "registry.k8s.io/pause:3.10.2", or with a digest.
    pub reference: String,
}

impl Image {
    fn check(&self) -> Result<(), OpError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@".contains(c);
        if self.reference.starts_with(|c: char| c.is_ascii_alphanumeric())
            && self.reference.chars().all(plain)
        {
            return Ok(());
        }
        Err(OpError::new("ksp::op::image", format!("{:?} is not the name of an image", self.reference)))
    }
}

#[async_trait]
impl NodeOp for Image {
    fn kind(&self) -> &'static str {
        "image"
    }

    fn target(&self) -> String {
        self.reference.clone()
    }

    fn summary(&self) -> String {
        format!("pull {}", self.reference)
    }

    fn needs(&self) -> Vec<Need> {
        vec![Need::Images]
    }

    // No crictl, or no runtime yet: an earlier op brings them, so the image is as good as missing.
    fn probe(&self, _cx: NodeContext<'_>) -> String {
        let reference = quote(&self.reference);
        format!(
            "{}if timeout 20 crictl inspecti -q {reference} >/dev/null 2>&1; then echo present; else echo missing; fi\n",
            sh::HEADER
        )
    }

    fn judge(&self, _cx: NodeContext<'_>, probed: &Output) -> Result<Verdict, OpError> {
        self.check()?;
        match probed.text().trim_end() {
            "present" => Ok(Verdict::Satisfied),
            "missing" => Ok(Verdict::Change(Change {
                action: ChangeAction::Create,
                diff: vec![format!("+image {}", self.reference)],
            })),
            other => Err(sh::nonsense(other)),
        }
    }

    async fn apply(&self, cx: &ApplyContext<'_>) -> Result<(), OpError> {
        self.check()?;
        let text = format!("{}exec crictl pull -- {}\n", sh::HEADER, quote(&self.reference));
        let timeout = cx.at.modifiers.timeout.unwrap_or(TIMEOUT);
        let output = cx.mutate_aside(Script::new(text).with_timeout(timeout)).await?;
        if output.ok() { Ok(()) } else { Err(self.explain(&output)) }
    }

    fn ledger(&self, _cx: NodeContext<'_>) -> Vec<LedgerEntry> {
        Vec::new()
    }
}

impl Image {
    fn explain(&self, output: &Output) -> OpError {
        let said = output.tail(20).join("\n").to_lowercase();
        let has = |needles: &[&str]| needles.iter().any(|needle| said.contains(needle));
        let mut error = sh::failure(self.summary(), output);
        let reference = &self.reference;
        let (code, message, retryable, hint) = if output.status == 127 {
            (
                "ksp::op::no-crictl",
                "crictl is not installed on the node".into(),
                false,
                "the stage that provides the slot `runtime` installs it",
            )
        } else if has(&["429", "toomanyrequests", "too many requests"]) {
            (
                "ksp::op::image-rate-limit",
                format!("the registry limits how often {reference} is pulled"),
                true,
                "wait, or name a mirror: `images` in [mirrors]",
            )
        } else if has(&["401", "403", "unauthorized", "forbidden", "denied"]) {
            (
                "ksp::op::image-unauthorized",
                format!("the registry does not give {reference} without a login"),
                false,
                "registries also answer so for images that do not exist: check the name, then the login of the runtime",
            )
        } else if has(&["no space left"]) {
            (
                "ksp::op::disk-full",
                format!("pull {reference}: the disk is full"),
                false,
                "free some space on the node, then run the same command again",
            )
        } else if has(&["not found", "404", "manifest unknown", "name unknown"]) {
            (
                "ksp::op::image-not-found",
                format!("the registry does not have {reference}"),
                false,
                "check the name and the version; with [mirrors], check that the mirror holds it",
            )
        } else if has(&["runtime service", "containerd.sock", "crio.sock", "validate cri"]) {
            (
                "ksp::op::no-runtime",
                "the container runtime does not answer crictl".into(),
                true,
                "look at the runtime's unit on the node",
            )
        } else if has(&[
            "no such host",
            "i/o timeout",
            "connection refused",
            "tls handshake",
            "no route to host",
            "connection reset",
            "deadline exceeded",
        ]) {
            (
                "ksp::op::image-unreachable",
                format!("the registry of {reference} cannot be reached from the node"),
                true,
                "behind an air gap, name a mirror: `images` in [mirrors]",
            )
        } else {
            return error;
        };
        error.code = code;
        error.message = message;
        error.retryable = retryable;
        error.hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use crate::op::Modifiers;
    use crate::op::testing::Machine;

    use super::*;

    #[tokio::test]
    async fn it_is_pulled_once() {
        let machine = Machine::new();
        machine.fake("crictl", r#"echo "$*" >> /etc/calls; case $1 in inspecti) [ -e "/etc/pulled" ];; pull) touch /etc/pulled;; esac"#);
        let op = Image { reference: "registry.k8s.io/pause:3.10.2".into() };
        let change = machine.converge(&op, &Modifiers::default()).await;
        assert_eq!(change.diff, ["+image registry.k8s.io/pause:3.10.2"]);
        assert!(machine.read("/etc/calls").contains("pull -- registry.k8s.io/pause:3.10.2\n"));
        assert!(op.ledger(machine.at(&Modifiers::default())).is_empty());
    }

    #[tokio::test]
    async fn failures_name_their_cause() {
        let machine = Machine::new();
        let op = Image { reference: "docker.io/library/x:1".into() };
        let none = Modifiers::default();
        assert_eq!(machine.change(&op, &none).await.action, ChangeAction::Create);
        assert_eq!(machine.apply(&op, &none).await.unwrap_err().code, "ksp::op::no-crictl");
        for (said, code) in [
            ("unexpected status from HEAD request: 429 Too Many Requests", "ksp::op::image-rate-limit"),
            ("failed to authorize: 401 Unauthorized", "ksp::op::image-unauthorized"),
            ("pull access denied, repository does not exist", "ksp::op::image-unauthorized"),
            ("failed to resolve reference: docker.io/library/x:1: not found", "ksp::op::image-not-found"),
            ("dial tcp: lookup docker.io: no such host", "ksp::op::image-unreachable"),
            ("write /var/lib/containerd: no space left on device", "ksp::op::disk-full"),
            (
                "validate CRI v1 image API for endpoint \"unix:///run/containerd/containerd.sock\"",
                "ksp::op::no-runtime",
            ),
            ("something else", "ksp::op::command-failed"),
        ] {
            machine.fake("crictl", &format!("echo {} >&2; exit 1", quote(said)));
            assert_eq!(machine.apply(&op, &none).await.unwrap_err().code, code, "{said}");
        }
        assert!(machine.apply(&Image { reference: "--help".into() }, &none).await.is_err());
    }
}
