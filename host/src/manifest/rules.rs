//! What makes a well-formed manifest a sensible one. One rule, one function; each reports everything it finds.

mod addresses;
mod endpoint;
mod etcd;
mod identity;
mod labels;
mod mirrors;
mod names;
mod networks;
mod roles;
mod secrets;
mod ssh;
mod stages;
mod versions;

pub(super) use mirrors::{parse_checksums, read as read_checksums};
pub(super) use names::{MOST_NODES, number_of_nodes};
pub(super) use secrets::refuse_inline;
pub(super) use stages::default_name;

use super::check::Check;

/// A rule.
pub type Rule = fn(&mut Check<'_>);

/// All rules. Order does not matter: findings are shown in the order of the text.
pub const ALL: &[Rule] = &[
    names::cluster_name,
    names::dns_domain,
    names::node_names,
    names::duplicate_node_names,
    versions::kubernetes,
    endpoint::syntax,
    endpoint::fixed_to_one_machine,
    networks::cidrs,
    networks::overlap,
    networks::families,
    networks::service_size,
    networks::pod_size,
    networks::pod_networks_for_all_nodes,
    networks::addresses_inside,
    addresses::syntax,
    addresses::usable,
    addresses::duplicates,
    addresses::duplicate_targets,
    roles::each_node_has_some,
    roles::duplicates,
    roles::control_plane,
    roles::worker,
    roles::one_local_node,
    etcd::even_control_planes,
    etcd::even_etcd_nodes,
    etcd::many_members,
    labels::labels,
    labels::taints,
    labels::duplicate_taints,
    ssh::hosts,
    ssh::users,
    ssh::ports,
    ssh::bastions,
    ssh::host_keys,
    ssh::shared_host_key,
    ssh::unused,
    identity::identities,
    identity::known_hosts,
    identity::home_for_known_hosts,
    stages::none,
    stages::plugins,
    stages::names,
    stages::duplicates,
    stages::requirements,
    stages::selectors,
    stages::grants,
    mirrors::files,
    mirrors::images,
    mirrors::checksums,
    secrets::names,
    secrets::sources,
    secrets::files,
    secrets::variables,
    secrets::suspected,
];
