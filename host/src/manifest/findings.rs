//! The findings of one manifest, and which of its values were refused already.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::codes;
use crate::diagnostic::Diagnostic;

/// More than these help nobody, and drawing them takes time.
const MOST: usize = 100;

/// Collects findings. What is said about a refused value, or about anything inside it, is a consequence and left out.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Diagnostic>,
    left_out: usize,
    broken: BTreeSet<String>,
}

impl Findings {
    /// Adds a finding that is about no single value.
    pub fn push(&mut self, finding: Diagnostic) {
        if self.list.len() < MOST {
            self.list.push(finding);
        } else {
            self.left_out += 1;
        }
    }

    /// True when further findings are only counted, and need not say much.
    pub fn is_full(&self) -> bool {
        self.list.len() >= MOST
    }

    /// Adds a finding about the value at a JSON pointer.
    pub fn about(&mut self, pointer: &str, finding: Diagnostic) {
        if !self.is_broken(pointer) {
            self.push(finding);
        }
    }

    /// Notes that a value was refused and a neutral one stands in its place.
    pub fn mark(&mut self, pointer: &str) {
        self.broken.insert(pointer.to_owned());
    }

    /// True when the value, or something around it, was refused.
    pub fn is_broken(&self, pointer: &str) -> bool {
        if self.broken.is_empty() {
            return false;
        }
        let ends = pointer.match_indices('/').map(|(index, _)| index).chain([pointer.len()]);
        ends.into_iter().any(|end| self.broken.contains(&pointer[..end]))
    }

    /// True when nothing at, around or inside the value was refused, so that conclusions can be drawn from it.
    pub fn is_intact(&self, pointer: &str) -> bool {
        let inside = format!("{pointer}/");
        let next = self.broken.range::<str, _>((Bound::Included(inside.as_str()), Bound::Unbounded)).next();
        !self.is_broken(pointer) && !next.is_some_and(|found| found.starts_with(&inside))
    }

    /// True when one of them refuses the run.
    pub fn any_error(&self) -> bool {
        self.left_out > 0 || self.list.iter().any(Diagnostic::is_error)
    }

    /// All of them: those with a place first, in the order of the text.
    pub fn into_sorted(mut self) -> Vec<Diagnostic> {
        super::sort(&mut self.list);
        if self.left_out > 0 {
            self.list.push(
                Diagnostic::error(codes::TOO_MANY, format!("{} more findings are not shown", self.left_out))
                    .hint("correct those above and check again"),
            );
        }
        self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consequences_of_a_refused_value_are_left_out() {
        let mut findings = Findings::default();
        findings.mark("/node/1/roles");
        findings.about("/node/1/roles/0", Diagnostic::error("x", "x"));
        findings.about("/node/1/roles", Diagnostic::error("x", "x"));
        assert!(!findings.any_error());
        findings.about("/node/1", Diagnostic::error("x", "x"));
        findings.about("/node/10/roles", Diagnostic::error("x", "x"));
        assert_eq!(findings.list.len(), 2);
        assert!(
            !findings.is_intact("/node/1")
                && findings.is_intact("/node/2")
                && !findings.is_intact("/node/1/roles/0")
        );
    }

    #[test]
    fn there_is_an_end_to_findings() {
        let mut findings = Findings::default();
        (0..1000).for_each(|_| findings.push(Diagnostic::warning("x", "x")));
        assert!(findings.any_error());
        let list = findings.into_sorted();
        assert_eq!((list.len(), list[MOST].message.as_str()), (MOST + 1, "900 more findings are not shown"));
    }
}
