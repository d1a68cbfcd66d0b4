//! `log`: what a plugin says, into the run's log.

use wasmtime::Result;

use crate::event::Event;
use crate::runtime::bindings::ksp::plugin::log::Host;
use crate::runtime::bindings::ksp::plugin::types::Severity;
use crate::runtime::state::State;

/// Fields of one message.
const FIELDS: usize = 20;

impl Host for State {
    fn emit(&mut self, severity: Severity, message: String, fields: Vec<(String, String)>) -> Result<()> {
        let label = match severity {
            Severity::Trace | Severity::Debug => "debug: ",
            Severity::Info => "",
            Severity::Warn => "warning: ",
            Severity::Error => "error: ",
        };
        let fields: String =
            fields.iter().take(FIELDS).map(|(name, value)| format!(" {name}={value:?}")).collect();
        // A panic message has two lines: place and text.
        let message = message.trim_end().replace('\n', " ");
        self.say(severity == Severity::Error, &format!("{label}{message}{fields}"));
        Ok(())
    }

    fn progress(&mut self, done: u64, total: u64, unit: String) -> Result<()> {
        let unit = crate::runtime::convert::clean(&unit, 20);
        let stage = self.stage.name.clone();
        self.inputs.events.emit(Event::StepProgress { stage, node: self.node_name(), done, total, unit });
        Ok(())
    }
}
