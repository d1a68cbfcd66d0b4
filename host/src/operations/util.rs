//! `ksp util`: what editors need.

use serde_json::Value;

/// The JSON Schema of the manifest.
pub fn schema() -> Value {
    crate::manifest::schema_json()
}
