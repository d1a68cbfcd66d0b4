//! One builder at a time, also across processes: tests and scenarios run side by side.

use std::fs::File;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{paths, tell, wait};

/// How long another process may hold a lock: the longest build and then some.
const DEADLINE: Duration = Duration::from_secs(3600);

/// After how long it is worth saying.
const PATIENCE: Duration = Duration::from_secs(3);

/// Held until dropped.
#[must_use]
pub struct Lock(#[expect(dead_code, reason = "the open file is the lock")] File);

/// Takes the named lock, waiting for whoever has it.
pub fn take(name: &str) -> Result<Lock> {
    let path = paths::cached("locks")?.join(name);
    let file = File::create(&path).with_context(|| format!("cannot make {}", path.display()))?;
    let start = Instant::now();
    let mut told = false;
    wait::until(&format!("lock {}", path.display()), DEADLINE, || match file.try_lock() {
        Ok(()) => Ok(()),
        Err(error) => {
            if !told && start.elapsed() > PATIENCE {
                tell::say(format_args!("another lab is busy with `{name}`: waiting"));
                told = true;
            }
            bail!("{error}")
        }
    })?;
    Ok(Lock(file))
}
