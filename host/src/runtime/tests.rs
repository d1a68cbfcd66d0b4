//! The sandbox with real guests: the embedded plugins, and guests that misbehave.

mod first_party;
mod guest;
mod plans;
mod unruly;
