//! The lease's scripts in a real shell.

use std::path::{Path, PathBuf};

use super::harness::layout;
use crate::diagnostic::Diagnostic;
use crate::exec::layout::Layout;
use crate::exec::lease::{self, Claim, Holder, Lease, LeaseError};
use crate::exec::prelude;
use crate::transport::fake::{FakeNode, Otherwise};
use crate::transport::{Output, Script, Session as _};

/// Control planes that share a layout text but have a folder each: the folder is `$HOME`-free, so each fake replaces it.
struct Planes {
    folder: tempfile::TempDir,
    holders: Vec<Holder>,
    fakes: Vec<FakeNode>,
}

const BASE: &str = "/ksp-test-base";
const PROC: &str = "/ksp-test-proc";

fn common() -> Layout {
    Layout { base: BASE.into(), proc: PROC.into(), machine_id: "/etc/machine-id".into() }
}

impl Planes {
    fn new(count: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut fakes = Vec::new();
        for number in 0..count {
            let base = folder.path().join(number.to_string());
            layout(&base);
            std::fs::create_dir_all(base.join("proc/sys/kernel/random")).unwrap();
            std::fs::write(base.join("proc/sys/kernel/random/boot_id"), "boot-1\n").unwrap();
            std::fs::write(base.join("proc/uptime"), "1000.50 4000.00\n").unwrap();
            let fake = FakeNode::new();
            let shell = FakeNode::new();
            shell.otherwise(Otherwise::Shell);
            fake.answer(move |ran| {
                let text = ran.text.replace(BASE, &base.join("ksp").display().to_string());
                let text = text.replace(PROC, &base.join("proc").display().to_string());
                Some(Ok(run_now(&text)))
            });
            fakes.push(fake);
        }
        let holder = |(number, fake): (usize, &FakeNode)| Holder {
            node: format!("cp{number}"),
            session: fake.session(),
        };
        let holders = fakes.iter().enumerate().map(holder).collect();
        Self { folder, holders, fakes }
    }

    fn path(&self, node: usize, name: &str) -> PathBuf {
        self.folder.path().join(node.to_string()).join(name)
    }

    fn clock(&self, seconds: u64) {
        for node in 0..self.holders.len() {
            std::fs::write(self.path(node, "proc/uptime"), format!("{seconds}.00 1.00\n")).unwrap();
        }
    }

    fn reboot(&self, node: usize, uptime: u64) {
        std::fs::write(self.path(node, "proc/sys/kernel/random/boot_id"), "boot-2\n").unwrap();
        std::fs::write(self.path(node, "proc/uptime"), format!("{uptime}.00 1.00\n")).unwrap();
    }

    async fn acquire(&self, run: &str) -> Result<Lease, LeaseError> {
        Lease::acquire(self.holders.clone(), self.holders.len(), claim(run), common()).await
    }

    fn has_lease(&self, node: usize) -> bool {
        self.path(node, "ksp/lease.json").exists()
    }
}

fn run_now(text: &str) -> Output {
    let done = std::process::Command::new("/bin/sh").args(["-c", text]).output().unwrap();
    Output {
        status: done.status.code().unwrap_or(-1),
        stdout: done.stdout.into(),
        stderr: done.stderr.into(),
        truncated: false,
    }
}

fn claim(run: &str) -> Claim {
    Claim {
        cluster: "prod".into(),
        run: run.into(),
        who: "o'brien@\"ci\" \\ $HOME".into(),
        command: "ksp up".into(),
        since: "2026-08-21T14:05:31Z".into(),
        highest_token: 0,
    }
}

fn text_of(error: LeaseError) -> String {
    let finding = Diagnostic::from(error);
    format!(
        "{}: {}\n{}\n{}",
        finding.code,
        finding.message,
        finding.notes.join("\n"),
        finding.hints.join("\n")
    )
}

