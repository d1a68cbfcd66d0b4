//! A component: one folder under `tests/lab/components/` that says what is built, which release
//! files it becomes, and which images.

mod build;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{digest, paths};

/// `component.toml`. `{version}` and `{arch}` are filled in wherever a text names something.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Component {
    /// The folder's name.
    #[serde(skip)]
    pub name: String,
    #[serde(skip)]
    folder: PathBuf,
    /// The upstream version, without `v`.
    pub version: String,
    /// What must come out of the build.
    pub binaries: Vec<String>,
    /// Built only when asked for, by `cargo lab build` or by a scenario.
    #[serde(default)]
    pub optional: bool,
    /// Debian packages that the build needs.
    #[serde(default)]
    pub debian: Vec<String>,
    /// Built from the folder's `go.mod`: every `tool` it names.
    pub go: Option<Go>,
    /// Binary → C source in the folder, built statically.
    #[serde(default)]
    pub c: BTreeMap<String, String>,
    /// Binary → C sources of a Go module that the folder's `go.mod` names, built statically.
    #[serde(default)]
    pub module_c: BTreeMap<String, ModuleSources>,
    /// Binary → file of a Debian package.
    #[serde(default)]
    pub copy: BTreeMap<String, PathBuf>,
    /// Name → file or folder of a Go module that the folder's `go.mod` names, copied as it is.
    #[serde(default)]
    pub module_files: BTreeMap<String, ModuleFiles>,
    /// Environment of the Go tools' build.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Release files in the shape that upstream publishes.
    #[serde(default, rename = "file")]
    pub files: Vec<ReleaseFile>,
    /// Container images.
    #[serde(default, rename = "image")]
    pub images: Vec<Image>,
}

/// How the Go tools are built.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Go {
    /// With the C compiler.
    #[serde(default)]
    pub cgo: bool,
    /// Build tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// Linker flags.
    #[serde(default)]
    pub ldflags: Vec<String>,
    /// The last part of a tool's path → what the binary is called.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
}

/// C sources that a Go module carries.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleSources {
    /// The module.
    pub module: String,
    /// Files in it.
    pub sources: Vec<String>,
}

/// A file that a Go module carries, or a folder of them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleFiles {
    /// The module.
    pub module: String,
    /// The file or folder in it.
    pub path: String,
}

/// One published file: a bare binary or an archive of some.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReleaseFile {
    /// Upstream's address.
    pub url: String,
    /// The binary it is, or the file of a Go module.
    pub binary: Option<String>,
    /// The members it packs.
    #[serde(default)]
    pub archive: Vec<Member>,
}

/// A member of a release archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its path in the archive.
    pub member: String,
    /// The binary it is, or `component/binary`.
    pub binary: String,
}

/// One image, assembled without a Dockerfile.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// Registry, repository and tag as upstream's.
    pub reference: String,
    /// A folder under `tests/lab/rootfs/` that becomes the lowest layer.
    pub base: Option<String>,
    /// Path in the image → binary, or `component/binary`.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Folder in the image → folder of a Go module, or `component/folder`. Modules keep no permissions: each file may be run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trees: BTreeMap<String, String>,
    /// Path in the image → content.
    #[serde(default)]
    pub text: BTreeMap<String, String>,
    /// Symbolic links.
    #[serde(default)]
    pub links: Vec<Links>,
    /// As in the image's configuration.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// As in the image's configuration.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// As in the image's configuration.
    #[serde(default)]
    pub user: String,
}

/// Many links to one target.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Links {
    /// Where they are.
    pub dir: String,
    /// What they point at.
    pub target: String,
    /// What they are called.
    pub names: Vec<String>,
}

impl Image {
    /// What it carries of its own component, or `component/binary`.
    pub fn packed(&self) -> impl Iterator<Item = &String> {
        self.files.values().chain(self.trees.values())
    }
}

