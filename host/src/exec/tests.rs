//! Whole runs against nodes in memory, and against real shells in folders of their own.

mod harness;
mod interruptions;
mod leases;
mod order;
mod policies;
mod resume;
