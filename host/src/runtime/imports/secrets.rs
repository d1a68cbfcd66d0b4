//! `secrets`: handles; the bytes only with a grant of its own, and never while planning.

use wasmtime::Result;
use wasmtime::component::Resource;

use crate::plugin::capability::Need;
use crate::redact::Secret;
use crate::runtime::bindings::ksp::plugin::secrets::{Host, HostSecret};
use crate::runtime::bindings::ksp::plugin::types::{Error, ErrorCode};
use crate::runtime::convert::fault;
use crate::runtime::handles::SecretHandle;
use crate::runtime::state::{Phase, State};
use crate::secrets::SecretError;

impl State {
    fn secret(
        &mut self,
        name: String,
        find: impl FnOnce(&crate::secrets::Secrets, &str) -> Result<Secret, SecretError>,
    ) -> Result<Result<Resource<SecretHandle>, Error>> {
        let allowed =
            self.require_answers("a secret").and_then(|()| self.require(&Need::Secret(name.clone())));
        if let Err(error) = allowed {
            return Ok(Err(error));
        }
        match find(&self.inputs.secrets, &name) {
            Ok(secret) => Ok(Ok(self.table.push(SecretHandle { names: vec![name], secret })?)),
            Err(error) => Ok(Err(wire(&error))),
        }
    }
}

fn wire(error: &SecretError) -> Error {
    let code = match error {
        SecretError::Unknown(_) => ErrorCode::NotFound,
        SecretError::Invalid { .. } => ErrorCode::InvalidInput,
        SecretError::Entropy { .. } => ErrorCode::Internal,
    };
    fault(code, error.code(), error.to_string())
}

impl Host for State {
    fn get(&mut self, name: String) -> Result<Result<Resource<SecretHandle>, Error>> {
        self.secret(name, |secrets, name| secrets.get(name))
    }

    fn generate(
        &mut self,
        name: String,
        alphabet: String,
        len: u32,
    ) -> Result<Result<Resource<SecretHandle>, Error>> {
        self.secret(name, |secrets, name| secrets.generate(name, &alphabet, len))
    }

    fn ephemeral(
        &mut self,
        name: String,
        alphabet: String,
        len: u32,
    ) -> Result<Result<Resource<SecretHandle>, Error>> {
        self.secret(name, |secrets, name| secrets.ephemeral(name, &alphabet, len))
    }
}

impl HostSecret for State {
    fn name(&mut self, secret: Resource<SecretHandle>) -> Result<String> {
        Ok(self.table.get(&secret)?.names.join("+"))
    }

    fn reveal(&mut self, secret: Resource<SecretHandle>) -> Result<Result<Vec<u8>, Error>> {
        if !matches!(self.phase, Phase::Run(_)) {
            return Ok(Err(fault(
                ErrorCode::Denied,
                "phase.plan",
                "secrets are not revealed while planning",
            )));
        }
        let handle = self.table.get(&secret)?;
        for name in &handle.names {
            if let Err(error) = self.require(&Need::Reveal(name.clone())) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(handle.secret.expose().to_vec()))
    }

    fn drop(&mut self, secret: Resource<SecretHandle>) -> Result<()> {
        self.table.delete(secret)?;
        Ok(())
    }
}
