//! The address of a store: `scheme://user:password@hosts/path?options`.
//!
//! It is taken apart here rather than by a URL parser, because several stores are named by several hosts
//! (`mongodb://one,two/live`), and because nothing of it may be shown that is secret.

use std::collections::BTreeMap;
use std::fmt;

use data_encoding::BASE32HEX_NOPAD;
use url::Url;

use crate::config::nearest;

/// What stands in the place of a stream's name.
const STREAM: &str = "{stream}";

/// The address of a store.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    scheme: String,
    /// As it stands in the address, percent-encoded.
    user: Option<String>,
    password: Option<String>,
    hosts: String,
    /// With its first slash.
    path: String,
    /// Options of ours that have not been taken yet.
    options: BTreeMap<String, String>,
    /// What belongs to the store's own driver, as it stands there.
    rest: Vec<(String, String)>,
}

/// Nothing secret is shown.
impl fmt::Debug for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Target({self})")
    }
}

/// The address without user, password, and the values of what is not ours.
impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}{}", self.scheme, self.hosts, self.path)?;
        let ours = self.options.iter().map(|(name, value)| (name, value.as_str()));
        let all = ours.chain(self.rest.iter().map(|(name, _)| (name, "***")));
        for (index, (name, value)) in all.enumerate() {
            write!(out, "{}{name}={value}", if index == 0 { '?' } else { '&' })?;
        }
        Ok(())
    }
}

impl Target {
    /// Takes an address apart.
    ///
    /// # Errors
    /// What is wrong with it, in words that show nothing secret.
    pub fn parse(text: &str, options: &[(&str, &str)]) -> Result<Self, String> {
        let (scheme, rest) = text
            .split_once(':')
            .filter(|(scheme, _)| is_scheme(scheme))
            .ok_or("this is no address of a store; it begins with a scheme, such as `redis://localhost`")?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        let (login, hosts) =
            authority.rsplit_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
        let (user, password) = match login.map(|login| login.split_once(':').unwrap_or((login, ""))) {
            Some((user, password)) => {
                (Some(user.to_owned()), Some(password.to_owned()).filter(|word| !word.is_empty()))
            }
            None => (None, None),
        };
        let (mut ours, mut theirs) = (BTreeMap::new(), Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value)?;
            if options.iter().any(|(known, _)| *known == name) {
                if ours.insert(name.to_owned(), value).is_some() {
                    return Err(format!("`{name}` stands twice in the address"));
                }
            } else {
                theirs.push((name.to_owned(), value));
            }
        }
        Ok(Self {
            scheme: scheme.to_ascii_lowercase(),
            user,
            password,
            hosts: hosts.to_owned(),
            path: path.to_owned(),
            options: ours,
            rest: theirs,
        })
    }

    /// The scheme, in small letters.
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// Hosts and ports, as they stand there.
    pub fn hosts(&self) -> &str {
        &self.hosts
    }

    /// The path with its first slash; empty when there is none.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The user, decoded.
    pub fn user(&self) -> Option<String> {
        self.user.as_deref().and_then(|user| decode(user).ok())
    }

    /// The password, decoded.
    pub fn password(&self) -> Option<String> {
        self.password.as_deref().and_then(|password| decode(password).ok())
    }

    /// Takes the path out of the address, without its first slash and decoded: for stores whose path is a name of ours.
    pub fn take_path(&mut self) -> String {
        let path = std::mem::take(&mut self.path);
        decode(path.trim_start_matches('/')).unwrap_or_default()
    }

    /// Takes an option of ours.
    pub fn take(&mut self, option: &str) -> Option<String> {
        self.options.remove(option)
    }

    /// Takes one of the options that are named by the store's own driver.
    pub fn take_other(&mut self, name: &str) -> Option<String> {
        let at = self.rest.iter().position(|(other, _)| other == name)?;
        Some(self.rest.remove(at).1)
    }

    /// Refuses what nobody has taken: for stores whose driver takes no options of its own.
    ///
    /// # Errors
    /// What stands in the query that means nothing, and what may.
    pub fn finish(&self, options: &[(&str, &str)]) -> anyhow::Result<()> {
        let Some((name, _)) = self.rest.first() else { return Ok(()) };
        let near = nearest(name, options.iter().map(|(option, _)| *option));
        let all = || options.iter().map(|(option, _)| *option).collect::<Vec<_>>().join(", ");
        match near {
            Some(near) => anyhow::bail!("`{name}` in the address means nothing; did you mean `{near}`?"),
            None if options.is_empty() => anyhow::bail!("`{name}` in the address means nothing; leave it out"),
            None => anyhow::bail!("`{name}` in the address means nothing; there are: {}", all()),
        }
    }

    /// The address for the store's own driver, under a scheme that it knows, with user and password: not to be shown.
    pub fn for_driver(&self, scheme: &str) -> String {
        self.text(scheme, true)
    }

    /// The same without user and password, for a driver that takes them apart from it.
    pub fn for_driver_without_login(&self, scheme: &str) -> String {
        self.text(scheme, false)
    }

    fn text(&self, scheme: &str, with_login: bool) -> String {
        let mut text = format!("{scheme}://");
        if let Some(user) = self.user.as_ref().filter(|_| with_login) {
            text.push_str(user);
            if let Some(password) = &self.password {
                text.push(':');
                text.push_str(password);
            }
            text.push('@');
        }
        text.push_str(&self.hosts);
        text.push_str(&self.path);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(&self.rest);
        let query = query.finish();
        if !query.is_empty() {
            text.push('?');
            text.push_str(&query);
        }
        text
    }

    /// The address of the one host as a URL under a scheme, without user, password and query.
    ///
    /// # Errors
    /// When it is none.
    pub fn url(&self, scheme: &str) -> anyhow::Result<Url> {
        anyhow::ensure!(!self.hosts.is_empty(), "the address names no host; write `{}://HOST`", self.scheme);
        Url::parse(&format!("{scheme}://{}{}", self.hosts, self.path))
            .map_err(|error| anyhow::anyhow!("`{}` is no host and port: {error}", self.hosts))
    }

    /// What a loader to here is called unless its user names it: `mongodb-localhost-live`. Two addresses that differ in
    /// what is not in the name are told apart by a hash.
    pub fn default_name(&self) -> String {
        let mut name = String::new();
        for part in [self.scheme.as_str(), &self.hosts, &self.path] {
            let words = part.split(|other: char| !other.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
            for word in words {
                name.push_str(if name.is_empty() { "" } else { "-" });
                name.push_str(&word.to_ascii_lowercase());
            }
        }
        name.truncate(60);
        if !self.options.is_empty() {
            let options: Vec<String> = self.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let hash = BASE32HEX_NOPAD.encode(&blake3::hash(options.join("&").as_bytes()).as_bytes()[..5]);
            name.push('-');
            name.push_str(&hash.to_ascii_lowercase());
        }
        name
    }
}

