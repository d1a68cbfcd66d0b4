//! Why a command ended without doing what was asked. The class decides the exit code (`cli/exit.rs`), the findings say the rest.

use std::fmt;

use crate::diagnostic::Diagnostic;

/// The kinds of failure that a script can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The command was called wrongly; nothing was contacted.
    Usage,
    /// The manifest, the lock file or a plugin is not acceptable; nothing was changed.
    Invalid,
    /// A node cannot be reached or is not fit for its role; nothing was changed.
    Unreachable,
    /// Another run holds the cluster; nothing was changed.
    Locked,
    /// A step failed; the report says what was done before.
    Failed,
    /// A defect of ksp, or a plugin that trapped.
    Internal,
    /// The user stopped it.
    Interrupted,
}

/// A failed command.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What kind of failure.
    pub class: Class,
    /// All of them, the cause first.
    pub findings: Vec<Diagnostic>,
}

impl Failure {
    /// A failure with one finding.
    pub fn new(class: Class, finding: Diagnostic) -> Self {
        Self { class, findings: vec![finding] }
    }

    /// A failure with several findings.
    pub fn all(class: Class, findings: Vec<Diagnostic>) -> Self {
        Self { class, findings }
    }

    /// The user wished so before anything was changed.
    pub fn interrupted() -> Self {
        let finding = Diagnostic::error("ksp::run::interrupted", "interrupted; nothing was changed");
        Self::new(Class::Interrupted, finding)
    }

    /// A failure of the workstation: a folder that cannot be written, a disk that is full.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        let finding = Diagnostic::error("ksp::workstation::io", format!("cannot {what}: {error}"));
        Self::new(Class::Failed, finding)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.findings.first().map_or("failed", |finding| finding.message.as_str()))
    }
}

impl std::error::Error for Failure {}
