//! Generated from `wit/v0.1`. The one place of the SDK with `unsafe`: the glue between the component model and Rust.
#![allow(unsafe_code, missing_docs, clippy::all)]

wit_bindgen::generate!({
    path: "../wit/v0.1",
    world: "plugin",
    pub_export_macro: true,
    default_bindings_module: "ksp_sdk::bindings",
    additional_derives: [PartialEq],
    generate_all,
});

/// The optional export `teardown`, a world of its own: joined to `plugin` by those that register it.
pub mod teardown {
    wit_bindgen::generate!({
        path: "../wit/v0.1",
        world: "with-teardown",
        pub_export_macro: true,
        default_bindings_module: "ksp_sdk::bindings::teardown",
        with: { "ksp:plugin/types@0.1.0": crate::bindings::ksp::plugin::types },
    });
}
