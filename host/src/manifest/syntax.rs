//! The grammars of single values, without judgement about the cluster. Each says what is wrong as the end of a sentence.

use std::net::IpAddr;

use super::Endpoint;

/// What is wrong with a value: "contains `_`".
pub type Wrong = String;

/// How a character that does not belong is named: look-alikes and invisible ones by their number.
fn contains(character: char) -> Wrong {
    match character {
        ' ' => "contains a blank".into(),
        '`' => "contains a backtick".into(),
        c if c.is_ascii_graphic() => format!("contains `{c}`"),
        c => format!("contains U+{:04X}, which is not an ASCII letter or digit", u32::from(c)),
    }
}

fn only(text: &str, allowed: impl Fn(char) -> bool) -> Result<(), Wrong> {
    text.chars().find(|c| !allowed(*c)).map_or(Ok(()), |c| Err(contains(c)))
}

fn bounded(text: &str, longest: usize) -> Result<(), Wrong> {
    match text.len() {
        0 => Err("is empty".into()),
        length if length > longest => Err(format!("has {length} characters, at most {longest} are allowed")),
        _ => Ok(()),
    }
}

/// A DNS label in lower case (RFC 1123).
pub fn label(text: &str) -> Result<(), Wrong> {
    bounded(text, 63)?;
    if text.starts_with('-') || text.ends_with('-') {
        return Err("begins or ends with `-`".into());
    }
    only(text, |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

/// DNS labels in lower case, separated by dots.
pub fn subdomain(text: &str, longest: usize) -> Result<(), Wrong> {
    bounded(text, longest)?;
    text.split('.').try_for_each(|part| match part {
        "" => Err("has an empty part between dots".into()),
        part => label(part),
    })
}

/// A host name as SSH and URLs take it, or an IP address. Underscores exist in practice.
pub fn host(text: &str) -> Result<(), Wrong> {
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    bounded(text, 253)?;
    if text.starts_with('-') {
        return Err("begins with `-`".into());
    }
    only(text, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))?;
    if text.starts_with('.') || text.contains("..") {
        return Err("has an empty part between dots".into());
    }
    // `10.0.0.300` and `10.0.11` are never meant as names.
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err("is neither an IP address nor a name".into());
    }
    Ok(())
}

/// A login name.
pub fn user(text: &str) -> Result<(), Wrong> {
    bounded(text, 64)?;
    if text.starts_with('-') {
        return Err("begins with `-`".into());
    }
    only(text, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '+' | '@'))
}

/// `host:port`; IPv6 addresses in brackets.
pub fn endpoint(text: &str) -> Result<Endpoint, Wrong> {
    if text.contains("://") {
        return Err("is a URL; only `host:port` belongs here".into());
    }
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (name, rest) = rest.split_once(']').ok_or("has a `[` without `]`")?;
            name.parse::<std::net::Ipv6Addr>().map_err(|_| "has no IPv6 address in the brackets")?;
            (name, rest.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((name, _)) if name.contains(':') => {
                return Err("needs brackets around the IPv6 address".into());
            }
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        },
    };
    host(name)?;
    let port = port.ok_or("has no port")?;
    Ok(Endpoint { host: name.to_owned(), port: self::port(port)? })
}

/// 1 to 65535.
pub fn port(text: &str) -> Result<u16, Wrong> {
    let number =
        Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit())).and_then(|text| text.parse().ok());
    number.filter(|port| *port != 0).ok_or_else(|| "has no port between 1 and 65535".into())
}

/// A bastion: `host`, `user@host`, `host:port`, `user@host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// Login name, when given.
    pub user: Option<String>,
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port, when given.
    pub port: Option<u16>,
}

/// Reads a bastion.
pub fn hop(text: &str) -> Result<Hop, Wrong> {
    let (user, place) = match text.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, text),
    };
    user.map_or(Ok(()), self::user)?;
    let with_port = place.contains("]:") || (place.matches(':').count() == 1 && !place.ends_with(']'));
    let user = user.map(str::to_owned);
    if with_port {
        let Endpoint { host, port } = endpoint(place)?;
        return Ok(Hop { user, host, port: Some(port) });
    }
    let host = place.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(place);
    self::host(host)?;
    Ok(Hop { user, host: host.to_owned(), port: None })
}

/// The part of a label's or taint's key or value that has no prefix: letters, digits, `-_.`, alphanumeric at both ends.
fn qualified_part(text: &str) -> Result<(), Wrong> {
    bounded(text, 63)?;
    only(text, |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))?;
    let ends = [text.chars().next(), text.chars().last()];
    if ends.into_iter().flatten().any(|c| !c.is_ascii_alphanumeric()) {
        return Err("does not begin and end with a letter or digit".into());
    }
    Ok(())
}

