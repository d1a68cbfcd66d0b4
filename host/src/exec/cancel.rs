//! Stopping a run. First wish: running ops finish, no new ones start. Second: everything ends now.

use std::sync::Arc;

use tokio::sync::watch;

/// How far a run is to be stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Wish {
    #[default]
    GoOn,
    Stop,
    Abort,
}

/// Stops a run; cheap to clone, all clones mean the same run.
#[derive(Debug, Clone)]
pub struct Cancel {
    wish: Arc<watch::Sender<Wish>>,
}

impl Default for Cancel {
    fn default() -> Self {
        Self { wish: Arc::new(watch::Sender::new(Wish::GoOn)) }
    }
}

impl Cancel {
    /// Running ops finish, no new ones start.
    pub fn graceful(&self) {
        self.raise(Wish::Stop);
    }

    /// Ends everything now; sessions are closed.
    pub fn abort(&self) {
        self.raise(Wish::Abort);
    }

    /// True when no new op may start.
    pub fn is_stopping(&self) -> bool {
        *self.wish.borrow() >= Wish::Stop
    }

    /// True when everything ends now.
    pub fn is_aborting(&self) -> bool {
        *self.wish.borrow() >= Wish::Abort
    }

    /// Returns when no new op may start.
    pub async fn stopping(&self) {
        self.reached(Wish::Stop).await;
    }

    /// Returns when everything is to end.
    pub async fn aborting(&self) {
        self.reached(Wish::Abort).await;
    }

    fn raise(&self, wish: Wish) {
        self.wish.send_if_modified(|now| {
            let raised = wish > *now;
            *now = (*now).max(wish);
            raised
        });
    }

    async fn reached(&self, wish: Wish) {
        // The sender lives as long as `self`: waiting cannot fail.
        let _ = self.wish.subscribe().wait_for(|now| *now >= wish).await;
    }
}
