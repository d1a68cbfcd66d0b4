//! Secrets come from files or the environment, never from the manifest itself.

use std::os::unix::fs::MetadataExt as _;

use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::findings::Findings;
use crate::manifest::mask::sounds_secret;
use crate::manifest::schema::SecretSection;
use crate::manifest::source::{Source, escape};
use crate::manifest::tree::Node;
use crate::manifest::{codes, resolve};

/// Keys by which people try to give a secret itself.
const INLINE_KEYS: &[&str] =
    &["value", "password", "secret", "token", "data", "text", "content", "key", "inline"];

/// Reports secrets that stand in the manifest, before the walk would complain about their type. Shows none of them.
pub fn refuse_inline(source: &Source, findings: &mut Findings) {
    let Some(Node::Table(secrets)) = source.root().get("secrets").map(|secrets| &secrets.node) else {
        return;
    };
    for (name, item) in secrets {
        let pointer = format!("/secrets/{}", escape(name));
        let inline = match &item.node {
            Node::String(_) => Some(pointer),
            Node::Table(keys) => keys
                .iter()
                .find(|(key, _)| INLINE_KEYS.contains(&key.as_str()))
                .map(|(key, _)| format!("{pointer}/{}", escape(key))),
            _ => None,
        };
        let Some(pointer) = inline else { continue };
        let finding = Diagnostic::error(codes::INLINE_SECRET, "a secret does not belong into the manifest")
            .at(source.key(&pointer, ""))
            .hint(format!(
                "put it into a file that only you can read, and write `{name} = {{ file = \"…\" }}`"
            ))
            .hint(format!("or take it from the environment: `{name} = {{ env = \"…\" }}`"))
            .hint("if this file was in version control, change the secret");
        findings.about(&pointer, finding);
        // The whole secret: what else is wrong with it does not matter now.
        findings.mark(&format!("/secrets/{}", escape(name)));
    }
}

fn each<'a>(check: &Check<'a>) -> impl Iterator<Item = (String, &'a str, &'a SecretSection)> + use<'a> {
    let file = check.file;
    file.secrets.iter().map(|(name, secret)| (format!("/secrets/{}", escape(name)), name.as_str(), secret))
}

/// Plugins ask for secrets by name.
pub fn names(check: &mut Check<'_>) {
    for (pointer, name, _) in each(check) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 63 || !name.chars().all(allowed) || name.starts_with(['-', '.']) {
            let finding = Diagnostic::error(codes::BAD_SECRET_NAME, "not a name for a secret")
                .at(check.source.key(&pointer, ""))
                .hint("use letters, digits, `-`, `_` and `.`, at most 63");
            check.report(&pointer, finding);
        }
    }
}

/// Exactly one of the two.
pub fn sources(check: &mut Check<'_>) {
    for (pointer, name, secret) in each(check) {
        let message = match (&secret.file, &secret.env) {
            (Some(_), Some(_)) => format!("the secret `{name}` has both `file` and `env`"),
            (None, None) => format!("the secret `{name}` comes from nowhere"),
            _ => continue,
        };
        // Something refused inside may have been what is missing.
        if check.findings.is_intact(&pointer) {
            let finding = Diagnostic::error(codes::SECRET_SOURCE, message);
            check.report(&pointer, finding.hint("give exactly one of `file` and `env`"));
        }
    }
}

/// Regular files that nobody else can read or change.
pub fn files(check: &mut Check<'_>) {
    for (pointer, name, secret) in each(check) {
        let Some(text) = &secret.file else { continue };
        let pointer = format!("{pointer}/file");
        let Some(path) = check.path(&pointer, text) else { continue };
        let shown = path.display();
        if let Err(error) = resolve::read_secret(&path) {
            let finding = Diagnostic::error(
                codes::SECRET_MISSING,
                format!("cannot read the secret `{name}` from {shown}: {error}"),
            );
            check.report(&pointer, finding);
        } else if let Ok(metadata) = std::fs::metadata(&path) {
            let owner_is_other =
                own_user().is_some_and(|user| user != 0 && metadata.uid() != user && metadata.uid() != 0);
            if metadata.mode() & 0o077 != 0 {
                let message = format!(
                    "the secret `{name}`: {shown} has mode {:04o}, others can read it",
                    metadata.mode() & 0o7777
                );
                let finding =
                    Diagnostic::error(codes::SECRET_EXPOSED, message).hint(format!("`chmod 600 {shown}`"));
                check.report(&pointer, finding);
            } else if owner_is_other {
                let message =
                    format!("the secret `{name}`: {shown} belongs to somebody else, who can change it");
                check.report(&pointer, Diagnostic::error(codes::SECRET_EXPOSED, message));
            }
        }
    }
}

/// The user this program runs as, without a call that Rust considers unsafe.
fn own_user() -> Option<u32> {
    std::fs::metadata("/proc/self").ok().map(|metadata| metadata.uid())
}

/// Variables that are set.
pub fn variables(check: &mut Check<'_>) {
    for (pointer, name, secret) in each(check) {
        let Some(variable) = &secret.env else { continue };
        let pointer = format!("{pointer}/env");
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if variable.is_empty()
            || !variable.chars().all(allowed)
            || variable.starts_with(|c: char| c.is_ascii_digit())
        {
            let finding = Diagnostic::error(codes::BAD_ENV_NAME, "not the name of an environment variable")
                .hint("write the name only, without `$` and braces: letters, digits and `_`");
            check.report(&pointer, finding);
        } else if (check.environment.variable)(variable).is_none_or(|value| value.is_empty()) {
            let finding = Diagnostic::error(
                codes::ENV_UNSET,
                format!("the secret `{name}`: `{variable}` is unset or empty"),
            );
            check.report(&pointer, finding);
        }
    }
}

/// A string under a key such as `password`, unless it is the name of a secret of this manifest.
pub fn suspected(check: &mut Check<'_>) {
    for (pointer, stage) in check.stages() {
        let mut todo: Vec<(String, &str, &serde_json::Value)> = stage
            .config
            .iter()
            .map(|(key, value)| (format!("{pointer}/config/{}", escape(key)), key.as_str(), value))
            .collect();
        while let Some((pointer, key, value)) = todo.pop() {
            match value {
                serde_json::Value::String(text)
                    if sounds_secret(key) && !text.is_empty() && !check.file.secrets.contains_key(text) =>
                {
                    let finding = Diagnostic::warning(
                        codes::SUSPECTED_SECRET,
                        format!("`{key}` seems to hold a secret"),
                    )
                    .at(check.source.key(&pointer, ""))
                    .hint("declare it under `[secrets]` and give its name here, if the plugin takes one");
                    check.report(&pointer, finding);
                }
                serde_json::Value::Object(entries) => todo.extend(
                    entries
                        .iter()
                        .map(|(key, value)| (format!("{pointer}/{}", escape(key)), key.as_str(), value)),
                ),
                serde_json::Value::Array(items) => {
                    todo.extend(
                        items
                            .iter()
                            .enumerate()
                            .map(|(index, value)| (format!("{pointer}/{index}"), key, value)),
                    );
                }
                _ => {}
            }
        }
    }
}
