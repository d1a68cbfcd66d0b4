//! `upload`: files on nodes, in `run` only. A file appears whole or not at all.

use wasmtime::Result;
use wasmtime::component::Resource;

use super::exec::unfenced;
use crate::plugin::capability::{Need, is_normal};
use crate::plugin::package;
use crate::runtime::bindings::ksp::plugin::types::{Error, ErrorCode};
use crate::runtime::bindings::ksp::plugin::upload::{FileInfo, Host};
use crate::runtime::convert::fault;
use crate::runtime::handles::{Blob, SecretHandle};
use crate::runtime::state::State;
use crate::transport::{OUTPUT_LIMIT, Output, Script, quote};

/// Exit statuses of the scripts below.
const MISSING: i32 = 66;
const TOO_LARGE: i32 = 67;
const DAMAGED: i32 = 68;

impl State {
    async fn put_bytes(&mut self, node: u32, path: &str, content: &[u8], mode: u32) -> Result<bool, Error> {
        let (session, prelude) = self.session(node, &Need::File(path.into()))?;
        if !is_normal(path) || mode > 0o7777 {
            let message = format!("{path:?} with mode {mode:o} (octal) cannot be written");
            return Err(fault(ErrorCode::InvalidInput, "upload.path", message));
        }
        let digest = package::digest(content);
        if let Some(there) = self.look(node, path).await?
            && (there.digest == digest && there.mode == mode)
        {
            return Ok(false);
        }
        let (file, hex) = (quote::quote(path), digest.trim_start_matches("sha256:"));
        // Beside its place, so that the rename cannot cross file systems; a name that nobody can guess or have made before.
        let script = Script::new(format!(
            "{prelude}\nset -e\numask 077\nfile={file}\nfolder=${{file%/*}}\nmkdir -p \"${{folder:-/}}\"\n\
             temporary=$(mktemp \"${{folder:-}}/.ksp.XXXXXXXX\")\ntrap 'rm -f \"$temporary\"' EXIT\ncat > \"$temporary\"\n\
             found=$(sha256sum < \"$temporary\")\n[ \"${{found%% *}}\" = {hex} ] || exit {DAMAGED}\n\
             chmod {mode:o} \"$temporary\"\nsync \"$temporary\"\nmv -fT \"$temporary\" \"$file\"\nsync \"${{folder:-/}}\"\n"
        ));
        let mut source = content;
        let output = session.feed(script, &mut source).await.map_err(|error| self.wire(&error))?;
        let output = unfenced(output)?;
        match output.status {
            0 => Ok(true),
            DAMAGED => {
                let message = format!("{path} did not arrive as it was sent");
                Err(fault(ErrorCode::Transport, "upload.damaged", message))
            }
            _ => Err(self.failed(&format!("{path} cannot be written"), &output)),
        }
    }

    async fn look(&mut self, node: u32, path: &str) -> Result<Option<FileInfo>, Error> {
        let (session, _) = self.session(node, &Need::File(path.into()))?;
        let file = quote::quote(path);
        let script = Script::new(format!(
            "[ -e {file} ] || exit {MISSING}\nstat -L -c '%s %a %U %G' -- {file} || exit 1\n\
             if [ -f {file} ]; then sha256sum < {file}; fi"
        ));
        let output = session.run(script).await.map_err(|error| self.wire(&error))?;
        match output.status {
            0 => parse(&output.text())
                .map(Some)
                .ok_or_else(|| self.failed(&format!("{path} cannot be looked at"), &output)),
            MISSING => Ok(None),
            _ => Err(self.failed(&format!("{path} cannot be looked at"), &output)),
        }
    }

    async fn read(&mut self, node: u32, path: &str, max_bytes: u64) -> Result<bytes::Bytes, Error> {
        let (session, _) = self.session(node, &Need::File(path.into()))?;
        let limit = max_bytes.min(OUTPUT_LIMIT as u64);
        let file = quote::quote(path);
        let script = Script::new(format!(
            "[ -f {file} ] || exit {MISSING}\n[ \"$(stat -L -c %s -- {file})\" -le {limit} ] || exit {TOO_LARGE}\ncat -- {file}"
        ));
        let output = session.run_aside(script).await.map_err(|error| self.wire(&error))?;
        match output.status {
            0 if !output.truncated => Ok(output.stdout),
            MISSING => Err(fault(ErrorCode::NotFound, "upload.missing", format!("there is no file {path}"))),
            0 | TOO_LARGE => {
                let message = format!("{path} is larger than {limit} bytes");
                Err(fault(ErrorCode::InvalidInput, "upload.too-large", message))
            }
            _ => Err(self.failed(&format!("{path} cannot be read"), &output)),
        }
    }

    fn failed(&self, what: &str, output: &Output) -> Error {
        let mut error = fault(
            ErrorCode::RemoteFailed,
            "upload.failed",
            format!("{what} (exit status {})", output.status),
        );
        let tail = self.inputs.redactor.redact(&output.tail(10).join("\n"));
        error.details.push(("output".into(), tail));
        error
    }
}

/// "size mode owner group", then sha256sum's line for files.
fn parse(text: &str) -> Option<FileInfo> {
    let (first, rest) = text.split_once('\n')?;
    let mut words = first.split(' ');
    let size = words.next()?.parse().ok()?;
    let mode = u32::from_str_radix(words.next()?, 8).ok()?;
    let (owner, group) = (words.next()?.to_owned(), words.next()?.to_owned());
    let digest = rest.split(' ').next().filter(|hex| hex.len() == 64).map(|hex| format!("sha256:{hex}"));
    Some(FileInfo { size, mode, owner, group, digest: digest.unwrap_or_default() })
}

impl Host for State {
    async fn put(
        &mut self,
        node: u32,
        path: String,
        content: Resource<Blob>,
        mode: u32,
    ) -> Result<Result<bool, Error>> {
        let bytes = self.table.get(&content)?.bytes.clone();
        Ok(self.put_bytes(node, &path, &bytes, mode).await)
    }

    async fn put_secret(
        &mut self,
        node: u32,
        path: String,
        content: Resource<SecretHandle>,
        mode: u32,
    ) -> Result<Result<bool, Error>> {
        let secret = self.table.get(&content)?.secret.clone();
        Ok(self.put_bytes(node, &path, secret.expose(), mode).await)
    }

    async fn get(
        &mut self,
        node: u32,
        path: String,
        max_bytes: u64,
    ) -> Result<Result<Resource<Blob>, Error>> {
        match self.read(node, &path, max_bytes).await {
            Ok(bytes) => self.hold(bytes).map(Ok),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn stat(&mut self, node: u32, path: String) -> Result<Result<Option<FileInfo>, Error>> {
        Ok(self.look(node, &path).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stat_says_is_understood() {
        let hex = "e".repeat(64);
        let file = parse(&format!("12 644 root wheel\n{hex}  -\n")).unwrap();
        assert_eq!(
            (file.size, file.mode, file.owner.as_str(), file.group.as_str()),
            (12, 0o644, "root", "wheel")
        );
        assert_eq!(file.digest, format!("sha256:{hex}"));
        assert_eq!(parse("4096 755 root root\n").unwrap().digest, "");
        assert!(parse("").is_none());
    }
}
