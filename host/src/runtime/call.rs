//! One call of a guest: a fresh store, a deadline, and an error that says what became of it.

use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{Store, Trap};

use crate::plugin::error::PluginError;
use crate::runtime::bindings::Plugin;
use crate::runtime::bindings::ksp::plugin::types::Error as GuestError;
use crate::runtime::bindings::teardown::WithTeardown;
use crate::runtime::state::State;
use crate::runtime::{LoadedStage, limits};

/// A call that is about to happen.
pub struct Call {
    loaded: LoadedStage,
    store: Store<State>,
    deadline: Duration,
}

/// True when the component has the optional export.
pub fn exports_teardown(component: &Component) -> bool {
    component.get_export_index(None, "ksp:plugin/teardown@0.1.0").is_some()
}

impl Call {
    /// Prepares the store.
    pub fn start(loaded: &LoadedStage, state: State, deadline: Duration) -> Self {
        let engine = loaded.instance.engine();
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.meter);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store.set_hostcall_fuel(limits::HOSTCALL_BYTES);
        store.set_max_component_handles(limits::HANDLES);
        Self { loaded: loaded.clone(), store, deadline }
    }

    /// Instantiates and calls. The store is not used again after a trap or a timeout.
    ///
    /// # Errors
    /// With what became of the guest.
    pub async fn finish<R>(
        mut self,
        call: impl AsyncFnOnce(&mut Store<State>, &Plugin) -> wasmtime::Result<R>,
    ) -> Result<(R, State), PluginError> {
        let work = async {
            let plugin = self.loaded.instance.instantiate_async(&mut self.store).await?;
            call(&mut self.store, &plugin).await
        };
        match tokio::time::timeout(self.deadline, work).await {
            Ok(Ok(answer)) => Ok((answer, self.store.into_data())),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(self.timed_out()),
        }
    }

    /// As [`Self::finish`] for the optional export `teardown`.
    ///
    /// # Errors
    /// With what became of the guest.
    pub async fn finish_teardown(
        mut self,
        nodes: &[u32],
    ) -> Result<(Result<(), GuestError>, State), PluginError> {
        let work = async {
            let instance = self.loaded.instance.instance_pre().instantiate_async(&mut self.store).await?;
            let plugin = WithTeardown::new(&mut self.store, &instance)?;
            plugin.ksp_plugin_teardown().call_plan(&mut self.store, nodes).await
        };
        match tokio::time::timeout(self.deadline, work).await {
            Ok(Ok(answer)) => Ok((answer, self.store.into_data())),
            Ok(Err(error)) => Err(self.explain(&error)),
            Err(_) => Err(self.timed_out()),
        }
    }

    fn timed_out(&self) -> PluginError {
        let message = format!("it did not end within {:?} and was stopped", self.deadline);
        self.error("ksp::plugin::timeout", message)
            .hint("it may be in an endless loop: report this to the plugin's publisher")
    }

    fn explain(&self, error: &wasmtime::Error) -> PluginError {
        let state = self.store.data();
        if state.meter.refused {
            let limit = state.meter.limit_mib();
            let message = format!("it needed more than its {limit} MiB of memory and was stopped");
            return self
                .error("ksp::plugin::out-of-memory", message)
                .hint("a plugin can ask for up to 256 MiB with `limits.memory-mib` in its plugin.toml");
        }
        let reason = match error.downcast_ref::<Trap>() {
            Some(Trap::UnreachableCodeReached) => "it gave up (a panic or a failed assertion)".to_owned(),
            Some(Trap::StackOverflow) => "its stack overflowed (endless recursion)".to_owned(),
            Some(trap) => trap.to_string(),
            // What a host function refused so firmly that the guest ended.
            None => format!("{:#}", error.root_cause()),
        };
        let mut made = self.error("ksp::plugin::trapped", format!("it was stopped: {reason}"));
        if made.tail.is_empty() {
            made.tail = format!("{error:?}").lines().take(limits::TAIL_LINES).map(str::to_owned).collect();
        }
        made.hint("nothing was changed by it; report this to the plugin's publisher")
    }

    fn error(&self, code: &str, message: String) -> PluginError {
        let state = self.store.data();
        let mut error = PluginError::new(code, &state.stage.plugin, &state.stage.name, message);
        error.tail = state.tail();
        error
    }
}
