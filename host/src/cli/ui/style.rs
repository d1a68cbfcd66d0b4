//! Colours by meaning, in one place. Every line is readable without them.

use clap::builder::styling::{AnsiColor, Color, Effects, Style, Styles};

/// Whether to colour, and how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Palette {
    /// False leaves every text as it is.
    pub enabled: bool,
}

impl Palette {
    /// Done, created.
    pub fn good(self, text: &str) -> String {
        self.paint(text, colour(AnsiColor::Green))
    }

    /// Failed, removed.
    pub fn bad(self, text: &str) -> String {
        self.paint(text, colour(AnsiColor::Red).effects(Effects::BOLD))
    }

    /// Changes, warnings.
    pub fn change(self, text: &str) -> String {
        self.paint(text, colour(AnsiColor::Yellow))
    }

    /// Names, paths, hints.
    pub fn name(self, text: &str) -> String {
        self.paint(text, colour(AnsiColor::Cyan))
    }

    /// What need not be read.
    pub fn dim(self, text: &str) -> String {
        self.paint(text, Style::new().effects(Effects::DIMMED))
    }

    /// Headings.
    pub fn strong(self, text: &str) -> String {
        self.paint(text, Style::new().effects(Effects::BOLD))
    }

    /// A line of a diff, by its sign.
    pub fn diff(self, line: &str) -> String {
        match line.as_bytes().first() {
            Some(b'+') => self.good(line),
            Some(b'-') => self.paint(line, colour(AnsiColor::Red)),
            _ => line.to_owned(),
        }
    }

    fn paint(self, text: &str, style: Style) -> String {
        if self.enabled && !text.is_empty() { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

fn colour(colour: AnsiColor) -> Style {
    Style::new().fg_color(Some(Color::Ansi(colour)))
}

/// The same meanings for help texts.
pub fn help_styles() -> Styles {
    Styles::styled()
        .header(Style::new().effects(Effects::BOLD))
        .usage(Style::new().effects(Effects::BOLD))
        .literal(colour(AnsiColor::Cyan))
        .placeholder(colour(AnsiColor::Cyan))
        .error(colour(AnsiColor::Red).effects(Effects::BOLD))
        .valid(colour(AnsiColor::Green))
        .invalid(colour(AnsiColor::Yellow))
}

/// Signs in front of lines; ASCII where the locale has nothing better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symbols {
    /// It is done.
    pub done: &'static str,
    /// It failed.
    pub failed: &'static str,
    /// Part of a bar.
    pub bar: &'static str,
    /// Something was left out.
    pub ellipsis: &'static str,
}

impl Symbols {
    /// For terminals that draw Unicode.
    pub const UNICODE: Self = Self { done: "✓", failed: "✗", bar: "━", ellipsis: "…" };
    /// For all others.
    pub const ASCII: Self = Self { done: "v", failed: "x", bar: "=", ellipsis: "..." };

    /// By the locale's name: `LC_ALL`, `LC_CTYPE`, `LANG`, the first that is set.
    pub fn for_locale(variable: impl Fn(&str) -> Option<String>) -> Self {
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| variable(name).filter(|it| !it.is_empty()));
        let locale = locale.unwrap_or_default().to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::UNICODE } else { Self::ASCII }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_follow_the_locale() {
        let locale = |all: &'static str, lang: &'static str| {
            Symbols::for_locale(move |name| match name {
                "LC_ALL" => Some(all.to_owned()),
                "LANG" => Some(lang.to_owned()),
                _ => None,
            })
        };
        assert_eq!(locale("", "en_US.UTF-8"), Symbols::UNICODE);
        assert_eq!(locale("C", "en_US.UTF-8"), Symbols::ASCII);
        assert_eq!(locale("C.utf8", ""), Symbols::UNICODE);
        assert_eq!(locale("", ""), Symbols::ASCII);
    }

    #[test]
    fn no_colour_means_no_change() {
        assert_eq!(Palette { enabled: false }.bad("x"), "x");
        assert!(Palette { enabled: true }.bad("x").contains('\u{1b}'));
    }
}
