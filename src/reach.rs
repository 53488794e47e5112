//! Where a source may connect to: what its file names, and the public internet, and nothing else.
//!
//! A page, a redirect or a name server is somebody else's word. None of them may lead a source from the public
//! internet to a machine of its owner's network, to this machine, or to the address at which clouds hand out keys
//! ("server-side request forgery"). Two checks do that. A URL is checked before each request ([`Reach::check`]): by
//! its address, or by the form of its name. And a name is resolved once, its addresses are checked, and one of those
//! that passed is connected to (`Guard`): there is no second look-up that could be answered differently.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

/// Where one source may connect to. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Reach(Option<Arc<Limits>>);

#[derive(Debug)]
struct Limits {
    /// The hosts that the source's file names.
    named: Vec<String>,
    private: bool,
}

/// An address that a source may not connect to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("forbidden_address: {what}; {advice}")]
pub struct Forbidden {
    what: String,
    advice: &'static str,
}

const ALLOW_PRIVATE: &str = "if that is meant, write `allow_private: true` in the source's file";
const NAME_IT: &str = "if that is meant, write the address itself as the source's";

/// What kind of place an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Public,
    /// This machine, or a network of its owner's.
    Private,
    /// No source has any business there: link-local addresses (where clouds hand out keys), multicast, reserved ones.
    Never,
}

impl Reach {
    /// Everywhere: for what the service's own file names, such as stores.
    pub fn anywhere() -> Self {
        Self(None)
    }

    /// The hosts of these addresses, which stand in a source's file, and the public internet; with `private` also
    /// this machine and its owner's networks.
    pub fn of(urls: impl IntoIterator<Item = Url>, private: bool) -> Self {
        let named = urls.into_iter().filter_map(|url| url.host().map(|host| key(&host))).collect();
        Self(Some(Arc::new(Limits { named, private })))
    }

    /// Whether a request may go to this URL, as far as that can be told from the URL alone.
    ///
    /// # Errors
    /// When it may not.
    pub fn check(&self, url: &Url) -> Result<(), Forbidden> {
        let (Some(limits), Some(host)) = (&self.0, url.host()) else { return Ok(()) };
        if limits.named.contains(&key(&host)) {
            return Ok(());
        }
        match host {
            Host::Domain(name) if is_local_name(name) && !limits.private => {
                Err(Forbidden { what: format!("`{name}` is a name of a private network"), advice: ALLOW_PRIVATE })
            }
            Host::Domain(_) => Ok(()),
            Host::Ipv4(address) => permit(address.into(), limits.private),
            Host::Ipv6(address) => permit(address.into(), limits.private),
        }
    }

    /// Checks what names resolve to; `None` where everything is allowed.
    pub(crate) fn guard(&self) -> Option<Guard> {
        self.0.as_ref().map(|limits| Guard { private: limits.private })
    }
}

/// A host in one spelling. The URL parser has made numbers of `0x7f.1` and the like.
fn key<S: fmt::Display + AsRef<str>>(host: &Host<S>) -> String {
    match host {
        Host::Domain(name) => name.as_ref().trim_end_matches('.').to_ascii_lowercase(),
        other => other.to_string(),
    }
}

/// Whether a name is one of a private network by its form: of one label, as in Docker's networks, or under a domain
/// that is kept for such use (RFC 6761, RFC 6762, RFC 8375, and `.internal` of ICANN's).
fn is_local_name(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    let last = name.rsplit('.').next().unwrap_or_default();
    let kept = ["localhost", "local", "internal", "lan", "home", "corp", "localdomain", "test", "invalid"];
    !name.contains('.') || kept.contains(&last) || name.ends_with(".home.arpa")
}

fn permit(address: IpAddr, private: bool) -> Result<(), Forbidden> {
    match place(address) {
        Place::Public => Ok(()),
        Place::Private if private => Ok(()),
        Place::Private => Err(Forbidden { what: format!("{address} is a private address"), advice: ALLOW_PRIVATE }),
        Place::Never => Err(Forbidden { what: format!("{address} is no address of a site"), advice: NAME_IT }),
    }
}

fn place(address: IpAddr) -> Place {
    match address {
        IpAddr::V4(address) => place_v4(address),
        IpAddr::V6(address) => match embedded_v4(address) {
            Some(inner) => place_v4(inner),
            None => place_v6(address),
        },
    }
}

/// After the registries of special addresses (RFC 6890 and IANA's tables of it).
fn place_v4(address: Ipv4Addr) -> Place {
    match address.octets() {
        [10 | 127, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => Place::Private,
        // This network, link-local, protocol assignments, documentation, 6to4 relays, benchmarks, multicast, reserved.
        [0 | 224..=255, ..]
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _]
        | [192, 88, 99, _] => Place::Never,
        _ => Place::Public,
    }
}

fn place_v6(address: Ipv6Addr) -> Place {
    let [first, second, ..] = address.segments();
    match first {
        _ if address.is_loopback() => Place::Private,
        // Amazon's second address for keys is in a private range.
        0xfd00 if second == 0x0ec2 => Place::Never,
        0xfc00..=0xfdff => Place::Private,
        // Global unicast (RFC 4291), but for documentation and what is of no use to anybody else.
        0x2000..=0x3fff if !(first == 0x2001 && (second < 0x200 || second == 0xdb8)) => Place::Public,
        _ => Place::Never,
    }
}

