//! What of the workstation a manifest's meaning depends on.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

/// Looks up an environment variable.
pub type Variable = Box<dyn Fn(&str) -> Option<OsString> + Send + Sync>;

/// The workstation as a manifest sees it; tests make their own.
pub struct Environment {
    /// The home folder, for paths that begin with `~/`.
    pub home: Option<PathBuf>,
    /// Environment variables.
    pub variable: Variable,
}

impl Environment {
    /// The real one.
    pub fn real() -> Self {
        let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        Self { home, variable: Box::new(|name| std::env::var_os(name)) }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").field("home", &self.home).finish_non_exhaustive()
    }
}

/// Why a path of a manifest has no meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadPath {
    /// Nothing, or blanks.
    Empty,
    /// Control characters.
    Control,
    /// `~user`, which ksp does not look up.
    OtherHome,
    /// `~/` without a home folder.
    NoHome,
}

/// A path of a manifest: `~/` is the home folder, relative ones are relative to `folder`, nothing else is expanded.
///
/// # Errors
/// Says why there is no such path.
pub fn path(text: &str, folder: &Path, environment: &Environment) -> Result<PathBuf, BadPath> {
    if text.trim().is_empty() {
        return Err(BadPath::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(BadPath::Control);
    }
    match text.strip_prefix('~') {
        None => Ok(folder.join(text)),
        Some(rest) => match rest.strip_prefix('/').map(|rest| rest.trim_start_matches('/')) {
            Some(rest) if !rest.is_empty() => {
                Ok(environment.home.as_ref().ok_or(BadPath::NoHome)?.join(rest))
            }
            _ => Err(BadPath::OtherHome),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_home_is_expanded() {
        let environment = Environment { home: Some("/home/me".into()), variable: Box::new(|_| None) };
        let resolve = |text: &str| path(text, Path::new("/m"), &environment);
        assert_eq!(resolve("~/.ssh/id"), Ok("/home/me/.ssh/id".into()));
        assert_eq!(resolve("keys/id"), Ok("/m/keys/id".into()));
        assert_eq!(resolve("/abs"), Ok("/abs".into()));
        assert_eq!(resolve("$HOME/x"), Ok("/m/$HOME/x".into()));
        assert_eq!(resolve("~root/.ssh"), Err(BadPath::OtherHome));
        assert_eq!(resolve("~"), Err(BadPath::OtherHome));
        assert_eq!(resolve("~//etc/passwd"), Ok("/home/me/etc/passwd".into()));
        assert_eq!(resolve(" "), Err(BadPath::Empty));
        assert_eq!(resolve("a\nb"), Err(BadPath::Control));
        let homeless = Environment { home: None, variable: Box::new(|_| None) };
        assert_eq!(path("~/x", Path::new(""), &homeless), Err(BadPath::NoHome));
    }
}
