//! Write a ksp stage in Rust: a struct for its config, an implementation of [`Stage`], one line of [`register!`].
//!
//! | module | what it is for |
//! |---|---|
//! | [`stage`] | the trait, and how the host's calls reach it |
//! | [`context`] | what a stage is told: cluster, nodes, facts, outputs, templates, release files, keys, secrets |
//! | [`plan`] | the builder: ops and their modifiers |
//! | [`node`] | nodes and their facts |
//! | [`etcd`] | how the cluster's etcd is run and reached, for the stage that runs it and for those that use it |
//! | [`kubeadm`] | bootstrap tokens and documents for kubeadm |
//! | [`leftovers`] | what a network leaves in the kernel, for `teardown` |
//! | [`runtime_switch`] | another container runtime for a living node, for stages that provide one |
//! | [`remote`] | commands and files on nodes, for `run` only |
//! | [`error`] | [`Error`], which `?` makes out of everything that the host answers |
//!
//! Plugins also compile natively, so `cargo test -p <plugin>` runs the tests of their pure parts; calling the host natively
//! panics.

pub mod bindings;
pub mod content;
pub mod context;
pub mod error;
pub mod etcd;
pub mod finding;
pub mod kubeadm;
pub mod leftovers;
pub mod node;
pub mod plan;
pub mod remote;
pub mod runtime;
pub mod runtime_switch;
#[doc(hidden)]
pub mod schema;
pub mod stage;

pub use content::{Content, render_json, render_toml};
pub use context::{Context, Spec};
pub use error::{Error, Result};
pub use finding::Finding;
pub use node::{Facts, Node, NodeSpec, Nodes, Role};
pub use plan::{Op, Plan};
pub use remote::{Command, Output};
pub use stage::{Stage, Teardown};

/// A release file that the plugin's manifest declares.
pub use bindings::ksp::plugin::artifact::Release;
/// Bytes held by the host.
pub use bindings::ksp::plugin::blobs::Blob;
/// Certificate authorities, certificates and what to ask for.
pub use bindings::ksp::plugin::pki::{Authority, Credential, Request as CertificateRequest, Usage};
/// Secret bytes held by the host.
pub use bindings::ksp::plugin::secrets::Secret;
/// How bad a finding is.
pub use bindings::ksp::plugin::types::Severity;

pub use schemars::{self, JsonSchema};
pub use serde::{self, Deserialize, Serialize};
pub use serde_json::{self, json};

/// What most plugins need.
pub mod prelude {
    pub use crate::{
        Authority, Blob, Content, Context, Error, Facts, Finding, Node, Nodes, Op, Plan, Release, Result,
        Role, Secret, Severity, Spec, Stage, Teardown, argv, json,
    };
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
    pub use std::time::Duration;
}

/// Arguments of a command, mixed from anything that becomes a `String`: `argv!["etcdctl", format!("--name={name}")]`.
#[macro_export]
macro_rules! argv {
    ($($word:expr),* $(,)?) => { ::std::vec![$(::std::string::String::from($word)),*] };
}

/// Makes a [`Stage`] the plugin's entry: `register!(Containerd);`, or `register!(Workers, teardown);` for one that also
/// implements [`Teardown`].
///
/// Also adds the unit test that keeps `config.schema.json` in step with the config struct; `KSP_UPDATE=1 cargo test -p …`
/// rewrites the file.
#[macro_export]
macro_rules! register {
    ($stage:ident) => {
        #[allow(unsafe_code)]
        const _: () = {
    $crate::bindings::export!($stage with_types_in $crate::bindings);
        };
        #[cfg(test)]
        mod config_schema {
            #[test]
            fn is_up_to_date() {
                $crate::schema::check::<super::$stage>(env!("CARGO_MANIFEST_DIR"), env!("CARGO_PKG_NAME"));
            }
        }
    };
    ($stage:ident, teardown) => {
        $crate::register!($stage);
        #[allow(unsafe_code)]
        const _: () = {
    $crate::bindings::teardown::export!($stage with_types_in $crate::bindings::teardown);
        };
    };
}
