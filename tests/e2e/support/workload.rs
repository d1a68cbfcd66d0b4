//! A workload that serves, and a client that notices when it does not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, ensure};
use ksp_lab::proof::Kubectl;

use super::Lab;

/// Two replicas of which one may be away, behind a port of every node.
const WEB: &str = include_str!("workload.yaml");

/// The port on every node.
const PORT: u16 = 30080;

/// Starts it, and waits until it serves.
pub fn start(lab: &Lab) -> Result<()> {
    apply(lab, WEB, &["web"])
}

/// Makes objects in the namespace `default`, and waits for their Deployments.
pub fn apply(lab: &Lab, objects: &str, deployments: &[&str]) -> Result<()> {
    let kubectl = Kubectl::of(&lab.scenario)?;
    // The namespace's service account comes a moment after the namespace.
    ksp_lab::wait::until("the workload is accepted", Duration::from_secs(30), || {
        kubectl.run("apply -f -").input(objects).output()
    })?;
    for name in deployments {
        kubectl.run(&format!("rollout status deployment/{name} --timeout=120s")).output()?;
    }
    Ok(())
}

/// Runs something while a client asks the workload at a node. A request that fails is made once more, and that one must not fail.
pub fn serving(lab: &Lab, at: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    let client = Client::start(SocketAddr::new(lab.scenario.node(at)?.address, PORT));
    let result = run();
    let seen = client.finish()?;
    result?;
    ksp_lab::tell::say(format_args!(
        "{} requests at {at}, {} made once more, {} failed",
        seen.asked,
        seen.again,
        seen.failed.len()
    ));
    ensure!(seen.asked > 50, "only {} requests", seen.asked);
    ensure!(seen.failed.is_empty(), "of {} requests these failed twice: {:?}", seen.asked, seen.failed);
    Ok(())
}

struct Client {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

#[derive(Default)]
struct Seen {
    asked: u32,
    again: u32,
    failed: Vec<String>,
}

impl Client {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !ended.load(Ordering::SeqCst) {
                seen.asked += 1;
                if ask(address).is_err() {
                    seen.again += 1;
                    if let Err(error) = ask(address) {
                        seen.failed.push(format!("{error:#}"));
                    }
                }
                std::thread::sleep(Duration::from_millis(100));
            }
            seen
        });
        Self { stop, thread }
    }

    fn finish(self) -> Result<Seen> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow::anyhow!("the client ended early"))
    }
}

fn ask(address: SocketAddr) -> Result<()> {
    let patience = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains("here I am"), "{answer:?}");
    Ok(())
}
