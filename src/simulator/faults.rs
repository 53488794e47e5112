//! Faults as data: what goes wrong, and when. Seeded, so that a run can be repeated.
//!
//! ```text
//! 5%:500, 3%:503=2s, #17:404, #100-200:layout, every 10:torn, 1%:bomb=zstd
//! ```

pub mod streams;

use std::str::FromStr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::server::{Delivery, Reply};

/// What goes wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// An error status, with `Retry-After` in seconds where one is given.
    Status(u16, Option<u64>),
    /// 503 with `Retry-After` as an HTTP date two seconds from now.
    RetryAfterDate,
    /// A block page of the kind that bot protection shows, status 403.
    Block,
    /// Headers come after this time.
    Slow(Duration),
    /// The body comes a byte at a time, one each tenth of a second.
    Drip,
    /// Nothing comes, and the connection stays open.
    Hang,
    /// The connection ends in mid-body, with a length that promised more.
    Torn,
    /// The same in chunked coding.
    TornChunked,
    /// The connection is reset.
    Reset,
    /// The header names an encoding that the body is not in.
    Charset,
    /// The element has another class.
    Layout,
    /// The value is where another was.
    Moved,
    /// The value is no number.
    Garbled,
    /// A redirect to itself.
    RedirectLoop,
    /// A body that decompresses to 256 MiB.
    Bomb(Coding),
    /// A body that never ends.
    Endless,
    /// One line of 10 MB.
    Line,
    /// 200,000 nested elements.
    Nested,
    /// A value full of line feeds, terminal escapes and NULs.
    Hostile,
    /// Nothing in the body.
    Empty,
    /// A header of 1 MB.
    HugeHeader,
}

impl Fault {
    /// What is answered in its place, where that has nothing to do with what is asked for: `error` makes it of a status.
    pub(super) fn instead(self, error: impl Fn(u16) -> Reply) -> Option<Reply> {
        Some(match self {
            Self::Status(status, Some(seconds)) => error(status).with("Retry-After", seconds.to_string()),
            Self::Status(status, None) => error(status),
            Self::Block => error(403),
            Self::Hang => error(200).delivered(Delivery::Never),
            Self::Reset => error(200).delivered(Delivery::Reset),
            _ => return None,
        })
    }

    /// The answer as it comes, with what goes wrong on its way.
    pub(super) fn deliver(fault: Option<Self>, reply: Reply) -> Reply {
        match fault {
            Some(Self::Slow(wait)) => reply.delivered(Delivery::After(wait)),
            Some(Self::Drip) => reply.delivered(Delivery::Drip),
            Some(Self::Torn) => reply.delivered(Delivery::Torn),
            Some(Self::TornChunked) => reply.delivered(Delivery::TornChunked),
            _ => reply,
        }
    }
}

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// gzip.
    Gzip,
    /// deflate, in its zlib wrapping.
    Deflate,
    /// Brotli.
    Brotli,
    /// Zstandard.
    Zstd,
}

impl Coding {
    /// Every coding, the ones that a server prefers first.
    pub const ALL: [Self; 4] = [Self::Zstd, Self::Brotli, Self::Gzip, Self::Deflate];

    /// Its name in `Content-Encoding`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// When a fault happens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    /// With this chance, from 0 to 1.
    Chance(f64),
    /// At requests of these numbers, counted from 1.
    Numbers(u64, u64),
    /// At every n-th request.
    Every(u64),
}

/// What goes wrong, and when; the first that applies to a request does. What can go wrong is each simulator's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Faults<F = Fault>(Vec<(When, F)>);

impl<F> Default for Faults<F> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl Faults {
    /// No faults.
    pub fn none() -> Self {
        Self::default()
    }
}

impl<F: Copy> Faults<F> {
    /// One fault, at every request.
    pub fn always(fault: F) -> Self {
        Self(vec![(When::Every(1), fault)])
    }

    /// Those of these that `is_meant` accepts.
    #[must_use]
    pub fn only(&self, is_meant: impl Fn(&F) -> bool) -> Self {
        Self(self.0.iter().filter(|(_, fault)| is_meant(fault)).copied().collect())
    }

    /// What goes wrong with the request of this number. The same seed and number always give the same.
    pub fn at(&self, seed: u64, number: u64) -> Option<F> {
        let mut random = StdRng::seed_from_u64(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut applies = |when: &When| match *when {
            When::Chance(chance) => random.random_bool(chance),
            When::Numbers(from, to) => (from..=to).contains(&number),
            When::Every(every) => number.is_multiple_of(every),
        };
        self.0.iter().find(|(when, _)| applies(when)).map(|(_, fault)| *fault)
    }
}

/// The faults that a text may name, for messages.
const NAMES: &str = "404, 429, 500 or another status (503=2s with Retry-After), 503=date, block, slow=3s, drip, hang, torn, \
    torn-chunked, reset, charset, layout, moved, garbled, redirect-loop, bomb=gzip|deflate|br|zstd, endless, line, nested, \
    hostile, empty, huge-header";

impl<F: FromStr<Err = String>> FromStr for Faults<F> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(|part| parse_one(part).map_err(|why| format!("`{part}`: {why}"))).collect::<Result<_, _>>().map(Self)
    }
}

