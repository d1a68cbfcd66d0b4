//! The one engine: what guests may use, and the clock that interrupts them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use wasmtime::{Config, Engine};

use crate::plugin::error::PluginError;

/// How often running guests are made to yield, so that their deadline can be looked at.
const TICK: Duration = Duration::from_millis(10);

/// The engine and its ticker, which ends with it.
pub struct Ticking {
    /// Cheap to clone.
    pub engine: Engine,
    stop: Arc<AtomicBool>,
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Makes the engine. Components of other toolchains (Python, JavaScript) need gc-less, thread-less core WebAssembly only.
///
/// # Errors
/// This machine cannot run WebAssembly.
pub fn start() -> Result<Ticking, PluginError> {
    let mut config = Config::new();
    config.epoch_interruption(true).max_wasm_stack(512 << 10);
    let engine = Engine::new(&config).map_err(|error| {
        PluginError::machinery(
            "ksp::plugin::no-sandbox",
            format!("the WebAssembly engine cannot be started: {error:#}"),
        )
    })?;
    let stop = Arc::new(AtomicBool::new(false));
    let (weak, stopped) = (engine.weak(), stop.clone());
    // A thread of its own: a guest that never yields must not be able to keep the ticker from running.
    std::thread::Builder::new()
        .name("ksp-epoch".into())
        .spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
                let Some(engine) = weak.upgrade() else { break };
                engine.increment_epoch();
            }
        })
        .map_err(|error| {
            PluginError::machinery(
                "ksp::plugin::no-sandbox",
                format!("the deadline thread cannot be started: {error}"),
            )
        })?;
    Ok(Ticking { engine, stop })
}
