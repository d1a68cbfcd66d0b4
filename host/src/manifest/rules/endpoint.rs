//! The address by which nodes and users reach the API.

use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::{codes, syntax};
use crate::node::Role;

const POINTER: &str = "/cluster/endpoint";

/// `host:port`.
pub fn syntax(check: &mut Check<'_>) {
    let text = &check.file.cluster.endpoint;
    if let Err(wrong) = syntax::endpoint(text) {
        let finding = Diagnostic::error(codes::BAD_ENDPOINT, format!("the endpoint {wrong}"));
        let plain = text.rsplit("://").next().unwrap_or_default().trim_end_matches('/');
        let candidates = [plain.to_owned(), format!("{plain}:6443"), format!("[{plain}]:6443")];
        let hint = match candidates.iter().find(|candidate| syntax::endpoint(candidate).is_ok()) {
            Some(candidate) => format!("write `endpoint = \"{candidate}\"`"),
            None => "write a name or address and a port, such as `api.prod.example:6443`".into(),
        };
        check.report(POINTER, finding.hint(hint));
    }
}

/// The endpoint is in every certificate and kubeconfig: it cannot be moved away from a machine's own address later.
pub fn fixed_to_one_machine(check: &mut Check<'_>) {
    let Ok(endpoint) = syntax::endpoint(&check.file.cluster.endpoint) else { return };
    let control_planes: Vec<_> =
        check.nodes().filter(|(_, node)| node.roles.contains(&Role::ControlPlane)).collect();
    if control_planes.len() < 2 {
        return;
    }
    let same =
        |text: &str| match (text.parse::<std::net::IpAddr>(), endpoint.host.parse::<std::net::IpAddr>()) {
            (Ok(one), Ok(other)) => one == other,
            _ => text.eq_ignore_ascii_case(&endpoint.host),
        };
    let fixed = control_planes.iter().find(|(_, node)| {
        same(&node.address) || same(&node.name) || node.ssh.host.as_deref().is_some_and(same)
    });
    if let Some((pointer, node)) = fixed {
        let message = format!(
            "the endpoint is `{}` alone; the cluster cannot be used while that machine is down",
            node.name
        );
        let finding = Diagnostic::warning(codes::FIXED_ENDPOINT, message)
            .at(check.value(POINTER, ""))
            .at(check.value(&format!("{pointer}/address"), "this machine"))
            .hint("use a name or virtual address that can move between the control planes, or loopback with a stage that serves it on each node; it cannot be changed later");
        check.report(POINTER, finding);
    }
}
