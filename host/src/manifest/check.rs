//! What rules see and how they report.

use std::path::{Path, PathBuf};

use super::environment::{self, BadPath, Environment};
use super::findings::Findings;
use super::schema::{ManifestFile, NodeSection, SshSection, StageSection};
use super::source::Source;
use super::{codes, rules};
use crate::diagnostic::{Diagnostic, Span};

/// One manifest under examination. Values that were refused before have neutral ones in their place; what a rule reports
/// about those is dropped, so rules need not ask.
pub struct Check<'a> {
    /// The document.
    pub file: &'a ManifestFile,
    /// Its text.
    pub source: &'a Source,
    /// The manifest's folder.
    pub folder: &'a Path,
    /// The workstation.
    pub environment: &'a Environment,
    /// What was found.
    pub findings: &'a mut Findings,
}

impl<'a> Check<'a> {
    /// Runs every rule; on a manifest with far too many nodes only the one that says so.
    pub fn run(mut self) {
        if self.file.node.len() > rules::MOST_NODES {
            return rules::number_of_nodes(&mut self);
        }
        for rule in rules::ALL {
            rule(&mut self);
        }
    }

    /// Reports a finding about the value at a JSON pointer, and points at the value unless the finding points somewhere.
    pub fn report(&mut self, pointer: &str, finding: Diagnostic) {
        let finding =
            if finding.spans.is_empty() { finding.at(self.source.value(pointer, "")) } else { finding };
        self.findings.about(pointer, finding);
    }

    /// The place of a value, with a word about it.
    pub fn value(&self, pointer: &str, label: impl Into<String>) -> Span {
        self.source.value(pointer, label)
    }

    /// The nodes with their JSON pointers.
    pub fn nodes(&self) -> impl Iterator<Item = (String, &'a NodeSection)> + use<'a> {
        self.file.node.iter().enumerate().map(|(index, node)| (format!("/node/{index}"), node))
    }

    /// The stages with their JSON pointers.
    pub fn stages(&self) -> impl Iterator<Item = (String, &'a StageSection)> + use<'a> {
        self.file.stage.iter().enumerate().map(|(index, stage)| (format!("/stage/{index}"), stage))
    }

    /// Every place where SSH settings can stand, with its JSON pointer: `[ssh]`, then each node's `ssh`.
    pub fn ssh_sections(&self) -> Vec<(String, SshSection)> {
        let shared = ("/ssh".to_owned(), self.file.ssh.clone());
        let own = self.nodes().map(|(pointer, node)| (format!("{pointer}/ssh"), node.ssh.shared_part()));
        std::iter::once(shared).chain(own).collect()
    }

    /// Resolves a path of the manifest, or reports why it is none.
    pub fn path(&mut self, pointer: &str, text: &str) -> Option<PathBuf> {
        let bad = match environment::path(text, self.folder, self.environment) {
            Ok(path) => return Some(path),
            Err(bad) => bad,
        };
        let finding = match bad {
            BadPath::Empty => Diagnostic::error(codes::BAD_PATH, "the path is empty"),
            BadPath::Control => Diagnostic::error(codes::BAD_PATH, "the path contains control characters"),
            BadPath::OtherHome => {
                Diagnostic::error(codes::BAD_PATH, "only `~/…`, your own home folder, is looked up")
                    .hint("write the whole path")
            }
            BadPath::NoHome => {
                Diagnostic::error(codes::NO_HOME, "`~/` needs a home folder, and `HOME` is not set")
                    .hint("set `HOME`, or write the whole path")
            }
        };
        self.report(pointer, finding);
        None
    }
}
