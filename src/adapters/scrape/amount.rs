//! Numbers with what stands around them: a sign, a percent mark, a currency, a scale.

use super::currency;
use super::number::{self, Decimal, Style};

/// Words for powers of ten. Long ones may be written with any capitals; of one letter, each stands here that is used.
const SCALES: &[(&str, i32)] = &[
    ("K", 3),
    ("k", 3),
    ("thousand", 3),
    ("L", 5),
    ("lac", 5),
    ("lacs", 5),
    ("lakh", 5),
    ("lakhs", 5),
    ("M", 6),
    ("m", 6),
    ("mn", 6),
    ("mln", 6),
    ("million", 6),
    ("Cr", 7),
    ("crore", 7),
    ("crores", 7),
    ("bn", 9),
    ("bln", 9),
    ("lakh crore", 12),
    ("L Cr", 12),
    ("tn", 12),
];
/// Words that mean a thousand times more, or less, on the continent: `T` is a thousand (Tausend) in German, a billion a
/// million millions.
const ENGLISH: &[(&str, i32)] = &[("B", 9), ("b", 9), ("billion", 9), ("T", 12), ("trillion", 12)];
/// Words of the continent: beside them a dot and a comma may mean either.
const CONTINENTAL: &[(&str, i32)] =
    &[("Tsd", 3), ("Mio", 6), ("Mrd", 9), ("Mld", 9), ("mld", 9), ("Md", 9), ("Mds", 9), ("Bio", 12)];

/// How a field's numbers are written, and what stands around them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Amounts {
    pub(super) style: Style,
    pub(super) unit: Unit,
    pub(super) scales: Scales,
    /// Whether the style is that of a place where English words are used for scales, and Indian ones for money.
    pub(super) place: Place,
}

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    None,
    /// A hundredth; the value is as written.
    Percent,
    /// Money of the declared currency, or of the one that is written.
    Money(Option<&'static str>),
}

/// Which scales are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scales {
    None,
    /// Those that mean the same in the style's place.
    All,
    /// Those of the source's file.
    These(Vec<String>),
}

/// Where a style is used, as far as words depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The source's file says nothing.
    Unknown,
    English,
    India,
    /// Anywhere else.
    Other,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Amount {
    pub(super) value: Decimal,
    /// Of money.
    pub(super) currency: Option<&'static str>,
}

/// What has been taken off around the digits.
#[derive(Default)]
struct Around<'a> {
    negative: Option<bool>,
    has_percent: bool,
    currency: Option<&'a str>,
    currency_is_last: bool,
    scale: Option<(i32, &'a str)>,
}

impl Scales {
    /// Reads what the source's file lists.
    pub(super) fn new(words: &[String]) -> Result<Self, String> {
        match words {
            [] => Ok(Self::None),
            [word] if word == "true" => Ok(Self::All),
            [word] if word == "false" => Ok(Self::None),
            words => match words.iter().find(|word| known_scale(word).is_none()) {
                None => Ok(Self::These(words.to_vec())),
                Some(word) => Err(format!(
                    "`{}` is no scale; write some of {}",
                    word.escape_debug(),
                    words_of(&[SCALES, ENGLISH, CONTINENTAL])
                )),
            },
        }
    }
}

impl Amounts {
    /// Reads a whole text, or says why it is none: the end of a sentence that begins with the text.
    pub(super) fn read(&self, text: &str) -> Result<Amount, String> {
        if self.unit == Unit::None && self.scales == Scales::None {
            return Ok(Amount { value: number::read(text, &self.style)?, currency: None });
        }
        let text = number::trimmed(text)?;
        let mut around = Around::default();
        let digits = self.peel(text, &mut around)?;
        let value = number::read_digits(digits, &self.style)?;
        self.check_marks(digits, &around)?;
        let currency = self.unit_of(&around)?;
        let places = around.scale.map_or(0, |(places, _)| places);
        Ok(Amount { value: value.shift(places).with_sign(around.negative == Some(true)), currency })
    }

    /// Takes a number of JSON, whose digits say all there is to say.
    pub(super) fn of_json(&self, token: &str) -> Result<Amount, String> {
        let currency = match self.unit {
            Unit::None => None,
            Unit::Percent => return Err("has no percent mark, being a number of JSON; declare `type: number`".into()),
            Unit::Money(declared) => Some(declared.ok_or("names no currency; declare `currency`")?),
        };
        Ok(Amount { value: Decimal::of_json(token)?, currency })
    }