/// A name with `{stream}` in it, for one stream. A slash in the stream's own name (`_rejected/bse`) becomes `joint`.
pub fn expand_stream(template: &str, stream: &str, joint: &str) -> String {
    template.replace(STREAM, &stream.replace('/', joint))
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|next| next.is_ascii_alphanumeric() || "+-.".contains(next))
}

fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (first, hex) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (b'%', None) => {
                return Err("a `%` in the address is followed by no two hexadecimal digits; write it as %25".into());
            }
            (byte, _) => {
                bytes.push(*byte);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| "the address has bytes that are no UTF-8".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTIONS: &[(&str, &str)] = &[("table", "the table"), ("key", "the key")];

    #[test]
    fn an_address_is_taken_apart_and_put_together() {
        let text = "mongodb://me:p%40ss@one:1,two:2/live?authSource=admin&table={stream}&w=majority";
        let mut target = Target::parse(text, OPTIONS).unwrap();
        assert_eq!((target.scheme(), target.hosts(), target.path()), ("mongodb", "one:1,two:2", "/live"));
        assert_eq!((target.user().as_deref(), target.password().as_deref()), (Some("me"), Some("p@ss")));
        assert_eq!(target.to_string(), "mongodb://one:1,two:2/live?table={stream}&authSource=***&w=***");
        assert_eq!(target.take("table").as_deref(), Some("{stream}"));
        assert_eq!(target.for_driver("mongodb"), "mongodb://me:p%40ss@one:1,two:2/live?authSource=admin&w=majority");
        assert_eq!(target.take_other("w").as_deref(), Some("majority"));
        assert!(!format!("{target:?}").contains("ss"));
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (text, expected) in [
            ("redis://h?tabel=x", "`tabel` in the address means nothing; did you mean `table`?"),
            ("redis://h?zzzzzzzz=x", "`zzzzzzzz` in the address means nothing; there are: table, key"),
        ] {
            assert_eq!(Target::parse(text, OPTIONS).unwrap().finish(OPTIONS).unwrap_err().to_string(), expected);
        }
        for (text, expected) in [
            ("localhost", "this is no address of a store; it begins with a scheme, such as `redis://localhost`"),
            ("redis://h?key=a&key=b", "`key` stands twice in the address"),
            ("redis://h?key=%g0", "a `%` in the address is followed by no two hexadecimal digits; write it as %25"),
        ] {
            assert_eq!(Target::parse(text, OPTIONS).unwrap_err(), expected);
        }
    }

    #[test]
    fn default_names() {
        let name = |text: &str| Target::parse(text, OPTIONS).unwrap().default_name();
        assert_eq!(name("mongodb://localhost/live"), "mongodb-localhost-live");
        assert_eq!(name("es+http://Search.example.com:9200"), "es-http-search-example-com-9200");
        assert_eq!(name("sqlite:data/out.db"), "sqlite-data-out-db");
        assert_ne!(name("redis://h?key=a"), name("redis://h?key=b"));
    }

    #[test]
    fn stream_names_in_names() {
        assert_eq!(expand_stream("tapline_{stream}", "_rejected/bse", "_"), "tapline__rejected_bse");
    }
}
