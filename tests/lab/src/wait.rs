//! Waiting that ends: a deadline, and the last reason when it passes.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Tries until it succeeds; an error is the reason why it is not yet so.
pub fn until<T>(what: &str, deadline: Duration, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    let end = Instant::now() + deadline;
    let mut pause = Duration::from_millis(50);
    loop {
        let reason = match attempt() {
            Ok(value) => return Ok(value),
            Err(reason) => reason,
        };
        if Instant::now() >= end {
            bail!("{what}: not so after {} s; last reason: {reason:#}", deadline.as_secs());
        }
        std::thread::sleep(pause);
        pause = (pause * 3 / 2).min(Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_is_told() {
        let mut count = 0;
        let error = until("the moon is full", Duration::from_millis(120), || -> Result<()> {
            count += 1;
            bail!("attempt {count}")
        })
        .unwrap_err()
        .to_string();
        assert!(error.starts_with("the moon is full"), "{error}");
        assert!(error.ends_with(&format!("attempt {count}")), "{error}");
    }
}
