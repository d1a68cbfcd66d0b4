//! `ksp etcd`: how the cluster's etcd is, a backup of it, and the way back from one. See `etcd/README.md`.

pub mod archive;
pub mod backup;
pub mod disk;
pub mod layout;
pub mod members;
pub mod restore;
pub mod status;

pub use layout::Etcd;