/// A label's or taint's key: `[prefix/]name`
/// (<https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set>).
pub fn qualified_name(text: &str) -> Result<(), Wrong> {
    match text.split_once('/') {
        Some((prefix, name)) => {
            subdomain(prefix, 253).map_err(|wrong| format!("has a prefix that {wrong}"))?;
            qualified_part(name).map_err(|wrong| format!("has a name that {wrong}"))
        }
        None => qualified_part(text),
    }
}

/// A label's or taint's value; may be empty.
pub fn label_value(text: &str) -> Result<(), Wrong> {
    if text.is_empty() { Ok(()) } else { qualified_part(text) }
}

/// A taint: key, value (may be empty) and effect.
pub fn taint(text: &str) -> Result<(&str, &str, &str), Wrong> {
    let (rest, effect) = text.rsplit_once(':').ok_or("has no effect after a `:`")?;
    if !matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute") {
        return Err("has an effect that is not NoSchedule, PreferNoSchedule or NoExecute".into());
    }
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    qualified_name(key).map_err(|wrong| format!("has a key that {wrong}"))?;
    label_value(value).map_err(|wrong| format!("has a value that {wrong}"))?;
    Ok((key, value, effect))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_options_or_commands_are_refused() {
        for bad in [
            "",
            "-oProxyCommand=x",
            "a;rm -rf /",
            "$(id)",
            "`id`",
            "a\nb",
            "%h",
            "a b",
            "..",
            "a..b",
            "\u{441}p1",
            "10.0.0.300",
            "a/b",
        ] {
            assert!(host(bad).is_err(), "{bad:?}");
            assert!(label(bad).is_err(), "{bad:?}");
        }
        for bad in ["root -oX", "-l", "", "a;b", "a$b", "a/b", "a\\b", "a\"b"] {
            assert!(user(bad).is_err(), "{bad:?}");
        }
        for good in ["node-1.example.com", "10.0.0.1", "fd00::1", "a_b", "1host"] {
            assert_eq!(host(good), Ok(()), "{good}");
        }
        assert_eq!(label("\u{441}p1"), Err("contains U+0441, which is not an ASCII letter or digit".into()));
    }

    #[test]
    fn endpoints() {
        assert_eq!(endpoint("api.example:6443").unwrap().port, 6443);
        assert_eq!(endpoint("[fd00::1]:6443").unwrap().host, "fd00::1");
        for bad in [
            "api",
            "api:",
            "api:0",
            "api:65536",
            "api:+1",
            "fd00::1:6443",
            "[fd00::1]",
            "[x]:1",
            "https://a:1",
            ":1",
            "a b:1",
        ] {
            assert!(endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bastions() {
        let hop = |text: &str| hop(text).map(|hop| (hop.user.unwrap_or_default(), hop.host, hop.port));
        assert_eq!(hop("b"), Ok((String::new(), "b".into(), None)));
        assert_eq!(hop("me@b:2222"), Ok(("me".into(), "b".into(), Some(2222))));
        assert_eq!(hop("me@fd00::1"), Ok(("me".into(), "fd00::1".into(), None)));
        assert_eq!(hop("[fd00::1]:22"), Ok((String::new(), "fd00::1".into(), Some(22))));
        assert_eq!(hop("[fd00::1]"), Ok((String::new(), "fd00::1".into(), None)));
        for bad in ["", "@b", "a@", "-b", "b:", "b:x", "a b@c", "a,b"] {
            assert!(hop(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn taints_and_labels() {
        assert_eq!(taint("a.b/c=d:NoSchedule"), Ok(("a.b/c", "d", "NoSchedule")));
        assert_eq!(taint("c:NoExecute"), Ok(("c", "", "NoExecute")));
        for bad in
            ["c", "c:Never", ":NoSchedule", "c=\"x\":NoSchedule", "A.B/c:NoSchedule", "a/b/c:NoSchedule"]
        {
            assert!(taint(bad).is_err(), "{bad}");
        }
        assert!(
            qualified_name("example.com/Disk_1").is_ok()
                && qualified_name("/x").is_err()
                && qualified_name("-x").is_err()
        );
        assert!(
            label_value("").is_ok()
                && label_value("\": {x}").is_err()
                && label_value(&"x".repeat(64)).is_err()
        );
    }
}
