//! Exit codes: the one place. Scripts rely on them; they only grow.
//!
//! | code | meaning | cluster changed? |
//! |---|---|---|
//! | 0 | done, or nothing to do | as reported |
//! | 1 | run failed: one or more steps failed, a node was left out, or the cluster is unhealthy | maybe; the report says |
//! | 2 | wrong usage | no |
//! | 3 | manifest, lock or plugin invalid | no |
//! | 4 | not reachable, login refused, or preflight failed | no |
//! | 5 | cluster locked by another run | no |
//! | 6 | `plan --exit-code`: changes are pending | no |
//! | 70 | bug in ksp, or a plugin trapped | maybe |
//! | 130 | interrupted; the same command continues | maybe |

use crate::operations::Class;

/// What the process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done, or nothing to do.
    Done = 0,
    /// A step failed, a node was left out, or the cluster is unhealthy.
    Failed = 1,
    /// Wrong usage.
    Usage = 2,
    /// Manifest, lock or plugin invalid.
    Invalid = 3,
    /// Not reachable, login refused, or preflight failed.
    Unreachable = 4,
    /// Locked by another run.
    Locked = 5,
    /// `plan --exit-code`: changes are pending.
    Pending = 6,
    /// A defect.
    Internal = 70,
    /// Stopped by a signal.
    Interrupted = 130,
}

impl Exit {
    /// The number.
    pub fn code(self) -> u8 {
        self as u8
    }
}

impl From<Class> for Exit {
    fn from(class: Class) -> Self {
        match class {
            Class::Usage => Exit::Usage,
            Class::Invalid => Exit::Invalid,
            Class::Unreachable => Exit::Unreachable,
            Class::Locked => Exit::Locked,
            Class::Failed => Exit::Failed,
            Class::Internal => Exit::Internal,
            Class::Interrupted => Exit::Interrupted,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit.code())
    }
}
