use std::os::unix::fs::PermissionsExt as _;

use age::secrecy::ExposeSecret as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Not a whole number of blocks.
const DATA: [u8; 1300] = [7; 1300];

pub(crate) fn about() -> About {
    About {
        format: FORMAT,
        cluster: "prod".into(),
        cluster_id: "abc".into(),
        etcd_cluster_id: "c1".into(),
        time: "2026-11-23T21:00:00Z".parse().unwrap(),
        node: "cp2".into(),
        members: vec!["cp1".into(), "cp2".into(), "cp3".into()],
        topology: "stacked".into(),
        etcd: "3.6.8".into(),
        kubernetes: "1.36.3".into(),
        revision: 800,
        hash: 42,
        keys: 10,
        size: DATA.len() as u64,
        sha256: hex::encode(Sha256::digest(DATA)),
    }
}

async fn write(folder: &Path, about: &About, recipients: &[Recipient]) -> PathBuf {
    let mut writer = Writer::create(folder, about, recipients).unwrap();
    writer.begin(SNAPSHOT, about.size).unwrap();
    let mut sink = Sink::new(&mut writer);
    sink.write_all(&DATA[..1000]).await.unwrap();
    sink.write_all(&DATA[1000..]).await.unwrap();
    assert_eq!(sink.digest(), hex::encode(Sha256::digest(DATA)));
    writer.end().unwrap();
    writer.whole(STATE, b"{}").unwrap();
    writer.finish().unwrap()
}

fn code(result: Result<Archive, crate::operations::Failure>) -> String {
    result.unwrap_err().findings.remove(0).code
}

#[tokio::test]
async fn what_was_written_is_read_and_ordinary_tar_reads_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &about(), &[]).await;
    assert_eq!(path.file_name().unwrap(), "prod-20261123T210000Z.etcd-backup.tar");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let archive = open(&path, None, folder.path()).unwrap();
    assert_eq!(archive.about, about());
    for _ in 0..2 {
        let mut all = Vec::new();
        archive.snapshot().read_to_end(&mut all).await.unwrap();
        assert_eq!(all, DATA);
    }
    let listed = std::process::Command::new("tar").arg("-tf").arg(&path).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "backup.json\nsnapshot.db\nstate.json\n");
    assert!(listed.status.success());
    // Nothing else is left in the folder.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn an_encrypted_backup_is_for_its_recipient() {
    let folder = tempfile::tempdir().unwrap();
    let (key, other) = (age::x25519::Identity::generate(), age::x25519::Identity::generate());
    let file = |name: &str, key: &age::x25519::Identity| {
        let path = folder.path().join(name);
        std::fs::write(&path, key.to_string().expose_secret()).unwrap();
        path
    };
    let path = write(folder.path(), &about(), &[key.to_public()]).await;
    assert!(path.to_str().unwrap().ends_with(".etcd-backup.tar.age"));
    let raw = std::fs::read(&path).unwrap();
    assert!(!raw.windows(11).any(|window| window == b"backup.json"), "a name shows");
    assert_eq!(open(&path, Some(&file("key", &key)), folder.path()).unwrap().about, about());
    assert_eq!(code(open(&path, None, folder.path())), "ksp::etcd::backup-encrypted");
    assert_eq!(code(open(&path, Some(&file("other", &other)), folder.path())), "ksp::etcd::backup-encrypted");
    // One flipped bit near the end, outside of the snapshot.
    let mut damaged = raw;
    let last = damaged.len() - 3;
    damaged[last] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    assert_eq!(code(open(&path, Some(&file("key", &key)), folder.path())), "ksp::etcd::backup-unreadable");
}

#[tokio::test]
async fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), &about(), &[]).await;
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    let at = good.windows(4).position(|window| window == [7; 4]).unwrap();
    flipped[at] = 8;
    for (bad, why) in [
        (flipped, "sha256"),
        (good[..good.len() / 2].to_vec(), ""),
        (b"not a tar".to_vec(), ""),
        (Vec::new(), "holds no backup.json"),
    ] {
        std::fs::write(&path, bad).unwrap();
        let failure = open(&path, None, folder.path()).unwrap_err();
        assert_eq!(failure.findings[0].code, "ksp::etcd::backup-unreadable");
        assert!(failure.findings[0].message.contains(why), "{failure}");
    }
    assert_eq!(code(open(&folder.path().join("none"), None, folder.path())), "ksp::etcd::backup-unreadable");
    let newer =
        write(folder.path(), &About { format: FORMAT + 1, cluster: "next".into(), ..about() }, &[]).await;
    assert!(open(&newer, None, folder.path()).unwrap_err().to_string().contains("formats up to"));
}

#[test]
fn a_member_must_have_the_size_that_was_announced() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = Writer::create(folder.path(), &about(), &[]).unwrap();
    writer.begin(SNAPSHOT, 10).unwrap();
    writer.write_all(&[1; 4]).unwrap();
    assert!(writer.end().is_err());
    assert!(writer.write_all(&[1; 7]).is_err());
    drop(writer);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a half written file stays");
}

#[test]
fn recipients_are_checked() {
    let good = age::x25519::Identity::generate().to_public().to_string();
    assert_eq!(recipients(&[good]).unwrap().len(), 1);
    assert_eq!(recipients(&["age1nonsense".into()]).unwrap_err().findings[0].code, "ksp::etcd::recipient");
}
