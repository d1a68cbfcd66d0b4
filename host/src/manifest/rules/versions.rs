//! The Kubernetes version.

use semver::Version;

use crate::diagnostic::Diagnostic;
use crate::manifest::check::Check;
use crate::manifest::codes;

/// Minor versions of Kubernetes 1 that ksp knows how to install.
const SUPPORTED: std::ops::RangeInclusive<u64> = 34..=37;

/// The newest minor version whose releases ksp was tested with.
const TESTED_UP_TO: u64 = 36;

const POINTER: &str = "/cluster/kubernetes";

/// Exactly one release, one that ksp can install.
pub fn kubernetes(check: &mut Check<'_>) {
    let text = &check.file.cluster.kubernetes;
    let version = match Version::parse(text) {
        Ok(version) if version.build.is_empty() => version,
        _ => {
            let finding = Diagnostic::error(codes::BAD_VERSION, "not a Kubernetes release")
                .at(check.value(POINTER, "must be three numbers"))
                .hint(format!("write `kubernetes = \"{}\"`", nearest(text)));
            return check.report(POINTER, finding);
        }
    };
    let (oldest, newest) = (SUPPORTED.start(), SUPPORTED.end());
    if version.major != 1 || !SUPPORTED.contains(&version.minor) {
        let message = format!("Kubernetes {version} is not supported");
        let finding = Diagnostic::error(codes::UNSUPPORTED_KUBERNETES, message)
            .hint(format!("supported are 1.{oldest} to 1.{newest}"));
        check.report(POINTER, finding);
    } else if version.minor > TESTED_UP_TO || !version.pre.is_empty() {
        let message = format!("ksp was not tested with Kubernetes {version}");
        let finding = Diagnostic::warning(codes::UNTESTED_KUBERNETES, message)
            .hint(format!("tested are the releases of 1.{oldest} to 1.{TESTED_UP_TO}"));
        check.report(POINTER, finding);
    }
}

/// The release that was probably meant: `v1.36` is 1.36.0.
fn nearest(text: &str) -> String {
    let plain = text
        .trim()
        .trim_start_matches(['v', 'V', '=', '^', '~'])
        .split(['+', '-'])
        .next()
        .unwrap_or_default();
    let candidates = [plain.to_owned(), format!("{plain}.0")];
    let found =
        candidates.iter().find_map(|text| Version::parse(text).ok()).filter(|version| version.major == 1);
    found.map_or_else(|| super::super::DEFAULT_KUBERNETES.to_owned(), |version| version.to_string())
}
