//! Random bytes and texts from the operating system.

use rand::TryRng;
use rand::rngs::SysRng;

/// Random bytes.
///
/// # Errors
/// The operating system gives none.
pub fn bytes<const N: usize>() -> std::io::Result<[u8; N]> {
    let mut bytes = [0_u8; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(std::io::Error::other)?;
    Ok(bytes)
}

/// `length` characters, each drawn from `alphabet` with the same likelihood.
///
/// # Errors
/// The operating system gives no random bytes, or the alphabet is empty.
pub fn text(alphabet: &[char], length: u32) -> std::io::Result<String> {
    let size = u32::try_from(alphabet.len()).unwrap_or(u32::MAX);
    // Numbers at and above the largest multiple of the size would favour the first characters: draw again.
    let Some(fair) = (u32::MAX / size.max(1)).checked_mul(size).filter(|fair| *fair > 0) else {
        return Err(std::io::Error::other("there are no characters to draw from"));
    };
    let mut text = String::with_capacity(length as usize);
    let mut drawn = 0;
    while drawn < length {
        let number = u32::from_le_bytes(bytes()?);
        if number < fair
            && let Some(character) = alphabet.get((number % size) as usize)
        {
            text.push(*character);
            drawn += 1;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_comes_about_as_often() {
        let alphabet: Vec<char> = "abc".chars().collect();
        let text = text(&alphabet, 30_000).unwrap();
        for character in alphabet {
            let count = text.chars().filter(|found| *found == character).count();
            // 30 standard deviations wide: fails only when something is wrong.
            assert!((7_500..12_500).contains(&count), "{character}: {count}");
        }
    }

    #[test]
    fn an_empty_alphabet_is_refused() {
        assert!(text(&[], 1).is_err());
    }
}
