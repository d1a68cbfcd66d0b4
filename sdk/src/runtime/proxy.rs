//! The proxy that images are pulled through.

use schemars::JsonSchema;
use serde::Deserialize;

/// Proxy for pulling images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", default, deny_unknown_fields)]
pub struct Proxy {
    /// For plain addresses.
    pub http: String,
    /// For TLS addresses.
    pub https: String,
    /// What is reached without it. Networks and domains rather than nodes: a change restarts the runtime everywhere.
    pub no_proxy: Vec<String>,
}

impl Proxy {
    /// A drop-in for the runtime's systemd unit; none without a proxy. Addresses can carry a password: the file is for root only.
    pub fn drop_in(&self) -> Option<String> {
        let no_proxy = self.no_proxy.join(",");
        let variables = [("HTTP_PROXY", &self.http), ("HTTPS_PROXY", &self.https), ("NO_PROXY", &no_proxy)];
        let lines: String = variables
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| format!("Environment=\"{name}={}\"\n", escape(value)))
            .collect();
        (!lines.is_empty()).then(|| format!("[Service]\n{lines}"))
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_proxy_there_is_no_drop_in() {
        assert_eq!(Proxy::default().drop_in(), None);
    }

    #[test]
    fn specifiers_of_systemd_are_escaped() {
        let proxy = Proxy { http: "http://u:p%40@proxy:3128".into(), ..Proxy::default() };
        let text = "[Service]\nEnvironment=\"HTTP_PROXY=http://u:p%%40@proxy:3128\"\n";
        assert_eq!(proxy.drop_in().as_deref(), Some(text));
    }
}
