//! The real thing on real nodes. Ignored by default: `cargo lab test` runs them, one at a time; each removes its nodes.

mod calico;
mod cilium;
mod converge;
mod external_endpoint;
mod external_etcd;
mod high_availability;
mod interrupted;
mod members;
mod multus;
mod networks;
mod rebuild;
mod recovery;
mod refused;
mod runtime_switch;
mod runtimes;
mod support;
mod upgrade;
mod virtual_address;
