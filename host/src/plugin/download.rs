//! Release files: where a node gets them from, with which checksum, and how they get there when the node has no way out.
//!
//! Nodes fetch by themselves; only when one cannot, the file comes through the workstation's cache, once per run however many
//! nodes need it. Whatever the way, the checksum decides, so that a plain-HTTP mirror is as good as any.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::{CONTENT_RANGE, RANGE, RETRY_AFTER};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncSeekExt as _, AsyncWriteExt as _};
use tokio::sync::OnceCell;

/// A release file with everything decided but the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Name in the plugin's manifest.
    pub name: String,
    /// Version.
    pub version: String,
    /// By architecture.
    pub sources: BTreeMap<String, Source>,
}

/// Where one file comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The address to fetch, mirror applied.
    pub url: String,
    /// 64 hex digits.
    pub sha256: String,
}

impl Source {
    /// The address as people may see it: without a password, without a query (signed addresses carry their key there).
    pub fn shown(&self) -> String {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", &self.url));
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        format!("{scheme}://{host}{path}")
    }
}

/// Why a file could not be brought.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DownloadError {
    /// The server does not give it.
    #[error("{url} answered {status}")]
    Refused {
        /// As shown.
        url: String,
        /// "404 Not Found".
        status: String,
    },
    /// Other bytes than expected: never used.
    #[error("checksum of {url} differs: expected sha256:{expected}, got sha256:{got}")]
    Checksum {
        /// As shown.
        url: String,
        /// 64 hex digits.
        expected: String,
        /// 64 hex digits.
        got: String,
        /// It is a web page.
        html: bool,
    },
    /// No answer, or not a whole one, after several attempts.
    #[error("{url} could not be fetched: {reason}")]
    Unreachable {
        /// As shown.
        url: String,
        /// The last attempt's reason.
        reason: String,
    },
    /// The workstation's cache cannot be used.
    #[error("{path}: {reason}")]
    Cache {
        /// In the cache.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

type Shared = Arc<OnceCell<Result<PathBuf, DownloadError>>>;

/// Attempts before a download is given up.
const ATTEMPTS: u32 = 4;

/// Brings files to the workstation's cache, for nodes that cannot fetch them.
#[derive(Debug)]
pub struct Downloads {
    /// Content-addressed folder.
    pub cache: PathBuf,
    /// Do not even let nodes try.
    pub push: bool,
    /// Before the second attempt; doubles each time.
    pause: Duration,
    client: std::sync::OnceLock<reqwest::Client>,
    running: Mutex<HashMap<String, Shared>>,
}

impl Downloads {
    /// Downloads into this folder, which is made when needed.
    pub fn new(cache: impl Into<PathBuf>, push: bool) -> Self {
        Self {
            cache: cache.into(),
            push,
            pause: Duration::from_secs(1),
            client: std::sync::OnceLock::new(),
            running: Mutex::default(),
        }
    }

    /// A verified file on the workstation. Those who ask for the same file at the same time share one download.
    ///
    /// # Errors
    /// See [`DownloadError`]. A failure is shared by those who waited for it; the next one to ask tries again.
    pub async fn get(
        &self,
        source: &Source,
        say: &(dyn Fn(String) + Send + Sync),
    ) -> Result<PathBuf, DownloadError> {
        let cell = self.lock().entry(source.sha256.clone()).or_default().clone();
        let result = cell.get_or_init(|| self.bring(source, say)).await.clone();
        if result.is_err() {
            let mut running = self.lock();
            if running.get(&source.sha256).is_some_and(|known| Arc::ptr_eq(known, &cell)) {
                running.remove(&source.sha256);
            }
        }
        result
    }

    /// Removes a file that turned out to be damaged, so that the next [`Self::get`] fetches it again.
    pub fn forget(&self, source: &Source) {
        self.lock().remove(&source.sha256);
        // It may be gone already.
        let _ = std::fs::remove_file(self.cache.join(&source.sha256));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Shared>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn bring(
        &self,
        source: &Source,
        say: &(dyn Fn(String) + Send + Sync),
    ) -> Result<PathBuf, DownloadError> {
        let path = self.cache.join(&source.sha256);
        let cache_error =
            |error: std::io::Error| DownloadError::Cache { path: path.clone(), reason: error.to_string() };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.cache).map_err(cache_error)?;
        if path.exists() && hash(&path).await.map_err(cache_error)?.0 == source.sha256 {
            return Ok(path);
        }
        let partial = Partial::open(&self.cache, &source.sha256).map_err(cache_error)?;
        say(format!("fetching {} to this machine", source.shown()));
        let mut resumed = self.fetch(source, &partial, say).await?;
        loop {
            let (got, html) = hash(&partial.path).await.map_err(cache_error)?;
            if got == source.sha256 {
                partial
                    .file
                    .sync_all()
                    .and_then(|()| std::fs::rename(&partial.path, &path))
                    .map_err(cache_error)?;
                return Ok(path);
            }
            partial.file.set_len(0).map_err(cache_error)?;
            if !resumed {
                // Nothing of it may ever be used.
                let _ = std::fs::remove_file(&partial.path);
                let expected = source.sha256.clone();
                return Err(DownloadError::Checksum { url: source.shown(), expected, got, html });
            }
            resumed = self.fetch(source, &partial, say).await?;
        }
    }

    /// Tells whether a part of it was there before.
    async fn fetch(
        &self,
        source: &Source,
        partial: &Partial,
        say: &(dyn Fn(String) + Send + Sync),
    ) -> Result<bool, DownloadError> {
        let resumed = partial.file.metadata().is_ok_and(|metadata| metadata.len() > 0);
        let mut pause = self.pause;
        for attempt in 1.. {
            let (reason, wanted) = match self.attempt(source, partial, say).await {
                Ok(()) => return Ok(resumed),
                Err(Failed::Final(error)) => return Err(error),
                Err(Failed::Again { reason, after }) => (reason, after),
            };
            if attempt == ATTEMPTS {
                return Err(DownloadError::Unreachable { url: source.shown(), reason });
            }
            say(format!("{}: {reason}; attempt {} of {ATTEMPTS} follows", source.shown(), attempt + 1));
            let jitter = pause.mul_f64(rand::random::<f64>() / 2.0);
            tokio::time::sleep(wanted.map_or(pause + jitter, |seconds| self.pause * seconds.min(60))).await;
            pause *= 2;
        }
        Ok(resumed)
    }

    async fn attempt(
        &self,
        source: &Source,
        partial: &Partial,
        say: &(dyn Fn(String) + Send + Sync),
    ) -> Result<(), Failed> {
        let local = |error: std::io::Error| {
            Failed::Final(DownloadError::Cache { path: partial.path.clone(), reason: error.to_string() })
        };
        let again = |reason: String| Failed::Again { reason, after: None };
        let network = |error: reqwest::Error| again(innermost(&error.without_url()));
        let mut file = tokio::fs::File::from_std(partial.file.try_clone().map_err(local)?);
        let mut have = file.seek(std::io::SeekFrom::End(0)).await.map_err(local)?;
        let mut request = self.client(source)?.get(&source.url);
        if have > 0 {
            request = request.header(RANGE, format!("bytes={have}-"));
        }
        let mut response = request.send().await.map_err(network)?;
        let status = response.status();
        let continues = status == StatusCode::PARTIAL_CONTENT
            && response
                .headers()
                .get(CONTENT_RANGE)
                .and_then(|range| range.to_str().ok())
                .is_some_and(|range| range.starts_with(&format!("bytes {have}-")));
        if !continues {
            file.set_len(0).await.map_err(local)?;
            have = file.seek(std::io::SeekFrom::Start(0)).await.map_err(local)?;
        }
        if status == StatusCode::RANGE_NOT_SATISFIABLE
            || (status == StatusCode::PARTIAL_CONTENT && !continues)
        {
            return Err(again("the server cannot continue; starting over".into()));
        }
        if !status.is_success() {
            let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
            if !busy && !status.is_server_error() {
                return Err(Failed::Final(DownloadError::Refused {
                    url: source.shown(),
                    status: status.to_string(),
                }));
            }
            let after =
                response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            return Err(Failed::Again { reason: format!("answered {status}"), after });
        }
        let total = response.content_length().map(|rest| have + rest);
        let mut told = Instant::now();
        while let Some(chunk) = response.chunk().await.map_err(network)? {
            file.write_all(&chunk).await.map_err(local)?;
            have += chunk.len() as u64;
            if told.elapsed() > Duration::from_secs(5) {
                told = Instant::now();
                let of = total.map_or_else(String::new, |total| format!(" of {}", mebibytes(total)));
                say(format!("{}{of} of {} fetched", mebibytes(have), source.shown()));
            }
        }
        file.flush().await.map_err(local)
    }

    fn client(&self, source: &Source) -> Result<&reqwest::Client, Failed> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        // Somebody else in this process may have installed it: the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("ksp/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(Duration::from_secs(30))
            .build()
            .map_err(|error| {
                let reason = format!("no TLS on this machine: {}", innermost(&error));
                Failed::Final(DownloadError::Unreachable { url: source.shown(), reason })
            })?;
        Ok(self.client.get_or_init(|| client))
    }
}

