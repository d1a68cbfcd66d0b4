//! `template`: Jinja templates, rendered on the host with bounded work. An undefined name is an error.

use std::io::{self, Write};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};
use wasmtime::Result;
use wasmtime::component::Resource;

use crate::redact::Secret;
use crate::runtime::bindings::ksp::plugin::template::Host;
use crate::runtime::bindings::ksp::plugin::types::{Error, ErrorCode};
use crate::runtime::convert::fault;
use crate::runtime::handles::{Blob, SecretHandle};
use crate::runtime::state::State;

/// Steps of the template machine; a big manifest takes some thousands.
const FUEL: u64 = 5_000_000;

/// The longest result, in bytes.
const OUTPUT_BYTES: usize = 16 << 20;

/// Renders a template. `name` is for error messages.
///
/// # Errors
/// With the line and what is wrong.
pub fn render(name: &str, source: &str, data: &Value) -> Result<Vec<u8>, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_syntax(syntax().map_err(|error| wire(name, &error))?);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(100);
    let mut output = Bounded(Vec::new());
    environment
        .template_from_named_str(name, source)
        .and_then(|template| template.render_captured_to(data.clone(), &mut output).map(drop))
        .map_err(|error| wire(name, &error))?;
    Ok(output.0)
}

/// Lines that hold only a block leave nothing behind, and the last line keeps its end: what configuration files need.
fn syntax() -> Result<SyntaxConfig, minijinja::Error> {
    SyntaxConfig::builder().keep_trailing_newline(true).trim_blocks(true).lstrip_blocks(true).build()
}

fn wire(name: &str, error: &minijinja::Error) -> Error {
    let line = error.line().map(|line| format!(" line {line}")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let message = format!("template {name}{line}: {}{detail}", error.kind());
    fault(ErrorCode::InvalidInput, "template", message)
}

struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_BYTES {
            return Err(io::Error::other(format!("the result is longer than {} MiB", OUTPUT_BYTES >> 20)));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn parse(data: &str) -> Result<serde_json::Map<String, serde_json::Value>, Error> {
    serde_json::from_str(data).map_err(|error| {
        fault(ErrorCode::InvalidInput, "template.data", format!("the data is not a JSON object: {error}"))
    })
}

impl Host for State {
    fn render(&mut self, source: String, data: String) -> Result<Result<Resource<Blob>, Error>> {
        match parse(&data).and_then(|data| render("text", &source, &Value::from(Serde(&data)))) {
            Ok(bytes) => self.hold(bytes).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    fn render_asset(&mut self, path: String, data: String) -> Result<Result<Resource<Blob>, Error>> {
        let Some(bytes) = self.stage.assets.get(&path).cloned() else {
            return Ok(Err(self.no_asset(&path)));
        };
        let Ok(source) = std::str::from_utf8(&bytes) else {
            return Ok(Err(fault(
                ErrorCode::InvalidInput,
                "template",
                format!("asset {path:?} is not UTF-8"),
            )));
        };
        match parse(&data).and_then(|data| render(&path, source, &Value::from(Serde(&data)))) {
            Ok(bytes) => self.hold(bytes).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    fn render_secret(
        &mut self,
        source: String,
        data: String,
        values: Vec<(String, Resource<SecretHandle>)>,
    ) -> Result<Result<Resource<SecretHandle>, Error>> {
        let mut data = match parse(&data) {
            Ok(data) => data,
            Err(error) => return Ok(Err(error)),
        };
        let mut names = Vec::new();
        for (key, handle) in values {
            let handle = self.table.get(&handle)?;
            let Ok(text) = std::str::from_utf8(handle.secret.expose()) else {
                let message = format!("secret {} is not text", handle.names.join("+"));
                return Ok(Err(fault(ErrorCode::InvalidInput, "template.secret", message)));
            };
            data.insert(key, text.into());
            names.extend(handle.names.iter().cloned());
        }
        names.sort();
        names.dedup();
        match render("text", &source, &Value::from(Serde(&data))) {
            Ok(bytes) => Ok(Ok(self.table.push(SecretHandle { names, secret: Secret::new(bytes) })?)),
            // The message could quote a value.
            Err(mut error) => {
                error.message = self.inputs.redactor.redact(&error.message);
                Ok(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(source: &str, data: serde_json::Value) -> Result<String, String> {
        render("t.j2", source, &Value::from(Serde(&data)))
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .map_err(|error| error.message)
    }

    #[test]
    fn blocks_leave_no_empty_lines_and_nothing_is_escaped() {
        let text = rendered(
            "a\n  {% for x in xs %}\n- {{ x }}\n  {% endfor %}\n",
            serde_json::json!({"xs": ["<1>", "&2"]}),
        );
        assert_eq!(text.unwrap(), "a\n- <1>\n- &2\n");
    }

    #[test]
    fn an_undefined_name_is_an_error_with_its_line() {
        let error = rendered("a\n{{ missing }}\n", serde_json::json!({})).unwrap_err();
        assert!(error.starts_with("template t.j2 line 2: undefined value"), "{error}");
    }

    #[test]
    fn work_and_output_are_bounded() {
        let endless = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
        assert!(rendered(endless, serde_json::json!({})).is_err());
        let long = "{% for a in range(999) %}{{ 'x' * 100000 }}{% endfor %}";
        assert!(rendered(long, serde_json::json!({})).is_err());
    }
}
