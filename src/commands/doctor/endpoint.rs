//! Where something connects to: one host and port, for all that go there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use url::{Host, Url};

/// So many of those who go there are named.
const NAMED_MAX: usize = 3;

/// A host and a port, and whether TLS is spoken there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Endpoint {
    /// A name, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) is_secure: bool,
}

impl Endpoint {
    /// Where a URL leads; `None` for one that names no host, or no port that is known.
    pub(super) fn of(url: &Url) -> Option<Self> {
        let host = match url.host()? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        Some(Self { host, port: url.port_or_known_default()?, is_secure: matches!(url.scheme(), "https" | "wss") })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "[{}]:{}", self.host, self.port)
        } else {
            write!(out, "{}:{}", self.host, self.port)
        }
    }
}

/// Endpoints, and who goes to each.
#[derive(Default)]
pub(super) struct Endpoints(pub(super) BTreeMap<Endpoint, BTreeSet<String>>);

impl Endpoints {
    pub(super) fn add(&mut self, endpoint: Endpoint, who: &str) {
        self.0.entry(endpoint).or_default().insert(who.to_owned());
    }
}

/// Names as they are said: `a, b, c and 4 more`.
pub(super) fn names(who: &BTreeSet<String>) -> String {
    let named: Vec<&str> = who.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = who.len().saturating_sub(NAMED_MAX);
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_one_place_is_one() {
        let of = |text: &str| {
            Endpoint::of(&text.parse().unwrap()).map(|endpoint| (endpoint.to_string(), endpoint.is_secure))
        };
        assert_eq!(of("https://me:pw@Example.com/a?b=c"), Some(("example.com:443".to_owned(), true)));
        assert_eq!(of("wss://example.com:8443/"), Some(("example.com:8443".to_owned(), true)));
        assert_eq!(of("ws://[::1]/"), Some(("[::1]:80".to_owned(), false)));
        assert_eq!(of("file:///etc/passwd"), None);
        let who = |count: usize| names(&(0..count).map(|number| format!("s{number}")).collect());
        assert_eq!((who(1), who(3), who(9)), ("s0".into(), "s0, s1, s2".into(), "s0, s1, s2 and 6 more".into()));
    }
}