    /// Takes everything off that is known, from outside in, and leaves the digits.
    fn peel<'a>(&self, text: &'a str, around: &mut Around<'a>) -> Result<&'a str, String> {
        let mut rest = text;
        loop {
            let before = rest.len();
            if around.negative.is_none()
                && let Some((negative, inner)) = number::peel_sign(rest)
            {
                around.negative = Some(negative);
                rest = inner;
            }
            let word = head(rest);
            if !word.is_empty() {
                let taken = self.take_head(word, around)?;
                rest = rest[taken..].trim_start();
            }
            let word = tail(rest);
            if !word.is_empty() {
                let taken = self.take_tail(word, around)?;
                rest = rest[..rest.len() - taken].trim_end();
            }
            if rest.len() == before {
                return Ok(rest);
            }
        }
    }

    /// What stands before the digits: a currency, or a percent mark, as in Turkish. Says how long that is.
    fn take_head<'a>(&self, word: &'a str, around: &mut Around<'a>) -> Result<usize, String> {
        // The decimal mark of `$.50` is not the sign's.
        let word = match word.strip_suffix(self.style.decimal) {
            Some(sign) if currency::meanings(word).is_empty() => sign,
            _ => word,
        };
        if word.is_empty() || self.take_percent(word, around) {
            return Ok(word.len());
        }
        if !self.takes_currency(word, around) {
            return Err(self.refuse_word(word));
        }
        around.currency = Some(word);
        Ok(word.len())
    }

    /// What stands after them: a percent mark, a currency, a scale, or a scale with a currency's sign glued to it.
    fn take_tail<'a>(&self, word: &'a str, around: &mut Around<'a>) -> Result<usize, String> {
        if self.take_percent(word, around) || self.take_scale(word, around)? {
            return Ok(word.len());
        }
        let sign =
            word.char_indices().next_back().filter(|(_, c)| !c.is_alphanumeric()).map_or(word, |(at, _)| &word[at..]);
        let money = if currency::meanings(word).is_empty() { sign } else { word };
        if !self.takes_currency(money, around) {
            return Err(self.refuse_word(word));
        }
        around.currency = Some(money);
        around.currency_is_last = around.scale.is_none();
        Ok(money.len())
    }

    fn takes_currency(&self, word: &str, around: &Around<'_>) -> bool {
        matches!(self.unit, Unit::Money(_)) && around.currency.is_none() && !currency::meanings(word).is_empty()
    }

    fn take_percent(&self, word: &str, around: &mut Around<'_>) -> bool {
        let is_percent = matches!(word, "%" | "\u{66a}" | "\u{fe6a}" | "\u{ff05}");
        let takes = is_percent && self.unit == Unit::Percent && !around.has_percent;
        around.has_percent |= takes;
        takes
    }

    fn take_scale<'a>(&self, word: &'a str, around: &mut Around<'a>) -> Result<bool, String> {
        let Some(places) = known_scale(word) else { return Ok(false) };
        let word = word.trim_end_matches('.');
        match (&self.scales, around.scale) {
            (Scales::None, _) => Ok(false),
            // `lakh crore`: the crore was taken first.
            (_, Some((7, _))) if places == 5 => {
                around.scale = Some((12, word));
                Ok(true)
            }
            (_, Some(_)) => Ok(false),
            (Scales::These(words), None) => {
                if !words.iter().any(|listed| is_word(listed, word)) {
                    return Err(format!("has the scale `{word}`, which `scale` does not list"));
                }
                around.scale = Some((places, word));
                Ok(true)
            }
            (Scales::All, None) => {
                let is_english = ENGLISH.iter().any(|(english, _)| is_word(english, word));
                let is_doubtful = self.place == Place::Other || self.place == Place::Unknown && around.currency_is_last;
                if is_english && (is_doubtful || self.style.decimal == ',') {
                    return Err(format!(
                        "has the scale `{word}`, which means another number in other languages; if it is \
                                        {places} zeros, declare `scale: [{word}]`"
                    ));
                }
                around.scale = Some((places, word));
                Ok(true)
            }
        }
    }

    /// Without a declared style, the marks of English are taken for granted only where nothing speaks against it.
    fn check_marks(&self, digits: &str, around: &Around<'_>) -> Result<(), String> {
        if self.style.declared {
            return Ok(());
        }
        let is_continental =
            around.scale.is_some_and(|(_, word)| CONTINENTAL.iter().any(|(known, _)| is_word(known, word)));
        let three_at_end = digits
            .split_once('.')
            .is_some_and(|(whole, rest)| rest.len() == 3 && (1..=3).contains(&whole.len()) && !whole.starts_with('0'));
        let is_doubtful =
            is_continental && digits.contains(['.', ',']) || three_at_end && matches!(self.unit, Unit::Money(_));
        if is_doubtful {
            return Err("may have its decimals after a dot or after a comma; declare `locale` or `format`".into());
        }
        Ok(())
    }

    fn unit_of(&self, around: &Around<'_>) -> Result<Option<&'static str>, String> {
        match (self.unit, around.currency) {
            (Unit::None, _) => Ok(None),
            (Unit::Percent, _) if around.has_percent => Ok(None),
            (Unit::Percent, _) => Err("has no percent mark; where pages leave it out, declare `type: number`".into()),
            (Unit::Money(Some(declared)), None) => Ok(Some(declared)),
            (Unit::Money(None), None) => Err("names no currency; declare `currency`, such as `currency: USD`".into()),
            (Unit::Money(declared), Some(word)) => {
                let meanings = currency::meanings(word);
                match declared {
                    Some(declared) if meanings.contains(&declared) => Ok(Some(declared)),
                    Some(declared) => Err(format!("is in `{word}`, and `currency` says {declared}")),
                    None if meanings.len() == 1 && word != "R" => Ok(Some(meanings[0])),
                    None if self.place == Place::India && meanings[0] == "INR" => Ok(Some("INR")),
                    None => Err(format!(
                        "has `{word}`, which may be {}; declare `currency`",
                        meanings[..meanings.len().min(3)].join(", ")
                    )),
                }
            }
        }
    }

    fn refuse_word(&self, word: &str) -> String {
        let shown = word.escape_debug();
        match word {
            "‰" | "‱" => format!("has a `{shown}`, which is not read as percent; pick the digits with `regex`"),
            "%" => "has a `%`; declare `type: percent`".into(),
            _ if matches!(word.to_lowercase().trim_end_matches('.'), "bp" | "bps" | "pp" | "pct" | "percent") => {
                format!("has `{shown}`; only a percent mark is read; pick the digits with `regex`")
            }
            _ if known_scale(word).is_some() => format!("has the scale `{shown}`; declare `scale: true`"),
            _ if matches!(word, "p" | "c" | "¢" | "GBX" | "GBp" | "ZAc" | "ILA") => {
                format!(
                    "has `{shown}`, which is a hundredth of a currency; declare `type: number`, and pick the digits with `regex`"
                )
            }
            _ if self.unit != Unit::None || currency::meanings(word).is_empty() => {
                format!("has `{shown}`, which is no currency, scale or mark known here; pick the digits with `regex`")
            }
            _ => format!("has `{shown}`; declare `type: money`"),
        }
    }
}

