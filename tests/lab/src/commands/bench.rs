//! `cargo lab bench`.

use anyhow::Result;

use crate::bench::{self, Part};

pub(super) fn run(only: &[Part]) -> Result<()> {
    bench::run(only)
}
