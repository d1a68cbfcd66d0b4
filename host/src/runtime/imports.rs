//! What the host offers to guests: one file per WIT interface. All interfaces are always linked; what a phase or a grant
//! forbids is answered with `denied`, so that a component never fails to load because of what it might not call.

mod artifact;
mod blobs;
mod cluster;
mod exec;
mod facts;
mod log;
mod pki;
mod plan;
mod secrets;
mod template;
mod upload;

use wasmtime::Engine;
use wasmtime::component::{HasSelf, Linker};

use crate::plugin::error::PluginError;
use crate::runtime::bindings::Plugin;
use crate::runtime::bindings::ksp::plugin::types;
use crate::runtime::state::State;

impl types::Host for State {}

/// A linker with everything: the contract, and the empty WASI that compilers of every language reach for.
///
/// # Errors
/// None: the same code is linked each time.
pub fn link(engine: &Engine) -> Result<Linker<State>, PluginError> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)
        .and_then(|()| Plugin::add_to_linker::<_, HasSelf<State>>(&mut linker, |state| state))
        .map_err(|error| {
            PluginError::machinery("ksp::plugin::no-sandbox", format!("cannot link: {error:#}"))
        })?;
    Ok(linker)
}
