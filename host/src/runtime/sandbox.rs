//! The WASI that guests see: nothing. No files, no network, no environment, no arguments, closed standard input and output;
//! standard error is kept for error messages. While planning, time stands still and chance is the same each time, because
//! `plan` is a pure function.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use wasmtime_wasi::p2::pipe::MemoryOutputPipe;
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx};

use crate::runtime::limits;

/// Whether a call sees real time and real chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// Frozen.
    Pure,
    /// Real.
    Real,
}

/// 2000-01-01: recognisable in a log.
const FROZEN: Duration = Duration::from_secs(946_684_800);

struct Frozen;

impl HostWallClock for Frozen {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }
    fn now(&self) -> Duration {
        FROZEN
    }
}

impl HostMonotonicClock for Frozen {
    fn resolution(&self) -> u64 {
        1
    }
    fn now(&self) -> u64 {
        0
    }
}

/// An empty WASI, and where standard error goes.
pub fn context(time: Time) -> (WasiCtx, MemoryOutputPipe) {
    let stderr = MemoryOutputPipe::new(limits::STDERR_BYTES);
    let mut builder = WasiCtx::builder();
    builder
        .stderr(stderr.clone())
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(1 << 20);
    if time == Time::Pure {
        builder
            .wall_clock(Frozen)
            .monotonic_clock(Frozen)
            .insecure_random_seed(0)
            .insecure_random(StdRng::seed_from_u64(0))
            .secure_random(StdRng::seed_from_u64(1));
    }
    (builder.build(), stderr)
}