impl Component {
    /// Every component, by name.
    pub fn all() -> Result<Vec<Self>> {
        let folder = paths::lab().join("components");
        let entries =
            std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut all = Vec::new();
        for entry in entries {
            all.push(Self::read(&entry?.path())?);
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// One component.
    pub fn load(name: &str) -> Result<Self> {
        Self::read(&paths::lab().join("components").join(name))
    }

    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("component.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = folder
            .file_name()
            .and_then(|name| name.to_str())
            .context("a component folder's name is not text")?;
        Self::parse(name, folder, &text).with_context(|| path.display().to_string())
    }

    fn parse(name: &str, folder: &Path, text: &str) -> Result<Self> {
        let mut component: Self = toml::from_str(text)?;
        component.name = name.to_owned();
        component.folder = folder.to_path_buf();
        component.fill_in();
        let bare = component.files.iter().filter_map(|file| file.binary.as_ref());
        let named = bare.chain(component.packed()).filter(|binary| !binary.contains('/'));
        if let Some(unknown) = named.into_iter().find(|name| !component.makes(name)) {
            bail!("`{unknown}` is not among its binaries and files of modules");
        }
        if let Some(file) =
            component.files.iter().find(|file| file.binary.is_some() != file.archive.is_empty())
        {
            bail!("{}: needs either `binary` or `archive`", file.url);
        }
        Ok(component)
    }

    fn fill_in(&mut self) {
        let (version, arch) = (self.version.clone(), paths::arch());
        let fill = |text: &mut String| *text = text.replace("{version}", &version).replace("{arch}", arch);
        self.go.iter_mut().flat_map(|go| &mut go.ldflags).for_each(fill);
        self.images.iter_mut().map(|image| &mut image.reference).for_each(fill);
        for file in &mut self.files {
            fill(&mut file.url);
            file.archive.iter_mut().map(|member| &mut member.member).for_each(fill);
        }
    }

    /// Whether its build leaves this.
    fn makes(&self, name: &str) -> bool {
        self.binaries.iter().any(|binary| binary == name) || self.module_files.contains_key(name)
    }

    /// What its archives and images pack: its own binaries, or `component/binary`.
    fn packed(&self) -> impl Iterator<Item = &String> {
        let members = self.files.iter().flat_map(|file| &file.archive).map(|member| &member.binary);
        members.chain(self.images.iter().flat_map(Image::packed))
    }

    /// The other components whose binaries it packs.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        self.packed().filter_map(|binary| binary.split_once('/')).map(|(owner, _)| owner)
    }

    /// Name and version: the folder in the cache.
    pub fn key(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Changes when the binaries would: the build's settings and every file of the folder but `component.toml`,
    /// which also says what is made of the binaries.
    pub fn recipe(&self) -> Result<String> {
        let mut settings = format!("{} {:?} {:?} {:?}\n", self.key(), self.go, self.c, self.copy);
        if !self.module_c.is_empty() {
            settings += &format!("{:?}\n", self.module_c);
        }
        if !self.module_files.is_empty() || !self.env.is_empty() {
            settings += &format!("{:?} {:?}\n", self.module_files, self.env);
        }
        Ok(digest::of_bytes(settings + &digest::of_folder(&self.folder, &["component.toml"])?))
    }

    /// Where its binaries are once they are built.
    pub fn built(&self) -> Result<PathBuf> {
        Ok(paths::cache()?.join("components").join(self.key()))
    }

    /// One of its binaries or files of modules.
    pub fn binary(&self, name: &str) -> Result<PathBuf> {
        Ok(self.built()?.join(name))
    }

    /// Builds it unless the cache has it.
    pub fn ensure(&self) -> Result<()> {
        build::ensure(self)
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Component> {
        Component::parse("thing", Path::new("/nowhere"), text)
    }

    #[test]
    fn every_component_reads_and_their_references_hold() {
        let all = Component::all().unwrap();
        assert!(all.len() >= 12, "{}", all.len());
        for (component, file) in all.iter().flat_map(|c| c.packed().map(move |file| (c, file))) {
            let (owner, binary) = file.split_once('/').unwrap_or((&component.name, file));
            let owner = all.iter().find(|c| c.name == owner).unwrap();
            assert!(owner.makes(binary), "{}: {file}", component.name);
        }
    }

    #[test]
    fn version_and_architecture_are_filled_in() {
        let text = r#"
            version = "1.2"
            binaries = ["a"]
            [[file]]
            url = "https://x.test/v{version}/a-{arch}"
            binary = "a"
            [[image]]
            reference = "x.test/a:v{version}"
            files = { "/a" = "a" }
        "#;
        let component = parse(text).unwrap();
        assert_eq!(component.files[0].url, format!("https://x.test/v1.2/a-{}", paths::arch()));
        assert_eq!(component.images[0].reference, "x.test/a:v1.2");
        assert_eq!(component.key(), "thing-1.2");
    }

    #[test]
    fn files_of_modules_go_where_binaries_go() {
        let text = r#"
            version = "1"
            binaries = ["a"]
            [module-files."crds.yaml"]
            module = "m.test"
            path = "manifests/crds.yaml"
            [module-files.etc]
            module = "m.test"
            path = "files/etc"
            [[file]]
            url = "https://x.test/crds.yaml"
            binary = "crds.yaml"
            [[image]]
            reference = "x.test/a:v1"
            files = { "/a" = "a" }
            trees = { "/etc" = "etc" }
        "#;
        let component = parse(text).unwrap();
        assert_eq!(component.packed().collect::<Vec<_>>(), ["a", "etc"]);
        let unknown = parse(&text.replace("\"/etc\" = \"etc\"", "\"/etc\" = \"usr\"")).unwrap_err();
        assert!(format!("{unknown:#}").contains("`usr` is not among"));
    }

    #[test]
    fn what_a_recipe_does_not_use_leaves_its_digest() {
        let plain = "version = '1'\nbinaries = ['a']\n";
        let digest = |text: &str| {
            let component =
                Component::parse("busybox", &paths::lab().join("components/busybox"), text).unwrap();
            component.recipe().unwrap()
        };
        assert_eq!(digest(plain), digest(&format!("{plain}module-files = {{}}\nenv = {{}}\n")));
        assert_ne!(digest(plain), digest(&format!("{plain}env = {{ CGO_CFLAGS = '-O1' }}\n")));
        let tree = "module-files = { etc = { module = 'm.test', path = 'etc' } }\n";
        assert_ne!(digest(plain), digest(&format!("{plain}{tree}")));
    }

    #[test]
    fn mistakes_are_named() {
        let unknown = parse("version = '1'\nbinaries = []\ncolour = 'red'").unwrap_err();
        assert!(format!("{unknown:#}").contains("colour"));
        let other = parse("version = '1'\nbinaries = ['a']\n[[file]]\nurl = 'u'\nbinary = 'b'").unwrap_err();
        assert!(format!("{other:#}").contains("`b` is not among"));
        let neither = parse("version = '1'\nbinaries = ['a']\n[[file]]\nurl = 'u'").unwrap_err();
        assert!(format!("{neither:#}").contains("either"));
    }
}
