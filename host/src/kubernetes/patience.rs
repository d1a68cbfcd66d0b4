//! How long a run still waits for the cluster when a part of it has failed: what is waited for may never come, and nobody should sit
//! through every deadline before the reason is shown.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// From a failure until waits end. What needs nothing that failed is there by then, or nearly.
const AFTER_A_FAILURE: Duration = Duration::from_secs(60);

/// Cheap to clone; all clones lose it together.
#[derive(Clone)]
pub struct Patience(Arc<watch::Sender<Option<Instant>>>);

impl Default for Patience {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }
}

impl Patience {
    /// Waits that go on end within a minute. Only the first call counts.
    pub fn lose(&self) {
        self.lose_within(AFTER_A_FAILURE);
    }

    fn lose_within(&self, rest: Duration) {
        self.0.send_if_modified(|end| {
            let first = end.is_none();
            end.get_or_insert_with(|| Instant::now() + rest);
            first
        });
    }

    /// Comes a minute after it was lost, and never otherwise.
    pub async fn end(&self) {
        let mut lost = self.0.subscribe();
        match lost.wait_for(Option::is_some).await.map(|end| *end) {
            Ok(Some(end)) => tokio::time::sleep_until(end).await,
            _ => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_ends_once_it_was_lost_and_the_first_failure_counts() {
        let patience = Patience::default();
        let short = Duration::from_millis(20);
        assert!(tokio::time::timeout(short, patience.end()).await.is_err());
        patience.clone().lose_within(short);
        patience.lose();
        tokio::time::timeout(AFTER_A_FAILURE / 2, patience.end()).await.unwrap();
    }
}
