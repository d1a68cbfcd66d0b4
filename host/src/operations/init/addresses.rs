//! Addresses as they are typed: one, or a range of the last part.

use std::net::{IpAddr, Ipv4Addr};

/// More machines are not typed on a command line.
const MOST: u32 = 1_000;

/// `10.0.0.11`, `10.0.0.11-13`, `10.0.0.11-10.0.0.13`, `fd00::11`.
///
/// # Errors
/// Says what is wrong, as the end of a sentence.
pub fn expand(text: &str) -> Result<Vec<IpAddr>, String> {
    let Some((first, last)) = text.split_once('-') else {
        return Ok(vec![text.parse().map_err(|_| "is not an IP address")?]);
    };
    let first: Ipv4Addr = first.parse().map_err(|_| "does not begin with an IPv4 address")?;
    let last = match last.parse::<Ipv4Addr>() {
        Ok(last) => last,
        Err(_) => {
            let [a, b, c, _] = first.octets();
            let digits = Some(last).filter(|last| last.bytes().all(|byte| byte.is_ascii_digit()));
            let part = digits
                .and_then(|digits| digits.parse().ok())
                .ok_or("does not end with an address or its last part")?;
            Ipv4Addr::new(a, b, c, part)
        }
    };
    let (first, last) = (u32::from(first), u32::from(last));
    match last.checked_sub(first) {
        None => Err("ends before it begins".into()),
        Some(length) if length >= MOST => Err(format!("is a range of more than {MOST} addresses")),
        Some(_) => Ok((first..=last).map(|address| IpAddr::V4(address.into())).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn ranges_are_expanded() {
        let shown = |text: &str| {
            expand(text).map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(shown("10.0.0.11"), Ok("10.0.0.11".into()));
        assert_eq!(shown("10.0.0.11-13"), Ok("10.0.0.11 10.0.0.12 10.0.0.13".into()));
        assert_eq!(shown("10.0.0.255-10.0.1.0"), Ok("10.0.0.255 10.0.1.0".into()));
        assert_eq!(shown("fd00::1"), Ok("fd00::1".into()));
        for bad in [
            "",
            "x",
            "10.0.0.11-",
            "-13",
            "10.0.0.11-9",
            "10.0.0.1-300",
            "10.0.0.0-10.9.0.0",
            "10.0.0.1-2-3",
            "fd00::1-3",
            "10.0.0.1-+2",
        ] {
            assert!(expand(bad).is_err(), "{bad}");
        }
    }
}
