//! "Did you mean": the nearest of the words that would have been right.

/// The candidate that was probably meant, if one is near enough. `pod_cidr` and `podCidr` mean `pod-cidr`.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A word this long is no slip of the finger, and comparing is quadratic.
    if word.chars().count() > 64 {
        return None;
    }
    let plain = |text: &str| {
        text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect::<String>()
    };
    let wanted = plain(word);
    let distances = candidates.into_iter().map(|candidate| {
        let distance = strsim::damerau_levenshtein(&wanted, &plain(candidate));
        (distance, candidate)
    });
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    let allowed = (wanted.chars().count() / 3).max(1);
    (distance <= allowed && distance < candidate.len()).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let keys = ["name", "address", "roles", "pod-cidr"];
        for (word, expected) in [
            ("rolles", Some("roles")),
            ("adress", Some("address")),
            ("pod_cidr", Some("pod-cidr")),
            ("podCIDR", Some("pod-cidr")),
            ("nmae", Some("name")),
            ("include", None),
            ("", None),
        ] {
            assert_eq!(closest(word, keys), expected, "{word}");
        }
        assert_eq!(closest(&"a".repeat(100_000), keys), None);
    }
}
