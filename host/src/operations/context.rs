//! What every operation works with.

use std::path::PathBuf;
use std::time::Duration;

use crate::event::Events;
use crate::exec::Cancel;
use crate::paths::Paths;
use crate::redact::Redactor;

/// What every operation works with.
#[derive(Clone)]
pub struct Context {
    /// The manifest's path, as the user gave it.
    pub manifest: PathBuf,
    /// Where things are kept on the workstation.
    pub paths: Paths,
    /// Tells what happens.
    pub events: Events,
    /// Knows every secret.
    pub redactor: Redactor,
    /// Stops the run.
    pub cancel: Cancel,
    /// Remember host keys that are not known yet.
    pub accept_new: bool,
    /// What every pod is connected by may be replaced.
    pub allow_network_rebuild: bool,
    /// How long to wait while another run holds the cluster's lock.
    pub lock_timeout: Duration,
}