fn parse_one<F: FromStr<Err = String>>(part: &str) -> Result<(When, F), String> {
    let (when, fault) = part.split_once(':').ok_or("write when and what, such as 5%:500, #17:404 or every 10:torn")?;
    Ok((parse_when(when.trim())?, fault.trim().parse()?))
}

fn parse_when(text: &str) -> Result<When, String> {
    let number = |text: &str| {
        text.parse::<u64>().ok().filter(|number| *number > 0).ok_or(format!("`{text}` is not a number from 1"))
    };
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.parse().map_err(|_| format!("`{percent}` is not a number"))?;
        return if (0.0..=100.0).contains(&percent) {
            Ok(When::Chance(percent / 100.0))
        } else {
            Err("a chance is from 0% to 100%".into())
        };
    }
    if let Some(numbers) = text.strip_prefix('#') {
        let (from, to) = numbers.split_once('-').unwrap_or((numbers, numbers));
        return Ok(When::Numbers(number(from)?, number(to)?));
    }
    if let Some(every) = text.strip_prefix("every ") {
        return number(every.trim()).map(When::Every);
    }
    Err(format!("`{text}` is no time; write 5%, #17, #100-200 or every 10"))
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        Ok(match (name, value) {
            ("503", Some("date")) => Fault::RetryAfterDate,
            ("slow", Some(time)) => Fault::Slow(parse_seconds(time)?),
            ("bomb", Some(coding)) => {
                let coding = Coding::ALL.into_iter().find(|known| known.name() == coding);
                Fault::Bomb(coding.ok_or("the codings are gzip, deflate, br and zstd")?)
            }
            ("block", None) => Fault::Block,
            ("drip", None) => Fault::Drip,
            ("hang", None) => Fault::Hang,
            ("torn", None) => Fault::Torn,
            ("torn-chunked", None) => Fault::TornChunked,
            ("reset", None) => Fault::Reset,
            ("charset", None) => Fault::Charset,
            ("layout", None) => Fault::Layout,
            ("moved", None) => Fault::Moved,
            ("garbled", None) => Fault::Garbled,
            ("redirect-loop", None) => Fault::RedirectLoop,
            ("endless", None) => Fault::Endless,
            ("line", None) => Fault::Line,
            ("nested", None) => Fault::Nested,
            ("hostile", None) => Fault::Hostile,
            ("empty", None) => Fault::Empty,
            ("huge-header", None) => Fault::HugeHeader,
            (status, retry) => {
                let status = status.parse().ok().filter(|status| (400..600).contains(status));
                let status = status.ok_or_else(|| format!("`{text}` is no fault; there are: {NAMES}"))?;
                Fault::Status(status, retry.map(parse_seconds).transpose()?.map(|time| time.as_secs()))
            }
        })
    }
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 =
        text.trim_end_matches('s').parse().map_err(|_| format!("`{text}` is no time; write seconds, such as 3s"))?;
    Duration::try_from_secs_f64(seconds).map_err(|_| format!("`{text}` is no time; write seconds, such as 3s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses() {
        let faults: Faults =
            "100%:500, #17:404, #3-5:layout, every 10:torn, 2%:503=2s, 1%:bomb=br, 1%:slow=0.5s".parse().unwrap();
        assert_eq!(faults.0.len(), 7);
        assert_eq!(faults.0[4].1, Fault::Status(503, Some(2)));
        assert_eq!(faults.0[6].1, Fault::Slow(Duration::from_millis(500)));
        assert_eq!("".parse::<Faults>().unwrap(), Faults::none());
        for wrong in ["500", "5%:", "5%:teapot", "x:500", "#0:500", "101%:500", "1%:bomb=rar", "1%:slow=x", "1%:200"] {
            assert!(wrong.parse::<Faults>().is_err(), "{wrong}");
        }
        insta::assert_snapshot!("5%:500, 1%:teapot".parse::<Faults>().unwrap_err(), @"`1%:teapot`: `teapot` is no fault; there are: 404, 429, 500 or another status (503=2s with Retry-After), 503=date, block, slow=3s, drip, hang, torn, torn-chunked, reset, charset, layout, moved, garbled, redirect-loop, bomb=gzip|deflate|br|zstd, endless, line, nested, hostile, empty, huge-header");
    }

    #[test]
    fn are_the_same_for_the_same_seed_and_as_frequent_as_they_say() {
        let faults: Faults = "10%:500, 20%:404, every 7:torn".parse().unwrap();
        let run = |seed| (1..=10_000).map(|number| faults.at(seed, number)).collect::<Vec<_>>();
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let count = |fault| run(1).iter().filter(|found| **found == Some(fault)).count();
        assert!((900..1_100).contains(&count(Fault::Status(500, None))), "{}", count(Fault::Status(500, None)));
        // A fifth of the nine tenths that are left.
        assert!((1_650..1_950).contains(&count(Fault::Status(404, None))), "{}", count(Fault::Status(404, None)));
        assert!(faults.at(1, 7).is_some());
    }
}
