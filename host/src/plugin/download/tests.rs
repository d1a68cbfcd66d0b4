use std::sync::Arc;
use std::time::Duration;

use crate::op::sh::sha256;
use crate::op::testing::{Answer, Server};

use super::{DownloadError, Downloads, Source};

fn downloads(folder: &tempfile::TempDir) -> Downloads {
    let mut downloads = Downloads::new(folder.path().join("cache"), false);
    downloads.pause = Duration::from_millis(5);
    downloads
}

fn source(server: &Server, bytes: &[u8]) -> Source {
    Source { url: server.url("/file"), sha256: sha256(bytes) }
}

fn silent(_: String) {}

fn files(folder: &tempfile::TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path().join("cache")).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn those_who_ask_together_share_one_download() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = Server::new(b"bytes");
    let (downloads, source) = (Arc::new(downloads(&folder)), source(&server, b"bytes"));
    let all = (0..8).map(|_| {
        let (downloads, source) = (downloads.clone(), source.clone());
        async move { downloads.get(&source, &silent).await.unwrap() }
    });
    for path in futures_util::future::join_all(all).await {
        assert_eq!(std::fs::read(path).unwrap(), b"bytes");
    }
    assert_eq!(server.requests(), 1);
    // The next run finds it in the cache.
    let next = super::super::download::Downloads::new(folder.path().join("cache"), false);
    next.get(&source, &silent).await.unwrap();
    assert_eq!((server.requests(), files(&folder)), (1, vec![source.sha256.clone()]));
}

#[tokio::test]
async fn a_damaged_cache_is_not_trusted() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = Server::new(b"bytes");
    let (downloads, source) = (downloads(&folder), source(&server, b"bytes"));
    let path = downloads.get(&source, &silent).await.unwrap();
    std::fs::write(&path, "damaged").unwrap();
    downloads.forget(&source);
    assert_eq!(std::fs::read(downloads.get(&source, &silent).await.unwrap()).unwrap(), b"bytes");
    std::fs::write(&path, "damaged").unwrap();
    let next = Downloads::new(folder.path().join("cache"), false);
    assert_eq!(std::fs::read(next.get(&source, &silent).await.unwrap()).unwrap(), b"bytes");
}

#[tokio::test]
async fn an_interrupted_download_goes_on_where_it_was() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = Server::answering([Answer::Cut(7)], b"0123456789");
    let (downloads, source) = (downloads(&folder), source(&server, b"0123456789"));
    let path = downloads.get(&source, &silent).await.unwrap();
    assert_eq!(std::fs::read(path).unwrap(), b"0123456789");
    assert_eq!(server.requests(), 2);
    assert!(server.last().to_lowercase().contains("range: bytes=7-"), "{}", server.last());
}

#[tokio::test]
async fn a_part_of_another_file_is_thrown_away() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = Server::new(b"0123456789");
    let (downloads, source) = (downloads(&folder), source(&server, b"0123456789"));
    std::fs::create_dir(folder.path().join("cache")).unwrap();
    std::fs::write(folder.path().join(format!("cache/.{}.part", source.sha256)), "wrong").unwrap();
    assert_eq!(std::fs::read(downloads.get(&source, &silent).await.unwrap()).unwrap(), b"0123456789");
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn another_checksum_is_never_kept() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = Server::new(b"<html>log in</html>");
    let (downloads, source) = (downloads(&folder), source(&server, b"bytes"));
    let error = downloads.get(&source, &silent).await.unwrap_err();
    assert!(matches!(error, DownloadError::Checksum { html: true, .. }), "{error}");
    assert!(files(&folder).is_empty());
}

#[tokio::test]
async fn failures_are_told_apart() {
    let folder = tempfile::TempDir::new().unwrap();
    for (answers, requests, refused) in [
        (vec![Answer::Status("404 Not Found")], 1, true),
        (vec![Answer::Status("403 Forbidden")], 1, true),
        (vec![Answer::Status("500 Oops"); 4], 4, false),
        (vec![Answer::Nothing; 4], 4, false),
    ] {
        let server = Server::answering(answers, b"bytes");
        let (downloads, source) = (downloads(&folder), source(&server, b"bytes"));
        let error = downloads.get(&source, &silent).await.unwrap_err();
        assert_eq!(matches!(error, DownloadError::Refused { .. }), refused, "{error}");
        assert_eq!(server.requests(), requests);
        // A later attempt is a new one.
        downloads.get(&source, &silent).await.unwrap();
        std::fs::remove_file(downloads.cache.join(&source.sha256)).unwrap();
    }
    let closed = Source { url: "http://127.0.0.1:1/x".into(), sha256: sha256(b"") };
    let error = downloads(&folder).get(&closed, &silent).await.unwrap_err();
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn a_busy_server_says_when_to_come_back() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = Server::answering([Answer::Status("429 Too Many Requests\r\nRetry-After: 20")], b"bytes");
    let (downloads, source) = (downloads(&folder), source(&server, b"bytes"));
    let started = std::time::Instant::now();
    downloads.get(&source, &silent).await.unwrap();
    // Twenty times the pause of the test.
    assert!(started.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn two_processes_do_not_write_the_same_part() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = Server::new(b"bytes");
    let (downloads, source) = (downloads(&folder), source(&server, b"bytes"));
    std::fs::create_dir(folder.path().join("cache")).unwrap();
    let other = std::fs::File::create(folder.path().join(format!("cache/.{}.part", source.sha256))).unwrap();
    other.lock().unwrap();
    downloads.get(&source, &silent).await.unwrap();
    assert_eq!(other.metadata().unwrap().len(), 0);
}

#[test]
fn passwords_in_addresses_are_not_shown() {
    let source = |url: &str| Source { url: url.into(), sha256: String::new() };
    assert_eq!(source("https://me:pw@mirror:8080/a@b/c?sig=key#x").shown(), "https://mirror:8080/a@b/c");
    assert_eq!(source("http://mirror").shown(), "http://mirror");
}
