//! A plugin that misbehaves as its config says.

use ksp_sdk::bindings::ksp::plugin::{exec, plan};
use ksp_sdk::prelude::*;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Config of `acme/unruly`.
#[derive(Deserialize, JsonSchema)]
struct Unruly {
    /// What to do.
    #[serde(rename = "do")]
    what: String,
}

fn recurse(depth: u64) -> u64 {
    if std::hint::black_box(depth) == u64::MAX { 0 } else { recurse(depth + 1).wrapping_mul(3) + 1 }
}

impl Stage for Unruly {
    fn validate(&self, cx: &Context) -> Vec<Finding> {
        match self.what.as_str() {
            "look-while-validating" => match cx.secret("token") {
                Ok(_) => Vec::new(),
                Err(error) => vec![Finding::error("/do", error.message())],
            },
            "record-while-validating" => {
                plan::swap_off(&[0]);
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn plan(&self, cx: &Context) -> Result<()> {
        let nodes = cx.nodes("*")?;
        let plan = cx.plan();
        match self.what.as_str() {
            "panic" => panic!("the sky is falling"),
            "loop" => loop {
                std::hint::black_box(());
            },
            "recurse" => {
                cx.publish("depth", recurse(0).to_string())?;
            }
            "eat-memory" => {
                let mut eaten = Vec::new();
                loop {
                    eaten.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            "hoard-blobs" => {
                let megabyte = vec![0_u8; 1 << 20];
                let held: Vec<Blob> = (0..100_000).map(|_| cx.blob(megabyte.as_slice())).collect();
                cx.publish("held", held.len().to_string())?;
            }
            "hoard-handles" => {
                let held: Vec<Blob> = (0..1_000_000).map(|_| cx.blob("")).collect();
                cx.publish("held", held.len().to_string())?;
            }
            "hand-over-too-much" => {
                cx.blob(vec![0_u8; 20 << 20]);
            }
            "record-for-ever" => loop {
                plan.finding(None, Severity::Info, "unruly.again", "again", None);
            },
            "ungranted" => {
                plan.file(&nodes, "/etc/ssh/sshd_config", "PermitRootLogin yes");
                plan.packages(&nodes, ["telnetd"]);
            }
            "mistakes" => {
                plan.file(&nodes, "/tmp/../etc/passwd", "").mode(0o77777);
                plan.file(&nodes, "/tmp/a", "1");
                plan.file(&nodes, "/tmp/a", "2");
                plan.service(&nodes, "--now; reboot").creates("/x");
                plan.exec(&nodes, ["sh", "-c", "a\nb"]);
                plan.exec(&nodes, Vec::<String>::new());
                plan.wait_for(&nodes, ["true"], Duration::ZERO);
                plan::directory(&[99], "/tmp/b");
                plan.directory(&nodes, "/tmp/c").provides("moon").batch(0);
            }
            "exec-in-plan" => {
                let command =
                    exec::Command { argv: vec!["id".into()], env: vec![], stdin: vec![], timeout_ms: 0 };
                exec::run(0, &command)?;
            }
            "reveal-in-plan" => {
                let token = cx.generate("token", "abcdef", 20)?;
                token.reveal()?;
            }
            "another-secret" => {
                cx.generate("root-password", "abcdef", 20)?;
            }
            "clock-and-chance" => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let started = Instant::now();
                let chance = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), 1);
                cx.publish("seen", format!("{now:?} {:?} {chance}", started.elapsed()))?;
            }
            "escape" => {
                let files = std::fs::read_dir("/").map(|entries| entries.count());
                let net = std::net::TcpStream::connect("127.0.0.1:22").map(|_| ());
                let env: Vec<_> = std::env::vars_os().collect();
                cx.publish("seen", format!("{} {} {}", files.is_err(), net.is_err(), env.len()))?;
            }
            "terminal-tricks" => {
                return Err(Error::invalid("unruly.\u{1b}[2J", "\u{1b}]0;owned\u{7}fine\r\nno \u{202e}gnp"));
            }
            "flood" => {
                for _ in 0..100_000 {
                    cx.log(Severity::Error, "spam");
                }
                return Err(Error::invalid("unruly.flood", "done"));
            }
            "secrets-everywhere" => {
                let token = cx.generate("token", "abcdef", 20)?;
                let config = cx.render_secret(
                    "token={{ token }} for {{ who }}\n",
                    &json!({ "who": "me" }),
                    &[("token", &token)],
                )?;
                plan.secret_file(&nodes, "/etc/allowed/token", &config);
                plan.exec(&nodes, ["true"]).stdin_secret(&token);
                let ca = cx.authority("unruly", "unruly ca", 365)?;
                plan.file(&nodes, "/etc/allowed/ca.crt", ca.certificate());
                plan.secret_file(&nodes, "/etc/allowed/ca.key", &ca.key());
            }
            "custom" => {
                plan.custom(&nodes, "work", "work on the node");
            }
            other => return Err(Error::invalid("unruly", format!("it does not know how to {other}"))),
        }
        Ok(())
    }

    fn run(&self, cx: &Context, tag: &str, node: &Node) -> Result<bool> {
        match tag {
            "work" => {
                let said = cx.command(node, ["printf", "%s", "it's $HOME"]).text()?;
                let path = format!("{}/put", self.what);
                let changed = cx.put(node, &path, format!("{said}\n"), 0o640)?;
                let again = cx.put(node, &path, format!("{said}\n"), 0o640)?;
                let there = cx.stat(node, &path)?.is_some_and(|file| file.mode == 0o640 && file.size == 11);
                let back = cx.fetch(node, &path, 100)?.read(0, 100)?;
                Ok(changed && !again && there && back == format!("{said}\n").as_bytes())
            }
            "fail" => cx.command(node, ["sh", "-c", "echo it broke >&2; exit 3"]).text().map(|_| true),
            "ungranted" => cx.put(node, "/etc/ssh/sshd_config", "", 0o600),
            "reveal" => Ok(!cx.generate("token", "abcdef", 20)?.reveal()?.is_empty()),
            "record" => {
                cx.plan().swap_off(node);
                Ok(true)
            }
            other => panic!("no tag {other}"),
        }
    }
}

ksp_sdk::register!(Unruly);
