//! `ksp node`: takes nodes out of a cluster and puts others in their place. The manifest says afterwards what the cluster is.

pub mod change;
pub mod edit;
