//! ksp turns machines that answer SSH into a Kubernetes cluster, with every stage a sandboxed WebAssembly plugin.
//!
//! Data flows one way, and modules use only what stands above them:
//!
//! | layer | module | what it does |
//! |---|---|---|
//! | leaves | [`diagnostic`] [`event`] [`redact`] [`paths`] [`random`] | findings, what can be shown, secrets, folders, chance |
//! | input | [`manifest`] [`node`] | what the user wants, checked whole |
//! | plugins | [`plugin`] | where they come from, what they may do |
//! | nodes | [`transport`] [`facts`] [`state`] [`ledger`] | connections, what is known of a node, what a cluster remembers |
//! | cluster | [`kubernetes`] [`pki`] [`secrets`] | the API through SSH, certificates, secrets by name |
//! | ops | [`op`] [`plan`] | declared changes; the plan as data |
//! | sandbox | [`runtime`] | runs plugins; one file per WIT interface |
//! | execution | [`exec`] | order, lease, journal, ledger |
//! | operations | [`operations`] | one file per command, no terminal |
//! | surface | [`cli`] | arguments, output, exit codes |
//!
//! Nothing below `cli` prints. No module names a stage.

pub mod cli;
pub mod diagnostic;
pub mod event;
pub mod exec;
pub mod facts;
pub mod kubernetes;
pub mod ledger;
pub mod manifest;
pub mod node;
pub mod op;
pub mod operations;
pub mod paths;
pub mod pki;
pub mod plan;
pub mod plugin;
pub mod random;
pub mod redact;
pub mod run;
pub mod runtime;
pub mod secrets;
pub mod state;
pub mod transport;