enum Failed {
    Final(DownloadError),
    Again { reason: String, after: Option<u32> },
}

/// A file on its way. It survives this run, so that the next one continues where this one was interrupted.
struct Partial {
    path: PathBuf,
    file: std::fs::File,
}

impl Partial {
    fn open(folder: &Path, name: &str) -> std::io::Result<Self> {
        let open = |path: PathBuf| {
            let file =
                std::fs::File::options().create(true).truncate(false).read(true).append(true).open(&path)?;
            Ok::<_, std::io::Error>(Self { path, file })
        };
        let shared = open(folder.join(format!(".{name}.part")))?;
        match shared.file.try_lock() {
            Ok(()) => Ok(shared),
            // Another ksp is at it.
            Err(_) => open(folder.join(format!(".{name}.part.{}", std::process::id()))),
        }
    }
}

/// sha256 in hex, and whether it looks like a web page.
async fn hash(path: &Path) -> std::io::Result<(String, bool)> {
    let path = path.to_owned();
    let work = move || {
        let mut file = std::fs::File::open(path)?;
        let mut hash = Sha256::new();
        let mut buffer = vec![0; 256 << 10];
        let mut html = None;
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                return Ok((hex::encode(hash.finalize()), html.unwrap_or(false)));
            }
            html.get_or_insert_with(|| is_web_page(&buffer[..length.min(512)]));
            hash.update(&buffer[..length]);
        }
    };
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

fn is_web_page(start: &[u8]) -> bool {
    let start = String::from_utf8_lossy(start).to_ascii_lowercase();
    start.contains("<!doctype html") || start.contains("<html")
}

/// The cause that says most: "Connection refused (os error 111)".
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests;
