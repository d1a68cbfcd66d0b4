//! Ctrl-C and its relatives. Once: running steps finish, nothing new starts. Twice: everything ends now.

use tokio::signal::unix::{SignalKind, signal};

use crate::exec::Cancel;

/// Listens until dropped. `announce` tells the user what happens.
///
/// # Errors
/// The operating system gives no signal handlers.
pub fn listen(cancel: Cancel, announce: impl Fn(&str) + Send + 'static) -> std::io::Result<Listening> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let task = tokio::spawn(async move {
        let mut asked = 0;
        loop {
            let strong = tokio::select! {
                _ = interrupt.recv() => true,
                _ = terminate.recv() => true,
                // The terminal is gone: there is nobody to ask for more than a safe end.
                _ = hangup.recv() => false,
            };
            if asked > 0 && strong {
                announce("Aborting now. What was running is checked by the next run.");
                cancel.abort();
                return;
            }
            if asked == 0 {
                announce("Stopping: running steps will finish. Press Ctrl-C again to abort them now.");
                cancel.graceful();
            }
            asked += 1;
        }
    });
    Ok(Listening(task))
}

/// Ends listening when dropped.
pub struct Listening(tokio::task::JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}
