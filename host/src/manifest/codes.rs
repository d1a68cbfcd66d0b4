//! Every code a manifest finding can have, with one line of explanation: the table of `README.md`, and what a program may
//! match on. Codes are stable: a code that is no longer used is never given another meaning.

macro_rules! codes {
    ($($(#[$group:meta])* $name:ident = $code:literal, $explanation:literal;)*) => {
        $(#[doc = $explanation] pub const $name: &str = concat!("ksp::manifest::", $code);)*

        /// All codes and what they mean, in the order of the checks.
        pub const ALL: &[(&str, &str)] = &[$(($name, $explanation)),*];
    };
}

codes! {
    UNREADABLE = "unreadable", "the manifest cannot be read: missing, or no permission";
    NOT_A_FILE = "not-a-file", "the manifest is a folder, a pipe or a device instead of a regular file";
    TOO_LARGE = "too-large", "the manifest is larger than 4 MiB";
    NOT_UTF8 = "not-utf8", "the manifest is not UTF-8 text";
    NUL_BYTE = "nul-byte", "the manifest contains a NUL byte: it was cut or is not a text file";
    EMPTY = "empty", "the manifest contains nothing but comments";
    SYNTAX = "syntax", "the text is not TOML";
    DUPLICATE_KEY = "duplicate-key", "a key or table is given twice";
    TOO_DEEP = "too-deep", "tables and lists are nested deeper than 32 levels";
    TOO_MANY = "too-many", "more findings than are shown; correct the shown ones first";
    INTERNAL = "internal", "a defect of ksp: the checks passed but the manifest could not be used";

    UNKNOWN_KEY = "unknown-key", "a key that the format does not have, mostly a misspelt one";
    MISSING_KEY = "missing-key", "a required key or section is absent";
    WRONG_TYPE = "wrong-type", "a value of another type than the key has";
    OUT_OF_RANGE = "out-of-range", "a number that is too small or too large for its key";
    UNKNOWN_VALUE = "unknown-value", "a word that is not among those the key accepts";
    NOT_JSON = "not-json", "a value in a stage's config that JSON does not have: nan, inf, or an integer beyond 64 bits";

    BAD_CLUSTER_NAME = "bad-cluster-name", "the cluster's name is not a DNS label";
    BAD_DNS_DOMAIN = "bad-dns-domain", "the domain of Services is not a DNS name";
    BAD_VERSION = "bad-version", "the Kubernetes version is not three numbers such as 1.36.3";
    UNSUPPORTED_KUBERNETES = "unsupported-kubernetes", "a Kubernetes minor version that ksp cannot install";
    UNTESTED_KUBERNETES = "untested-kubernetes", "a Kubernetes version that ksp accepts but was not tested with";
    BAD_ENDPOINT = "bad-endpoint", "the API endpoint is not `host:port`";
    FIXED_ENDPOINT = "fixed-endpoint", "the API endpoint is the address of one of several control planes, so it fails with that machine";

    BAD_CIDR = "bad-cidr", "not a network such as 10.244.0.0/16";
    CIDR_OVERLAP = "cidr-overlap", "pod and Service addresses overlap";
    CIDR_SIZE = "cidr-size", "a network that is larger or smaller than Kubernetes accepts";
    POD_CIDR_TOO_SMALL = "pod-cidr-too-small", "fewer pod networks (a /24 each, /64 with IPv6) than nodes";
    POD_CIDR_NEARLY_FULL = "pod-cidr-nearly-full", "room for hardly any more nodes among the pod networks";
    MIXED_FAMILIES = "mixed-families", "IPv4 and IPv6 are mixed";
    ADDRESS_IN_CIDR = "address-in-cidr", "a node or the endpoint has an address that belongs to pods or Services";

    TOO_MANY_NODES = "too-many-nodes", "more than the 5,000 nodes that Kubernetes supports";
    BAD_NODE_NAME = "bad-node-name", "a node's name is not a lower-case RFC 1123 name of at most 63 characters";
    DUPLICATE_NODE_NAME = "duplicate-node-name", "two nodes have the same name";
    BAD_ADDRESS = "bad-address", "a node's address is not an IP address";
    UNUSABLE_ADDRESS = "unusable-address", "an address that other nodes cannot reach: loopback, multicast, unspecified or link-local";
    DUPLICATE_ADDRESS = "duplicate-address", "two nodes have the same address";
    DUPLICATE_TARGET = "duplicate-target", "two nodes are reached by the same SSH host and port";
    NO_ROLES = "no-roles", "a node without a role";
    DUPLICATE_ROLE = "duplicate-role", "a role is given twice to one node";
    NO_CONTROL_PLANE = "no-control-plane", "no node has the role `control-plane`";
    NO_WORKER = "no-worker", "no node has the role `worker`, so no workload can run";
    EVEN_CONTROL_PLANES = "even-control-planes", "an even number of control planes, each with an etcd member, survives no more failures than one fewer";
    EVEN_ETCD = "even-etcd", "an even number of etcd nodes survives no more failures than one fewer";
    MANY_ETCD = "many-etcd", "more than seven etcd members: every write gets slower, nothing gets safer";
    BAD_LABEL = "bad-label", "not a Kubernetes label";
    BAD_TAINT = "bad-taint", "not a Kubernetes taint, `key=value:Effect` or `key:Effect`";
    DUPLICATE_TAINT = "duplicate-taint", "a taint's key and effect are given twice to one node";
    MANY_LOCAL = "many-local", "more than one node is said to be this machine";

    BAD_SSH_HOST = "bad-ssh-host", "not a host name or IP address";
    BAD_SSH_USER = "bad-ssh-user", "not a login name";
    BAD_SSH_PORT = "bad-ssh-port", "port 0 cannot be connected to";
    BAD_VIA = "bad-via", "a bastion that is not `user@host:port`";
    BAD_HOST_KEY = "bad-host-key", "not the SHA256 fingerprint of a host key";
    SHARED_HOST_KEY = "shared-host-key", "one host key is pinned for several nodes";
    UNUSED_SSH = "unused-ssh", "SSH settings for a node that is reached as this machine";
    BAD_PATH = "bad-path", "a path that is empty, has control characters, or begins with `~` and is not `~/…`";
    NO_HOME = "no-home", "a path needs the home folder and `HOME` is not set";
    IDENTITY_MISSING = "identity-missing", "the private key file cannot be found or read";
    IDENTITY_NOT_A_FILE = "identity-not-a-file", "the private key is a folder, a pipe or a device instead of a regular file";
    IDENTITY_PUBLIC = "identity-public", "the public key is given where the private key belongs";
    IDENTITY_EXPOSED = "identity-exposed", "the private key can be read by others than its owner";
    BAD_KNOWN_HOSTS = "bad-known-hosts", "the file of known host keys is not a regular file";

    NO_STAGES = "no-stages", "the chain is empty, so nothing would be done";
    EMPTY_USE = "empty-use", "a stage that names no plugin";
    BAD_PLUGIN = "bad-plugin", "not a plugin: neither `publisher/name`, nor `oci://…`, nor a path to a file";
    BAD_STAGE_NAME = "bad-stage-name", "a stage's name is not lower-case letters, digits and `-`";
    DUPLICATE_STAGE = "duplicate-stage", "two stages have the same name";
    BAD_REQUIREMENT = "bad-requirement", "not a version requirement such as ^0.1";
    BAD_SELECTOR = "bad-selector", "what says which nodes a stage is for is not understood";
    BAD_GRANT = "bad-grant", "a grant that is empty or has control characters";

    BAD_MIRROR_URL = "bad-mirror-url", "not an http or https address";
    MIRROR_CREDENTIALS = "mirror-credentials", "a password in a mirror's address";
    BAD_REGISTRY = "bad-registry", "not a registry host such as registry.k8s.io";
    CHECKSUMS_MISSING = "checksums-missing", "the file of checksums cannot be read";
    BAD_CHECKSUM_LINE = "bad-checksum-line", "a line that is not in the format of `sha256sum`";
    DUPLICATE_CHECKSUM = "duplicate-checksum", "two different checksums for one address";

    INLINE_SECRET = "inline-secret", "a secret written into the manifest";
    SUSPECTED_SECRET = "suspected-secret", "a stage's config seems to contain a password or token";
    BAD_SECRET_NAME = "bad-secret-name", "a secret's name is not letters, digits, `-`, `_` and `.`";
    SECRET_SOURCE = "secret-source", "a secret comes from exactly one of `file` and `env`";
    SECRET_MISSING = "secret-missing", "a secret's file cannot be read, or is no regular file of at most 1 MiB";
    SECRET_EXPOSED = "secret-exposed", "a secret's file can be read or changed by others than its owner";
    BAD_ENV_NAME = "bad-env-name", "not the name of an environment variable";
    ENV_UNSET = "env-unset", "the environment variable of a secret is unset or empty";
}
