//! What the commands do: one file per command, data in, data out. Nothing here knows of a terminal; `cli` shows what comes back.

pub mod context;
pub mod etcd;
pub mod failure;
pub mod init;
pub mod logs;
pub mod node;
pub mod plan;
pub mod plugin;
pub mod prepare;
pub mod reach;
pub mod reset;
pub mod status;
pub mod unlock;
pub mod up;
pub mod util;

#[cfg(test)]
pub(crate) mod testing;

pub use failure::{Class, Failure};
