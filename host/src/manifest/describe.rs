//! What messages call the parts of a manifest.

use super::source::Source;

/// A part by its JSON pointer: "node `w1`", "the 3rd `[[node]]`", "`[cluster]`".
pub fn describe(source: &Source, pointer: &str) -> String {
    let segments: Vec<&str> = pointer.split('/').skip(1).collect();
    match segments.as_slice() {
        [] => "the manifest".into(),
        [list @ ("node" | "stage"), index, rest @ ..] => {
            let key = if *list == "node" { "name" } else { "use" };
            let name = source.root().get(list).and_then(|list| list.get(index)?.get(key)?.as_str());
            let whole = match (name, index.parse::<usize>()) {
                (Some(name), _) if !name.is_empty() && name.len() <= 64 => format!("{list} `{name}`"),
                (_, Ok(index)) => format!("the {} `[[{list}]]`", ordinal(index + 1)),
                _ => (*list).to_owned(),
            };
            if rest.is_empty() { whole } else { format!("`{}` of {whole}", rest.join(".")) }
        }
        segments => format!("`[{}]`", segments.join(".")),
    }
}

/// A section by its JSON pointer, without naming which one of several it is: "`[[node]]`".
pub fn section(pointer: &str) -> String {
    let segments: Vec<&str> = pointer.split('/').skip(1).collect();
    match segments.as_slice() {
        [] => "a manifest".into(),
        [list @ ("node" | "stage"), _] => format!("`[[{list}]]`"),
        [list @ ("node" | "stage"), _, rest @ ..] => format!("`{}` of a {list}", rest.join(".")),
        ["secrets", _] => "a secret".into(),
        segments => format!("`[{}]`", segments.join(".")),
    }
}

/// "1st", "2nd", "3rd", "11th".
pub fn ordinal(number: usize) -> String {
    let ending = match (number % 10, number % 100) {
        (1, rest) if rest != 11 => "st",
        (2, rest) if rest != 12 => "nd",
        (3, rest) if rest != 13 => "rd",
        _ => "th",
    };
    format!("{number}{ending}")
}
