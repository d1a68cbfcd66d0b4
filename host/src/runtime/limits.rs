//! What one call may use of the workstation.

use std::time::Duration;

use wasmtime::{ResourceLimiter, Result, StoreLimits, StoreLimitsBuilder};

use crate::plugin::metadata::Limits;

/// Linear memory when the plugin does not ask for another size, in MiB.
const MEMORY_MIB: u32 = 64;

/// Wall time of `plan` when the plugin does not ask for another.
const PLAN: Duration = Duration::from_secs(10);

/// Wall time of `validate`.
pub const VALIDATE: Duration = Duration::from_secs(5);

/// Wall time of `run` on one node, waiting for the node included.
pub const RUN: Duration = Duration::from_secs(30 * 60);

/// Bytes that a guest may hand over in one call of the host.
pub const HOSTCALL_BYTES: usize = 8 << 20;

/// Handles that a guest may hold: a plugin that keeps an op of each of 1000 nodes at hand is fine.
pub const HANDLES: usize = 16 << 10;

/// Bytes that the host holds for one call.
pub const BLOB_BYTES: usize = 128 << 20;

/// Ops, findings and checks that one plan may hold.
pub const PLAN_ENTRIES: usize = 200_000;

/// Lines that a plugin may log in one call; the rest is counted.
pub const LOG_LINES: usize = 10_000;

/// Lines of what a plugin said last that go into an error.
pub const TAIL_LINES: usize = 20;

/// Bytes of a log line.
pub const LOG_LINE_BYTES: usize = 8 << 10;

/// Bytes of captured standard error.
pub const STDERR_BYTES: usize = 64 << 10;

/// Wall time of `plan` for a plugin.
pub fn plan_time(limits: &Limits) -> Duration {
    limits.plan_ms.map_or(PLAN, Duration::from_millis)
}

/// Counts for wasmtime, and remembers whether it ever said no: a guest that runs out of memory ends in an unspecific trap.
pub struct Meter {
    inner: StoreLimits,
    limit_mib: u32,
    /// A wish for more memory was refused.
    pub refused: bool,
}

impl Meter {
    /// For a plugin.
    pub fn new(limits: &Limits) -> Self {
        let limit_mib = limits.memory_mib.unwrap_or(MEMORY_MIB).min(Limits::MOST_MEMORY_MIB);
        let inner = StoreLimitsBuilder::new()
            .memory_size((limit_mib as usize) << 20)
            .table_elements(100_000)
            .instances(100)
            .tables(100)
            .memories(10)
            .build();
        Self { inner, limit_mib, refused: false }
    }

    /// How much linear memory there is, in MiB.
    pub fn limit_mib(&self) -> u32 {
        self.limit_mib
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        let allowed = self.inner.memory_growing(current, desired, maximum)?;
        self.refused |= !allowed;
        Ok(allowed)
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> Result<bool> {
        self.inner.table_growing(current, desired, maximum)
    }

    fn instances(&self) -> usize {
        self.inner.instances()
    }

    fn tables(&self) -> usize {
        self.inner.tables()
    }

    fn memories(&self) -> usize {
        self.inner.memories()
    }
}