/// The address of version 4 that one of version 6 stands for: mapped, compatible, translated (RFC 6052), 6to4.
fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0, 0, 0, 0, 0, 0, high @ 1..=0xffff, low]
        | [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

/// Resolves names, and hands on only addresses that may be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Guard {
    private: bool,
}

impl Guard {
    /// Those of a name's addresses that may be connected to; an error when there are some and none may.
    fn pick(self, name: &str, addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Forbidden> {
        // A name of private form was checked with its URL, so it is one that the file names.
        let private = self.private || is_local_name(name);
        let mut refused = None;
        let mut picked = addresses;
        picked.retain(|address| match permit(address.ip(), private) {
            Ok(()) => true,
            Err(forbidden) => {
                refused = Some(Forbidden { what: format!("`{name}` leads to {}", address.ip()), ..forbidden });
                false
            }
        });
        refused.filter(|_| picked.is_empty()).map_or(Ok(picked), Err)
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = *self;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let picked: Addrs = Box::new(guard.pick(name.as_str(), found)?.into_iter());
            Ok(picked)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    /// Every way to write an address that a public page may not lead to.
    #[test]
    fn hostile_spellings() {
        let reach = Reach::of([url("https://example.com/")], false);
        for hostile in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f000001/",
            "http://0x7f.1/",
            "http://0177.0.0.1/",
            "http://127.0.0.1./",
            "http://127。0。0。1/",
            "http://１２７.0.0.1/",
            "http://0/",
            "http://0.0.0.0:8080/",
            "http://10.0.0.1/",
            "http://172.16.0.1/",
            "http://172.31.255.255/",
            "http://192.168.1.1/",
            "http://100.64.0.1/",
            "http://169.254.169.254/latest/meta-data/",
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://[::1]/",
            "http://[::]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:7f00:1]/",
            "http://[0:0:0:0:0:ffff:a9fe:a9fe]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:7f00:1::]/",
            "http://[fe80::1]/",
            "http://[fc00::1]/",
            "http://[fd00:ec2::254]/",
            "http://[ff02::1]/",
            "http://[2001::1]/",
            "http://[2001:db8::1]/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://240.0.0.1/",
            "http://198.18.0.1/",
            "http://192.0.2.1/",
            "http://203.0.113.9/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost/",
            "http://redis/",
            "http://printer.local/",
            "http://metadata.google.internal/",
            "http://nas.home.arpa/",
            "http://me@127.0.0.1:80/",
            "http://ⓛocalhost/",
        ] {
            assert!(reach.check(&url(hostile)).is_err(), "{hostile}");
        }
        for fine in [
            "http://example.com/",
            "http://EXAMPLE.COM./",
            "https://8.8.8.8/",
            "http://[2606:4700::1]/",
            "http://1.1.1.1.example.org/",
        ] {
            assert_eq!(reach.check(&url(fine)), Ok(()), "{fine}");
        }
    }

    #[test]
    fn what_a_file_names_is_allowed_and_nothing_beside_it() {
        let reach = Reach::of([url("http://127.1:8099/"), url("http://simulator/")], false);
        for fine in ["http://127.0.0.1:9/", "http://simulator:80/x", "http://SIMULATOR./"] {
            assert_eq!(reach.check(&url(fine)), Ok(()), "{fine}");
        }
        for beside in ["http://127.0.0.2/", "http://localhost/", "http://other/", "http://169.254.169.254/"] {
            assert!(reach.check(&url(beside)).is_err(), "{beside}");
        }
        let private = Reach::of([url("http://10.1.1.1/")], true);
        assert_eq!(private.check(&url("http://192.168.0.1/")), Ok(()));
        assert_eq!(private.check(&url("http://intranet/")), Ok(()));
        let keys = private.check(&url("http://169.254.169.254/")).unwrap_err();
        insta::assert_snapshot!(keys, @"forbidden_address: 169.254.169.254 is no address of a site; if that is meant, write the address itself as the source's");
        assert_eq!(Reach::anywhere().check(&url("http://169.254.169.254/")), Ok(()));
        assert_eq!(Reach::of([url("http://169.254.169.254/")], false).check(&url("http://169.254.169.254/")), Ok(()));
    }

    #[test]
    fn an_answer_of_a_name_server_leads_to_no_private_place() {
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let guard = Guard { private: false };
        assert_eq!(guard.pick("example.com", vec![at("10.0.0.1"), at("8.8.8.8")]), Ok(vec![at("8.8.8.8")]));
        let refused = guard.pick("example.com", vec![at("127.0.0.1"), at("::1")]).unwrap_err();
        insta::assert_snapshot!(refused, @"forbidden_address: `example.com` leads to ::1; if that is meant, write `allow_private: true` in the source's file");
        assert_eq!(guard.pick("simulator", vec![at("172.18.0.2")]), Ok(vec![at("172.18.0.2")]));
        assert!(guard.pick("simulator", vec![at("169.254.169.254")]).is_err());
        let private = Guard { private: true };
        assert_eq!(private.pick("db.example.com", vec![at("10.0.0.1")]), Ok(vec![at("10.0.0.1")]));
        assert!(private.pick("db.example.com", vec![at("169.254.169.254")]).is_err());
        assert_eq!(guard.pick("example.com", vec![]), Ok(vec![]));
    }
}
