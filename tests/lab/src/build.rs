//! Everything that the lab builds, in order: components, release files, images, systems.

use anyhow::{Result, bail};

use crate::component::Component;
use crate::{image, machine, packages, release, rootfs};

/// Which components.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All of them.
    All,
    /// The ordinary ones and these.
    With(&'a [String]),
    /// These and nothing else.
    Only(&'a [String]),
}

/// Builds what the cache lacks.
pub fn ensure(wanted: Wanted) -> Result<()> {
    machine::prepare()?;
    let components = choose(Component::all()?, wanted)?;
    for component in &components {
        component.ensure()?;
    }
    release::ensure(&components)?;
    image::ensure(&components)?;
    rootfs::tree("node")?;
    packages::ensure()?;
    rootfs::tree("mirror").map(drop)
}

fn choose(all: Vec<Component>, wanted: Wanted) -> Result<Vec<Component>> {
    let (named, ordinary) = match wanted {
        Wanted::All => return Ok(all),
        Wanted::With(named) => (named, true),
        Wanted::Only(named) => (named, false),
    };
    if let Some(unknown) = named.iter().find(|name| all.iter().all(|component| component.name != **name)) {
        let names: Vec<String> = all.into_iter().map(|component| component.name).collect();
        bail!("there is no component `{unknown}`; there are: {}", names.join(", "));
    }
    let mut names: Vec<String> = named.to_vec();
    // An image or an archive may carry another component's binary.
    for component in all.iter().filter(|component| named.contains(&component.name)) {
        names.extend(component.others().map(str::to_owned));
    }
    Ok(all.into_iter().filter(|c| (ordinary && !c.optional) || names.contains(&c.name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wanted: Wanted) -> Vec<String> {
        choose(Component::all().unwrap(), wanted).unwrap().into_iter().map(|c| c.name).collect()
    }

    #[test]
    fn only_the_named_and_what_their_images_need() {
        assert_eq!(chosen(Wanted::Only(&["flannel-cni-plugin".into()])), ["busybox", "flannel-cni-plugin"]);
        assert!(chosen(Wanted::With(&[])).contains(&"kubernetes".to_owned()));
        let error = choose(Component::all().unwrap(), Wanted::Only(&["nope".into()])).unwrap_err();
        assert!(error.to_string().contains("`nope`"));
    }
}