#[tokio::test]
async fn the_second_run_is_told_who_where_and_since_when() {
    let planes = Planes::new(3);
    let lease = planes.acquire("0821-1398-11c2").await.unwrap();
    assert_eq!(lease.token(), 1);
    assert!(lease.holds());
    planes.clock(1007);
    let refused = planes.acquire("0821-1412-7f3a").await.err().unwrap();
    insta::assert_snapshot!(text_of(refused), @r#"
    ksp::lease::held: cluster prod is locked by run 0821-1398-11c2
    who: o'brien@"ci" \ $HOME, `ksp up`, since 2026-08-21T14:05:31Z, last sign of life 7s ago
    wait for it with `--lock-timeout 10m`; if that run is dead: `ksp unlock <manifest> 0821-1398-11c2`
    "#);
    lease.release().await;
    assert!(!planes.has_lease(0) && !planes.has_lease(2));
    let next = planes.acquire("0821-1412-7f3a").await.unwrap();
    next.release().await;
}

#[tokio::test]
async fn a_dead_run_loses_the_lease_by_the_nodes_clock_and_its_scripts_are_refused() {
    let planes = Planes::new(3);
    let dead = planes.acquire("dead").await.unwrap();
    let old_fence = prelude::fence(&common(), dead.token());
    let write = |fence: &str| Script::new(format!("{fence}\necho x >{BASE}/effect"));
    assert!(planes.fakes[0].run(write(&old_fence)).await.unwrap().ok());
    planes.clock(1044);
    assert!(planes.acquire("next").await.is_err());
    planes.clock(1045);
    let next = planes.acquire("next").await.unwrap();
    assert_eq!(next.token(), 2);
    // The first script of the new run shuts the old one out.
    assert!(planes.fakes[0].run(write(&prelude::fence(&common(), 2))).await.unwrap().ok());
    std::fs::remove_file(planes.path(0, "ksp/effect")).unwrap();
    let refused = planes.fakes[0].run(write(&old_fence)).await.unwrap();
    assert_eq!(refused.status, 97);
    assert!(refused.tail(1)[0].contains("overtaken"), "{refused:?}");
    assert!(!planes.path(0, "ksp/effect").exists());
}

#[tokio::test]
async fn after_a_reboot_the_old_clock_says_nothing() {
    let planes = Planes::new(1);
    let _lease = planes.acquire("one").await.unwrap();
    planes.reboot(0, 10);
    assert!(planes.acquire("two").await.is_err(), "the holder may still renew it");
    planes.reboot(0, 46);
    assert!(planes.acquire("two").await.is_ok());
}

#[tokio::test]
async fn a_majority_is_enough_and_needed() {
    let planes = Planes::new(3);
    let two = planes.holders[..2].to_vec();
    assert!(Lease::acquire(two, 3, claim("a"), common()).await.is_ok());
    let planes = Planes::new(3);
    let one = planes.holders[..1].to_vec();
    let refused = Lease::acquire(one, 3, claim("a"), common()).await.err().unwrap();
    assert!(matches!(refused, LeaseError::NoMajority { needed: 2, got: 1, .. }), "{refused:?}");
    assert!(!planes.has_lease(0), "what was taken is given back");
}

#[tokio::test]
async fn a_lease_left_on_a_minority_does_not_lock_the_cluster() {
    let planes = Planes::new(3);
    let part = Lease::acquire(planes.holders[..1].to_vec(), 1, claim("stale"), common()).await.unwrap();
    let lease = planes.acquire("next").await.unwrap();
    assert_eq!(lease.token(), 1);
    assert!(part.holds(), "it was alone in its own eyes");
}

#[tokio::test]
async fn of_many_that_start_together_one_wins() {
    let planes = Planes::new(3);
    let attempts = (0..4).map(|run| {
        let planes = &planes;
        async move { planes.acquire(&format!("run-{run}")).await }
    });
    let results = futures_util::future::join_all(attempts).await;
    let winners = results.iter().filter(|result| result.is_ok()).count();
    assert!(winners <= 1, "{winners} runs hold the lease");
    if winners == 0 {
        // All gave up in favour of each other: nothing must be left behind.
        assert!(planes.acquire("later").await.is_ok());
    }
}

#[tokio::test]
async fn unlock_needs_the_run_and_shuts_it_out() {
    let planes = Planes::new(3);
    let lease = planes.acquire("dead").await.unwrap();
    let answers = lease::unlock(&planes.holders, "other", &common()).await;
    assert!(
        answers.iter().all(|(_, answer)| answer.as_ref().is_err_and(|why| why.contains("dead"))),
        "{answers:?}"
    );
    let answers = lease::unlock(&planes.holders, "dead", &common()).await;
    assert!(answers.iter().all(|(_, answer)| answer.is_ok()), "{answers:?}");
    let old = Script::new(prelude::fence(&common(), lease.token()));
    assert_eq!(planes.fakes[1].run(old).await.unwrap().status, 97);
    let next = planes.acquire("next").await.unwrap();
    assert!(next.token() > lease.token() + 1, "{}", next.token());
}

#[tokio::test]
async fn a_lock_that_a_dead_script_left_does_not_last() {
    let planes = Planes::new(1);
    std::fs::create_dir_all(planes.path(0, "ksp/.lease.lock")).unwrap();
    assert!(planes.acquire("a").await.is_ok());
}

#[tokio::test]
async fn garbage_in_the_files_is_no_lease() {
    for garbage in ["", "{", "null", r#"{"token":x,"expires":y}"#, r#"{"token":1"#] {
        let planes = Planes::new(1);
        std::fs::create_dir_all(planes.path(0, "ksp")).unwrap();
        std::fs::write(planes.path(0, "ksp/lease.json"), garbage).unwrap();
        std::fs::write(planes.path(0, "ksp/fence"), garbage).unwrap();
        assert!(planes.acquire("a").await.is_ok(), "{garbage}");
        assert!(is_json(&planes.path(0, "ksp/lease.json")));
    }
}

fn is_json(path: &Path) -> bool {
    serde_json::from_slice::<lease::Held>(&std::fs::read(path).unwrap()).is_ok()
}
