//! Which release of CRI-O goes with which Kubernetes: both have the same minor version, and CRI-O is only tested so.

use ksp_sdk::prelude::*;
use semver::Version;

/// The newest release that this plugin knows for each minor version.
const NEWEST: &[(u64, u64, &str)] = &[(1, 35, "1.35.6"), (1, 36, "1.36.3")];

/// The version to install: the one that was asked for when it fits, else the newest that goes with this Kubernetes.
///
/// # Errors
/// Why there is none.
pub fn choose(asked: &str, kubernetes: &Version) -> Result<String, Finding> {
    let minor = (kubernetes.major, kubernetes.minor);
    let newest = NEWEST.iter().find(|known| (known.0, known.1) == minor).map(|known| known.2);
    if asked.is_empty() {
        return newest.map(str::to_owned).ok_or_else(|| {
            let message = format!("no release of CRI-O {}.{} is known", minor.0, minor.1);
            Finding::error("/version", message)
                .hint(format!("name one, or a `kubernetes` that goes with one of {}", known().join(", ")))
        });
    }
    let Ok(version) = Version::parse(asked) else {
        return Err(Finding::error("/version", format!("`{asked}` is no version of CRI-O")).hint(format!(
            "such as \"{}\"; without it ksp takes what goes with Kubernetes",
            NEWEST[NEWEST.len() - 1].2
        )));
    };
    if (version.major, version.minor) == minor {
        return Ok(asked.to_owned());
    }
    let message =
        format!("CRI-O {asked} does not go with Kubernetes {kubernetes}: their minor versions must be equal");
    let hint = match newest {
        Some(newest) => format!("use \"{newest}\", or leave `version` out"),
        None => format!("use a release of CRI-O {}.{}", minor.0, minor.1),
    };
    Err(Finding::error("/version", message).hint(hint))
}

fn known() -> Vec<&'static str> {
    NEWEST.iter().map(|(_, _, version)| *version).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(asked: &str, kubernetes: &str) -> Result<String, String> {
        choose(asked, &kubernetes.parse().unwrap()).map_err(|finding| finding.message().to_owned())
    }

    #[test]
    fn the_minor_version_is_that_of_kubernetes() {
        assert_eq!(chosen("", "1.36.1").unwrap(), "1.36.3");
        assert_eq!(chosen("", "1.35.9").unwrap(), "1.35.6");
        assert_eq!(chosen("1.36.0", "1.36.3").unwrap(), "1.36.0");
        assert!(chosen("1.35.6", "1.36.3").unwrap_err().contains("must be equal"));
        assert!(chosen("", "1.34.0").unwrap_err().contains("CRI-O 1.34"));
        assert!(chosen("latest", "1.36.3").unwrap_err().contains("`latest`"));
    }

    #[test]
    fn what_is_offered_can_be_fetched() {
        let artifacts = include_str!("../artifacts.toml");
        let (releases, _) = artifacts.split_once("[artifact.cni-plugins]").unwrap();
        for version in known() {
            assert!(releases.contains(&format!("versions.\"{version}\" =")), "{version}");
        }
    }
}