/// The word before the first digit, space or sign.
fn head(text: &str) -> &str {
    let end = text.find(is_no_word).unwrap_or(text.len());
    // Decimals may begin with their mark.
    if text[..end].chars().all(|c| matches!(c, '.' | ',')) { "" } else { &text[..end] }
}

/// The word after the last one.
fn tail(text: &str) -> &str {
    let start = text.char_indices().rev().take_while(|(_, c)| !is_no_word(*c)).last().map_or(text.len(), |(at, _)| at);
    // A mark at the end is part of the number, and what is wrong with it.
    if text[start..].chars().all(|c| matches!(c, '.' | ',')) { "" } else { &text[start..] }
}

fn is_no_word(c: char) -> bool {
    c.is_numeric() || c.is_whitespace() || matches!(c, '(' | ')') || number::is_minus(c) || number::is_plus(c)
}

fn known_scale(word: &str) -> Option<i32> {
    let word = word.trim_end_matches('.');
    let known = [SCALES, ENGLISH, CONTINENTAL].concat().into_iter().find(|(known, _)| is_word(known, word));
    known.map(|(_, places)| places)
}

/// Whether a word is this scale: capitals matter where there is but one letter.
fn is_word(known: &str, word: &str) -> bool {
    known == word || known.len() > 1 && known.eq_ignore_ascii_case(word)
}

fn words_of(lists: &[&[(&str, i32)]]) -> String {
    lists.iter().flat_map(|list| list.iter()).map(|(word, _)| *word).collect::<Vec<_>>().join(", ")
}
