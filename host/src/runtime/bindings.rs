//! Generated from `wit/v0.1`. One of the two places of ksp with `unsafe`: what the macro makes for the component model's types.
#![allow(unsafe_code, missing_docs, clippy::all)]

wasmtime::component::bindgen!({
    path: "../wit/v0.1",
    world: "plugin",
    imports: {
        "ksp:plugin/exec.run": async | trappable,
        "ksp:plugin/exec.run-secret": async | trappable,
        "ksp:plugin/exec.spawn": async | trappable,
        "ksp:plugin/exec.[method]process.next": async | trappable,
        "ksp:plugin/exec.[method]process.wait": async | trappable,
        "ksp:plugin/upload.put": async | trappable,
        "ksp:plugin/upload.put-secret": async | trappable,
        "ksp:plugin/upload.get": async | trappable,
        "ksp:plugin/upload.stat": async | trappable,
        default: trappable,
    },
    exports: { default: async },
    with: {
        "ksp:plugin/blobs.blob": crate::runtime::handles::Blob,
        "ksp:plugin/secrets.secret": crate::runtime::handles::SecretHandle,
        "ksp:plugin/artifact.release": crate::runtime::handles::ReleaseHandle,
        "ksp:plugin/pki.authority": crate::runtime::handles::Authority,
        "ksp:plugin/pki.credential": crate::runtime::handles::Credential,
        "ksp:plugin/plan.op": crate::runtime::handles::OpHandle,
        "ksp:plugin/exec.process": crate::runtime::handles::Process,
    },
});

/// The optional export `teardown`.
pub mod teardown {
    wasmtime::component::bindgen!({
        path: "../wit/v0.1",
        world: "with-teardown",
        exports: { default: async },
        with: { "ksp:plugin/types": super::ksp::plugin::types },
    });
}
