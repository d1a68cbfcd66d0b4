//! The lab: real Kubernetes components built from source, a mirror that serves them under their
//! upstream addresses, and nodes that are containers with systemd and sshd.
//!
//! `cargo lab` is the thin program over this library; end-to-end tests call it directly:
//!
//! ```no_run
//! let lab = ksp_lab::scenario::Scenario::load("single")?.up()?;
//! lab.node("cp1")?.kill()?;
//! # Ok::<(), anyhow::Error>(())
//! ```

pub mod bench;
pub mod build;
pub mod commands;
pub mod component;
pub mod digest;
pub mod image;
pub mod lock;
pub mod machine;
pub mod manifest;
pub mod mirror;
pub mod node;
pub mod packages;
pub mod paths;
pub mod podman;
pub mod process;
pub mod proof;
pub mod registry;
pub mod release;
pub mod rootfs;
pub mod scenario;
pub mod sequence;
pub mod tell;
pub mod traffic;
pub mod wait;
