//! Cuts the lines that spans are in out of a text, however long the text and its lines are.

use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{Annotation, AnnotationKind, Element, Origin, Snippet};

use super::sanitize::{push, sanitize};
use crate::diagnostic::Span;

/// Spans of one text that are farther apart than this are drawn as two pieces.
const MOST_LINES: usize = 200;

/// Longer lines are cut around what is underlined.
const LONGEST_LINE: usize = 400;

/// The spans drawn: those of one text together, the first one as the cause.
pub fn snippets(spans: &[&Span]) -> Vec<Element<'static>> {
    let mut pieces: Vec<Piece> = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        let range = first_line(&span.text, &span.range);
        let line = span.text[..range.start].matches('\n').count();
        let mark = Mark { range, line, label: span.label.clone(), primary: index == 0 };
        match pieces.iter_mut().find(|piece| piece.takes(span, line)) {
            Some(piece) => piece.marks.push(mark),
            None => pieces.push(Piece {
                path: span.path.display().to_string(),
                text: span.text.clone(),
                marks: vec![mark],
            }),
        }
    }
    pieces.into_iter().map(Piece::draw).collect()
}

/// The part of a range that is in its first line, between characters and inside the text.
fn first_line(text: &str, range: &Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(range.start.min(text.len()));
    let end = text.floor_char_boundary(range.end.clamp(start, text.len()));
    let end = text[start..end].find('\n').map_or(end, |length| start + length);
    start..end
}

struct Mark {
    range: Range<usize>,
    line: usize,
    label: String,
    primary: bool,
}

struct Piece {
    path: String,
    text: Arc<str>,
    marks: Vec<Mark>,
}

impl Piece {
    fn takes(&self, span: &Span, line: usize) -> bool {
        self.text == span.text
            && self.path == span.path.display().to_string()
            && self.marks.iter().all(|mark| mark.line.abs_diff(line) <= MOST_LINES)
    }

    fn draw(self) -> Element<'static> {
        let path = sanitize(&self.path);
        if self.text.is_empty() {
            return Origin::path(path).into();
        }
        let first = self.marks.iter().map(|mark| mark.line).min().unwrap_or(0);
        let last = self.marks.iter().map(|mark| mark.line).max().unwrap_or(0);
        let mut source = String::new();
        let mut annotations = Vec::new();
        let mut position = 0;
        for (number, line) in self.text.split_inclusive('\n').enumerate().take(last + 1) {
            if number >= first {
                let start = position;
                let marks: Vec<&Mark> = self.marks.iter().filter(|mark| mark.line == number).collect();
                let places = append(
                    &mut source,
                    line,
                    marks.iter().map(|m| m.range.start - start..m.range.end - start).collect(),
                );
                annotations.extend(marks.iter().zip(places).map(|(mark, place)| annotation(mark, place)));
            }
            position += line.len();
        }
        // An error at the very end is in a line that has no text.
        let at_end = self.marks.iter().filter(|mark| mark.range.start >= position && mark.line >= first);
        let missing: Vec<&Mark> =
            at_end.filter(|mark| self.text.ends_with('\n') && mark.line == last).collect();
        if !missing.is_empty() {
            let end = source.len();
            annotations.extend(missing.into_iter().map(|mark| annotation(mark, end..end)));
        }
        Snippet::source(source).line_start(first + 1).path(path).annotations(annotations).into()
    }
}

fn annotation(mark: &Mark, place: Range<usize>) -> Annotation<'static> {
    let kind = if mark.primary { AnnotationKind::Primary } else { AnnotationKind::Context };
    let label = (!mark.label.is_empty()).then(|| sanitize(&mark.label).replace('\n', " "));
    kind.span(place).label(label)
}

/// Appends a line, made harmless and not too long; returns where ranges of it have come to.
fn append(source: &mut String, line: &str, ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    let (body, end) = match line.strip_suffix('\n') {
        Some(body) => (body.strip_suffix('\r').unwrap_or(body), "\n"),
        None => (line, ""),
    };
    let middle = ranges.first().map_or(0, |range| range.start);
    let keep = if body.len() <= LONGEST_LINE {
        0..body.len()
    } else {
        let from = body.floor_char_boundary(middle.saturating_sub(LONGEST_LINE / 4).min(body.len()));
        from..body.floor_char_boundary((from + LONGEST_LINE).min(body.len()))
    };
    let mut places: Vec<Range<usize>> = ranges.iter().map(|_| usize::MAX..usize::MAX).collect();
    if keep.start > 0 {
        source.push('…');
    }
    for (offset, character) in body[keep.clone()].char_indices() {
        note(&mut places, &ranges, keep.start + offset, source.len());
        if character == '\t' { source.push('\t') } else { push(source, character) }
    }
    note(&mut places, &ranges, keep.end, source.len());
    let after = source.len();
    if keep.end < body.len() {
        source.push('…');
    }
    source.push_str(end);
    // What was cut away, and what lies in the line break, is at the end of what is shown.
    let inside = |place: usize| if place == usize::MAX { after } else { place };
    places.into_iter().map(|place| inside(place.start)..inside(place.end).max(inside(place.start))).collect()
}

fn note(places: &mut [Range<usize>], ranges: &[Range<usize>], original: usize, drawn: usize) {
    for (place, range) in places.iter_mut().zip(ranges) {
        if range.start <= original && place.start == usize::MAX {
            place.start = drawn;
        }
        if range.end <= original && place.end == usize::MAX {
            place.end = drawn;
        }
    }
}
