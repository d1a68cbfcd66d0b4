//! Asked ∩ granted. First-party plugins are granted what they ask for; others need `grants` in the cluster manifest.

use sha2::{Digest, Sha256};

use crate::diagnostic::Diagnostic;
use crate::plugin::PluginId;
use crate::plugin::capability::{Capability, Need};

/// What one stage may do.
#[derive(Debug, Clone)]
pub struct Grants {
    plugin: PluginId,
    stage: String,
    /// As it is written in the manifest.
    reference: String,
    asked: Vec<Capability>,
    granted: Vec<Capability>,
    trusted: bool,
}

/// A need that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("plugin {plugin} is not allowed to {need}")]
pub struct Denied {
    /// Who.
    pub plugin: PluginId,
    /// What.
    pub need: Need,
    /// What to do.
    pub hint: String,
}

impl Grants {
    /// The grants of a stage. `reference` is its `use` in the manifest; `trusted` means first-party.
    pub fn new(
        plugin: PluginId,
        stage: &str,
        reference: &str,
        mut asked: Vec<Capability>,
        mut granted: Vec<Capability>,
        trusted: bool,
    ) -> Self {
        for list in [&mut asked, &mut granted] {
            list.sort();
            list.dedup();
        }
        Self { plugin, stage: stage.into(), reference: reference.into(), asked, granted, trusted }
    }

    /// What the plugin asks for, sorted.
    pub fn asked(&self) -> &[Capability] {
        &self.asked
    }

    /// Asked for and not granted: what an approval would have to name.
    pub fn missing(&self) -> Vec<&Capability> {
        let covered =
            |asked: &&Capability| self.trusted || self.granted.iter().any(|granted| covers(granted, asked));
        self.asked.iter().filter(|asked| !covered(asked)).collect()
    }

    /// "sha256:…" of what is asked for: an update that asks for more differs.
    pub fn digest(&self) -> String {
        let texts: Vec<String> = self.asked.iter().map(Capability::to_string).collect();
        format!("sha256:{}", hex::encode(Sha256::digest(texts.join("\n"))))
    }

    /// Checks a need.
    ///
    /// # Errors
    /// With the lines of the manifest that would allow it.
    pub fn allows(&self, need: &Need) -> Result<(), Denied> {
        if !self.asked.iter().any(|asked| asked.allows(need)) {
            return Err(self.denied(need, format!(
                "its own manifest does not ask for `{}`: this is a defect of the plugin, or worse; do not grant it by hand",
                need.capability()
            )));
        }
        if self.trusted || self.granted.iter().any(|granted| granted.allows(need)) {
            return Ok(());
        }
        Err(self.denied(
            need,
            format!("to allow it, give the stage this in the manifest:\n{}", self.lines(&need.capability())),
        ))
    }

    /// The stage's lines in the manifest with one more grant.
    pub fn lines(&self, more: &str) -> String {
        let mut grants: Vec<String> = self.granted.iter().map(Capability::to_string).collect();
        if !more.is_empty() && !grants.iter().any(|known| known == more) {
            grants.push(more.into());
        }
        let grants: Vec<String> = grants.iter().map(|grant| format!("{grant:?}")).collect();
        format!("  [[stage]]\n  use = {:?}\n  grants = [{}]", self.reference, grants.join(", "))
    }

    fn denied(&self, need: &Need, hint: String) -> Denied {
        Denied { plugin: self.plugin.clone(), need: need.clone(), hint }
    }

    /// A denial as a finding.
    pub fn finding(&self, denied: &Denied) -> Diagnostic {
        Diagnostic::error("ksp::capability::denied", format!("{denied} (stage `{}`)", self.stage))
            .hint(denied.hint.clone())
    }
}

/// True when everything that `asked` allows is allowed by `granted`. For patterns only what is certain: the same text, or a
/// folder with everything below it.
fn covers(granted: &Capability, asked: &Capability) -> bool {
    match (granted, asked) {
        (Capability::Exec, Capability::Probe) => true,
        (Capability::Files(granted), Capability::Files(asked)) => {
            granted == asked
                || granted.strip_suffix("/**").is_some_and(|folder| {
                    !folder.contains('*') && (asked == folder || asked.starts_with(&format!("{folder}/")))
                })
        }
        (Capability::Kube(all), Capability::Kube(_))
        | (Capability::Pki(all), Capability::Pki(_))
        | (Capability::Secrets(all), Capability::Secrets(_))
        | (Capability::Reveal(all), Capability::Reveal(_))
            if all == "*" =>
        {
            true
        }
        _ => granted == asked,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(asked: &[&str], granted: &[&str], trusted: bool) -> Grants {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let plugin = PluginId {
            name: "acme/harden".into(),
            version: "0.3.1".parse().unwrap(),
            digest: "sha256:00".into(),
        };
        Grants::new(plugin, "harden", "./harden.wasm", parse(asked), parse(granted), trusted)
    }

    #[test]
    fn a_grant_alone_allows_nothing_that_was_not_asked_for() {
        let denied = grants(&["services"], &["exec"], false).allows(&Need::Exec).unwrap_err();
        assert!(denied.hint.contains("does not ask"));
    }

    #[test]
    fn a_denial_prints_the_lines_to_add() {
        let grants = grants(&["files:/etc/**"], &["files:/etc/sysctl.d/*"], false);
        let denied = grants.allows(&Need::File("/etc/ssh/sshd_config".into())).unwrap_err();
        assert_eq!(
            denied.to_string(),
            "plugin acme/harden 0.3.1 is not allowed to write /etc/ssh/sshd_config"
        );
        assert_eq!(
            denied.hint,
            "to allow it, give the stage this in the manifest:\n  [[stage]]\n  use = \"./harden.wasm\"\n  \
             grants = [\"files:/etc/sysctl.d/*\", \"files:/etc/ssh/sshd_config\"]"
        );
        assert!(grants.allows(&Need::File("/etc/sysctl.d/90-x.conf".into())).is_ok());
    }

    #[test]
    fn first_party_plugins_are_granted_what_they_ask() {
        assert!(grants(&["exec"], &[], true).allows(&Need::Exec).is_ok());
        assert!(grants(&["exec"], &[], true).missing().is_empty());
        assert!(grants(&["services"], &[], true).allows(&Need::Exec).is_err());
    }

    #[test]
    fn what_is_missing_is_known_before_anything_runs() {
        let grants = grants(&["exec", "files:/etc/x/y", "probe"], &["files:/etc/x/**", "exec"], false);
        assert!(grants.missing().is_empty());
        let narrow = super::tests::grants(&["files:/etc/**"], &["files:/etc/x/**"], false);
        assert_eq!(narrow.missing().len(), 1);
    }
}
