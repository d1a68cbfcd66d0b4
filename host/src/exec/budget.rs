//! The disruption budget: how many nodes that already serve may be interrupted at a time. Control planes and etcd members one at
//! a time and never below quorum, workers as the operator says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// A budget for one class of nodes.
#[derive(Debug)]
pub struct Budget {
    what: &'static str,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    limit: usize,
    used: usize,
    /// Nodes that did not come back.
    lost: Vec<String>,
}

impl Budget {
    /// So many nodes at a time.
    pub fn new(what: &'static str, limit: usize) -> Arc<Self> {
        let state = Mutex::new(State { limit, used: 0, lost: Vec::new() });
        Arc::new(Self { what, state, changed: Notify::new() })
    }

    /// For members of a quorum: one at a time, none when those that are `down` use up what the quorum can spare. One or two
    /// members can spare nobody, and still have to be maintained.
    pub fn quorum(members: usize, down: usize) -> Arc<Self> {
        let spare = members - (members / 2 + 1).min(members);
        let limit = if spare == 0 { 1 } else { spare }.saturating_sub(down).min(1);
        Self::new("control plane or etcd member", limit)
    }

    /// Waits for its turn.
    ///
    /// # Errors
    /// There will be no turn, because too many nodes are down.
    pub async fn acquire(self: &Arc<Self>, node: &str) -> Result<Permit, String> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.lock();
                if state.limit <= state.lost.len() {
                    return Err(self.refusal(&state));
                }
                if state.used + state.lost.len() < state.limit {
                    state.used += 1;
                    return Ok(Permit { budget: Arc::clone(self), node: node.to_owned(), lost: false });
                }
            }
            changed.await;
        }
    }

    /// True when somebody else is interrupted now.
    pub fn is_busy(&self) -> bool {
        let state = self.lock();
        state.used + state.lost.len() >= state.limit
    }

    fn refusal(&self, state: &State) -> String {
        if state.lost.is_empty() {
            format!("no {} may be interrupted: too many are down already", self.what)
        } else {
            format!(
                "no further {} may be interrupted: {} did not come back",
                self.what,
                state.lost.join(", ")
            )
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn; dropping it ends it.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    node: String,
    lost: bool,
}

impl Permit {
    /// The node did not come back: its place is not given to another.
    pub fn forfeit(mut self) {
        self.lost = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.budget.lock();
        state.used = state.used.saturating_sub(1);
        if self.lost {
            state.lost.push(self.node.clone());
        }
        drop(state);
        self.budget.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quorums_spare_what_they_can() {
        let limit = |members, down| Budget::quorum(members, down).lock().limit;
        assert_eq!([limit(1, 0), limit(2, 0), limit(3, 0), limit(5, 1)], [1, 1, 1, 1]);
        assert_eq!([limit(1, 1), limit(2, 1), limit(3, 1), limit(5, 2)], [0, 0, 0, 0]);
        assert_eq!(limit(0, 0), 1);
    }

    #[tokio::test]
    async fn one_at_a_time_and_nobody_after_a_loss() {
        let budget = Budget::new("worker", 1);
        let first = budget.acquire("w1").await.unwrap();
        let second = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.acquire("w2").await }
        });
        let third = tokio::spawn({
            let budget = Arc::clone(&budget);
            async move { budget.acquire("w3").await }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished() && !third.is_finished());
        drop(first);
        second.await.unwrap().unwrap().forfeit();
        let refusal = third.await.unwrap().unwrap_err();
        assert_eq!(refusal, "no further worker may be interrupted: w2 did not come back");
    }
}
