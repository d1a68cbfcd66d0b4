//! `pki`: certificates made and kept by the host. Keys are secrets.

use wasmtime::Result;
use wasmtime::component::Resource;

use crate::pki::{self, PkiError};
use crate::plugin::capability::Need;
use crate::redact::Secret;
use crate::runtime::bindings::ksp::plugin::pki::{Host, HostAuthority, HostCredential, Request, Usage};
use crate::runtime::bindings::ksp::plugin::types::{Error, ErrorCode};
use crate::runtime::convert::fault;
use crate::runtime::handles::{Authority, Blob, Credential, SecretHandle};
use crate::runtime::state::State;

fn wire(error: &PkiError) -> Error {
    let code = match error {
        PkiError::UnknownAuthority(_) => ErrorCode::NotFound,
        PkiError::Invalid { .. } => ErrorCode::InvalidInput,
        PkiError::Expired(_) => ErrorCode::Conflict,
        PkiError::Unreadable { .. } | PkiError::Failed { .. } => ErrorCode::Internal,
    };
    fault(code, error.code(), error.to_string())
}

impl State {
    fn require_pki(&self, name: &str) -> Result<(), Error> {
        self.require_answers("a certificate")?;
        self.require(&Need::Pki(name.into()))
    }

    fn hold_key(&mut self, name: &str, key: &Secret) -> Result<Resource<SecretHandle>> {
        Ok(self.table.push(SecretHandle { names: vec![format!("pki/{name}")], secret: key.clone() })?)
    }
}

impl Host for State {
    fn get_authority(
        &mut self,
        name: String,
        common_name: String,
        valid_days: u32,
    ) -> Result<Result<Resource<Authority>, Error>> {
        let made = self.require_pki(&name).and_then(|()| {
            self.inputs.pki.authority(&name, &common_name, valid_days).map_err(|error| wire(&error))
        });
        match made {
            Ok(made) => {
                let authority = Authority { name, certificate: made.certificate, key: Secret::new(made.key) };
                Ok(Ok(self.table.push(authority)?))
            }
            Err(error) => Ok(Err(error)),
        }
    }

    fn get_keypair(&mut self, name: String) -> Result<Result<Resource<Credential>, Error>> {
        let made = self
            .require_pki(&name)
            .and_then(|()| self.inputs.pki.keypair(&name).map_err(|error| wire(&error)));
        match made {
            Ok(made) => {
                let pair = Credential { name, certificate: made.certificate, key: Secret::new(made.key) };
                Ok(Ok(self.table.push(pair)?))
            }
            Err(error) => Ok(Err(error)),
        }
    }
}

impl HostAuthority for State {
    fn certificate(&mut self, authority: Resource<Authority>) -> Result<Resource<Blob>> {
        let pem = self.table.get(&authority)?.certificate.clone();
        self.hold(pem)
    }

    fn key(&mut self, authority: Resource<Authority>) -> Result<Resource<SecretHandle>> {
        let Authority { name, key, .. } = self.table.get(&authority)?;
        let (name, key) = (name.clone(), key.clone());
        self.hold_key(&name, &key)
    }

    fn public_key_hash(&mut self, authority: Resource<Authority>) -> Result<String> {
        Ok(pki::public_key_hash(&self.table.get(&authority)?.certificate)?)
    }

    fn issue(
        &mut self,
        authority: Resource<Authority>,
        name: String,
        request: Request,
    ) -> Result<Result<Resource<Credential>, Error>> {
        let issuer = self.table.get(&authority)?.name.clone();
        let usage = |usage: &Usage| match usage {
            Usage::Server => pki::Usage::Server,
            Usage::Client => pki::Usage::Client,
        };
        let request = pki::Request {
            common_name: request.common_name,
            organizations: request.organizations,
            usages: request.usages.iter().map(usage).collect(),
            dns_names: request.dns_names,
            ip_addresses: request.ip_addresses,
            valid_days: request.valid_days,
        };
        match self.inputs.pki.issue(&issuer, &name, &request) {
            Ok(made) => {
                let name = format!("{issuer}/{name}");
                let credential =
                    Credential { name, certificate: made.certificate, key: Secret::new(made.key) };
                Ok(Ok(self.table.push(credential)?))
            }
            Err(error) => Ok(Err(wire(&error))),
        }
    }

    fn drop(&mut self, authority: Resource<Authority>) -> Result<()> {
        self.table.delete(authority)?;
        Ok(())
    }
}

impl HostCredential for State {
    fn certificate(&mut self, credential: Resource<Credential>) -> Result<Resource<Blob>> {
        let pem = self.table.get(&credential)?.certificate.clone();
        self.hold(pem)
    }

    fn key(&mut self, credential: Resource<Credential>) -> Result<Resource<SecretHandle>> {
        let Credential { name, key, .. } = self.table.get(&credential)?;
        let (name, key) = (name.clone(), key.clone());
        self.hold_key(&name, &key)
    }

    fn drop(&mut self, credential: Resource<Credential>) -> Result<()> {
        self.table.delete(credential)?;
        Ok(())
    }
}
