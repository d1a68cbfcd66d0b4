//! What has happened so far, for those who wait for it: steps, ops, and whole stages.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::op::Venue;

/// Why something will not come: "`etcd` failed on cp2".
pub type Reason = Arc<str>;

/// Something that comes once, or never will.
#[derive(Debug)]
pub struct Signal(watch::Sender<Option<Result<(), Reason>>>);

impl Default for Signal {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Signal {
    /// It is there, or it will not come. Only the first call counts.
    pub fn settle(&self, how: Result<(), Reason>) {
        self.0.send_if_modified(|now| {
            let first = now.is_none();
            if first {
                *now = Some(how);
            }
            first
        });
    }

    /// True when waiting would return at once.
    pub fn is_settled(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// True when it will not come.
    pub fn has_failed(&self) -> bool {
        matches!(&*self.0.borrow(), Some(Err(_)))
    }

    /// Waits for it.
    ///
    /// # Errors
    /// Why it will not come.
    pub async fn wait(&self) -> Result<(), Reason> {
        let mut receiver = self.0.subscribe();
        let settled = receiver.wait_for(Option::is_some).await;
        // The sender lives as long as `self`: waiting cannot fail.
        settled.map_or(Ok(()), |value| value.clone().unwrap_or(Ok(())))
    }
}

/// What happens at several venues. It is there when all of them are settled: a worker that failed is left out, anything else
/// that failed stops those who need it.
#[derive(Debug)]
pub struct Tally {
    signal: Signal,
    state: Mutex<TallyState>,
}

#[derive(Debug)]
struct TallyState {
    total: usize,
    left: usize,
    failed: BTreeMap<Venue, (bool, Reason)>,
}

impl Tally {
    /// Something at this many venues; nothing at all is there from the start.
    pub fn new(total: usize) -> Self {
        let tally = Self {
            signal: Signal::default(),
            state: Mutex::new(TallyState { total, left: total, failed: BTreeMap::new() }),
        };
        if total == 0 {
            tally.signal.settle(Ok(()));
        }
        tally
    }

    /// One venue is settled. `critical`: a failure there stops everybody.
    pub fn settle(&self, venue: Venue, critical: bool, how: &Result<(), Reason>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.left = state.left.saturating_sub(1);
        if let Err(reason) = how {
            state.failed.insert(venue, (critical, Arc::clone(reason)));
        }
        if state.left > 0 {
            return;
        }
        let stopper = state.failed.values().find(|(critical, _)| *critical);
        let nobody = (state.failed.len() == state.total).then(|| state.failed.values().next()).flatten();
        let verdict = stopper.or(nobody).map_or(Ok(()), |(_, reason)| Err(Arc::clone(reason)));
        drop(state);
        self.signal.settle(verdict);
    }

    /// True when waiting would return at once.
    pub fn is_settled(&self) -> bool {
        self.signal.is_settled()
    }

    /// True when all venues are settled, and badly for everybody.
    pub fn has_failed(&self) -> bool {
        self.signal.has_failed()
    }

    /// Waits until all venues are settled.
    ///
    /// # Errors
    /// What failed, when it stops everybody, or when it is the waiting venue itself.
    pub async fn wait(&self, who: Venue) -> Result<(), Reason> {
        self.signal.wait().await?;
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.failed.get(&who).map_or(Ok(()), |(_, reason)| Err(Arc::clone(reason)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::NodeId;

    const W1: Venue = Venue::Node(NodeId(1));
    const W2: Venue = Venue::Node(NodeId(2));

    fn failed() -> Result<(), Reason> {
        Err("it failed".into())
    }

    #[tokio::test]
    async fn a_failed_worker_is_left_out() {
        let tally = Tally::new(2);
        tally.settle(W1, false, &failed());
        assert!(!tally.is_settled());
        tally.settle(W2, false, &Ok(()));
        assert!(!tally.has_failed());
        assert_eq!(tally.wait(W2).await, Ok(()));
        assert_eq!(tally.wait(Venue::Cluster).await, Ok(()));
        assert!(tally.wait(W1).await.is_err());
    }

    #[tokio::test]
    async fn a_failed_control_plane_stops_everybody_and_so_does_a_failure_everywhere() {
        let critical = Tally::new(2);
        critical.settle(W1, true, &failed());
        critical.settle(W2, false, &Ok(()));
        assert!(critical.wait(W2).await.is_err() && critical.has_failed());
        let everywhere = Tally::new(1);
        everywhere.settle(W1, false, &failed());
        assert!(everywhere.wait(Venue::Cluster).await.is_err());
        assert_eq!(Tally::new(0).wait(W1).await, Ok(()));
    }
}
