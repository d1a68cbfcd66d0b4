//! An endpoint that others keep: ksp uses it, and says when it does not lead to the API.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::support::Lab;

/// The lab's host, as nodes see it.
const ENDPOINT: &str = "10.89.7.1:7443";

/// A balancer with one control plane behind it. It ends with the test program.
struct Balancer {
    broken: Arc<AtomicBool>,
    passed: Arc<AtomicUsize>,
}

impl Balancer {
    fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(ENDPOINT)?;
        let (broken, passed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let balancer = Self { broken: Arc::clone(&broken), passed: Arc::clone(&passed) };
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if broken.load(Ordering::Relaxed) {
                    continue;
                }
                passed.fetch_add(1, Ordering::Relaxed);
                std::thread::spawn(move || pass(client, to));
            }
        });
        Ok(balancer)
    }
}

/// Both ways, until one side ends.
fn pass(client: TcpStream, to: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect_timeout(&to, Duration::from_secs(2))?;
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    std::thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(std::net::Shutdown::Write);
    });
    let (mut from_server, mut to_client) = (server, client);
    io::copy(&mut from_server, &mut to_client)?;
    to_client.shutdown(std::net::Shutdown::Both)
}

#[test]
#[ignore = "needs nodes: `cargo lab test`"]
fn an_endpoint_that_others_keep_is_used_and_checked() -> Result<()> {
    let lab = Lab::fresh("external-endpoint")?;
    let balancer = Balancer::start((lab.scenario.node("cp1")?.address, 6443).into())?;
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("Cluster external-endpoint is ready")?;
    ensure!(balancer.passed.load(Ordering::Relaxed) > 0, "nobody came by the balancer");
    let server = lab.on("w1", "grep server: /etc/kubernetes/kubelet.conf")?;
    ensure!(server.contains(ENDPOINT), "the kubelet asks {server}");
    let changed =
        lab.on("w1", "ls -d /etc/ksp/api-balancer /etc/haproxy /etc/keepalived 2>/dev/null || true")?;
    ensure!(changed.is_empty(), "there is a balancer of ksp's: {changed}");
    lab.ksp(&["up", "--yes"])?.expect(0)?.says("is up to date")?;

    // It no longer leads anywhere: the check of the next run that changes something names it, and every node that is cut off.
    balancer.broken.store(true, Ordering::Relaxed);
    lab.edit(|manifest| {
        manifest.replacen("roles = [\"worker\"]", "roles = [\"worker\"]\nlabels = { a = \"b\" }", 1)
    })?;
    let refused = lab.ksp(&["up", "--yes"])?.expect(1)?;
    refused.says(ENDPOINT)?;
    balancer.broken.store(false, Ordering::Relaxed);
    lab.ksp(&["up", "--yes"])?.expect(0)?;
    lab.kubectl("get nodes -l a=b -o name")?
        .contains("w1")
        .then_some(())
        .ok_or_else(|| anyhow::anyhow!("w1 has no label"))
}
