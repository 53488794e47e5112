//! How numbers are written in which place, after CLDR.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::amount::Place;
use super::number::{Grouping, Style};

/// Every kind of space that stands between groups.
pub(super) const SPACES: &str = " \u{a0}\u{202f}\u{2009}";
/// Both apostrophes.
pub(super) const APOSTROPHES: &str = "'\u{2019}";

/// How numbers are written, by the custom of a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Locale {
    /// `1,234,567.89`.
    En,
    /// India: `12,34,567.89`; also says that `Rs.` are rupees of India.
    #[serde(rename = "en-IN")]
    EnIn,
    /// Germany: `1.234.567,89`.
    De,
    /// France: `1 234 567,89`, with any kind of space.
    Fr,
    /// Switzerland: `1’234’567.89`, with either apostrophe.
    Ch,
    /// Italy: `1.234.567,89`.
    It,
    /// Spain: `1.234.567,89`, or with spaces.
    Es,
    /// Mexico: `1,234,567.89`.
    #[serde(rename = "es-MX")]
    EsMx,
    /// Portugal: `1 234 567,89`.
    Pt,
    /// Brazil: `1.234.567,89`.
    #[serde(rename = "pt-BR")]
    PtBr,
    /// Netherlands: `1.234.567,89`.
    Nl,
    /// Denmark: `1.234.567,89`.
    Da,
    /// Sweden: `1 234 567,89`.
    Sv,
    /// Norway: `1 234 567,89`.
    Nb,
    /// Finland: `1 234 567,89`.
    Fi,
    /// Poland: `1 234 567,89`.
    Pl,
    /// Czechia: `1 234 567,89`.
    Cs,
    /// Hungary: `1 234 567,89`.
    Hu,
    /// Romania: `1.234.567,89`.
    Ro,
    /// Greece: `1.234.567,89`.
    El,
    /// Türkiye: `1.234.567,89`.
    Tr,
    /// Russia: `1 234 567,89`.
    Ru,
    /// Ukraine: `1 234 567,89`.
    Uk,
    /// Indonesia: `1.234.567,89`.
    Id,
    /// Vietnam: `1.234.567,89`.
    Vi,
    /// Japan: `1,234,567.89`.
    Ja,
    /// Korea: `1,234,567.89`.
    Ko,
    /// China: `1,234,567.89`.
    Zh,
    /// Thailand: `1,234,567.89`.
    Th,
    /// Israel: `1,234,567.89`.
    He,
}

impl Locale {
    /// The marks of the place.
    pub(super) fn style(self) -> Style {
        let (decimal, groups, grouping) = match self {
            Self::EnIn => ('.', ",", Grouping::Indian),
            Self::En | Self::EsMx | Self::Ja | Self::Ko | Self::Zh | Self::Th | Self::He => {
                ('.', ",", Grouping::Thousands)
            }
            Self::Ch => ('.', APOSTROPHES, Grouping::Thousands),
            Self::De
            | Self::It
            | Self::PtBr
            | Self::Nl
            | Self::Da
            | Self::Ro
            | Self::El
            | Self::Tr
            | Self::Id
            | Self::Vi => (',', ".", Grouping::Thousands),
            // The academy wants spaces, and most pages write dots.
            Self::Es => (',', ". \u{a0}\u{202f}\u{2009}", Grouping::Thousands),
            Self::Fr
            | Self::Pt
            | Self::Sv
            | Self::Nb
            | Self::Fi
            | Self::Pl
            | Self::Cs
            | Self::Hu
            | Self::Ru
            | Self::Uk => (',', SPACES, Grouping::Thousands),
        };
        Style { decimal, groups: groups.into(), grouping, declared: true }
    }

    /// What words mean there.
    pub(super) fn place(self) -> Place {
        match self {
            Self::En => Place::English,
            Self::EnIn => Place::India,
            _ => Place::Other,
        }
    }
}
