use std::path::PathBuf;

use super::*;
use crate::diagnostic::Span;

fn span(text: &str, what: &str, label: &str) -> Span {
    let start = text.find(what).unwrap();
    Span {
        path: PathBuf::from("m.toml"),
        text: text.into(),
        range: start..start + what.len(),
        label: label.into(),
    }
}

#[test]
fn a_finding_has_heading_place_notes_and_hints() {
    let text = "[cluster]\nname = \"x\"\n\n[[node]]\nrolles = [\"worker\"]\n";
    let finding = Diagnostic::error("ksp::manifest::unknown-key", "unknown key `rolles`")
        .at(span(text, "rolles", "did you mean `roles`?"))
        .at(span(text, "[[node]]", "of this node"))
        .note("a note\nof two lines")
        .hint("first\nof two lines")
        .hint("second");
    let warning = Diagnostic::warning("ksp::x::y", "no place, nothing else");
    insta::assert_snapshot!(render(&[finding, warning], false));
}

#[test]
fn the_same_about_several_nodes_is_one() {
    let unreachable = |node: &str, note: &str| {
        Diagnostic::error("ksp::connect::refused", "connection refused")
            .on_node(node)
            .note(note)
            .hint("is sshd running?")
    };
    let other = Diagnostic::error("ksp::connect::refused", "connection refused");
    let findings =
        [unreachable("w1", "10.0.0.1"), other, unreachable("w2", "10.0.0.2"), unreachable("w3", "10.0.0.3")];
    insta::assert_snapshot!(render(&findings, false));
    let same = [unreachable("w1", "x"), unreachable("w2", "x")];
    insta::assert_snapshot!(render(&same, false));
}

#[test]
fn text_from_outside_cannot_draw() {
    let text = "a = \"\u{1b}[2J\u{202e}evil\u{7}\"\r\nb = 1\r\n";
    let finding = Diagnostic::error("c\u{1b}", "m\u{1b}[31m\nline")
        .at(span(text, "evil", "l\u{1b}]0;x\u{7}"))
        .note("n\u{9b}")
        .hint("h\u{8}");
    for color in [false, true] {
        let drawn = render(std::slice::from_ref(&finding), color);
        let own = if color { drawn.replace("\u{1b}[", "") } else { drawn.clone() };
        assert!(!own.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{drawn:?}");
    }
    insta::assert_snapshot!(render(&[finding], false));
}

#[test]
fn long_lines_and_odd_ranges_are_drawn() {
    let long = format!("x = [{}]\n", "\"größe\", ".repeat(200_000));
    let at = long.find("größe").unwrap() + 9 * 100_000;
    let text: std::sync::Arc<str> = long.into();
    let ranges = [
        at..at + 3,
        0..usize::MAX,
        7..8,
        text.len()..text.len(),
        usize::MAX..usize::MAX,
        text.len() - 1..text.len(),
        std::ops::Range { start: 6, end: 2 },
    ];
    for range in ranges {
        let span = Span { path: "m.toml".into(), text: text.clone(), range, label: "here".into() };
        let drawn = render(&[Diagnostic::error("c", "m").at(span)], false);
        assert!(drawn.len() < 2_000 && drawn.contains("here"), "{drawn}");
    }
    let empty = Span { path: "m.toml".into(), text: "".into(), range: 0..0, label: String::new() };
    insta::assert_snapshot!(render(&[Diagnostic::error("c", "m").at(empty)], false));
}

#[test]
fn places_far_apart_are_drawn_as_two_pieces() {
    let text: std::sync::Arc<str> = (0..1000).map(|n| format!("line{n}\n")).collect::<String>().into();
    let place = |line: &str, label: &str| {
        let start = text.find(line).unwrap();
        Span {
            path: "m.toml".into(),
            text: text.clone(),
            range: start..start + line.len(),
            label: label.into(),
        }
    };
    let finding =
        Diagnostic::error("c", "twice").at(place("line900", "again here")).at(place("line3\n", "first here"));
    insta::assert_snapshot!(render(&[finding], false));
}
