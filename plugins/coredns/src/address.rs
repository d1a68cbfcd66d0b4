//! Addresses of Services.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The tenth address of a network: kubeadm's convention for cluster DNS.
pub fn tenth(cidr: &str) -> Option<String> {
    let (network, length) = cidr.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    match network.parse().ok()? {
        IpAddr::V4(address) if length <= 28 => {
            let base = u32::from(address) & u32::MAX.checked_shl(32 - length).unwrap_or(0);
            Some(Ipv4Addr::from(base + 10).to_string())
        }
        IpAddr::V6(address) if length <= 124 => {
            let base = u128::from(address) & u128::MAX.checked_shl(128 - length).unwrap_or(0);
            Some(Ipv6Addr::from(base + 10).to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tenth_address() {
        assert_eq!(tenth("10.96.0.0/16").as_deref(), Some("10.96.0.10"));
        assert_eq!(tenth("10.96.3.7/12").as_deref(), Some("10.96.0.10"));
        assert_eq!(tenth("fd00:1::/108").as_deref(), Some("fd00:1::a"));
        assert_eq!(tenth("10.96.0.0/30"), None);
        assert_eq!(tenth("nonsense"), None);
    }
}
