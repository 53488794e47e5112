//! What is taken of the element that a field is: a text, an attribute, HTML.

use super::settings::{Field, HtmlPart, TextPart};

/// What is taken of an element.
pub(super) enum Take {
    Text,
    OwnText,
    /// The first of these that is there.
    Attributes(Vec<String>),
    InnerHtml,
    OuterHtml,
}

impl Take {
    /// What the file says of a field.
    ///
    /// # Errors
    /// In words, when it says two things at once.
    pub(super) fn of(field: &Field) -> Result<Self, String> {
        let attributes: Option<Vec<String>> =
            field.attr.as_ref().map(|names| names.0.iter().map(|name| name.to_ascii_lowercase()).collect());
        match (attributes, field.html, field.text) {
            (Some(names), None, None) if names.is_empty() => Err("the list of attributes is empty".into()),
            (Some(names), None, None) => Ok(Self::Attributes(names)),
            (None, Some(HtmlPart::Inner), None) => Ok(Self::InnerHtml),
            (None, Some(HtmlPart::Outer), None) => Ok(Self::OuterHtml),
            (None, None, Some(TextPart::Own)) => Ok(Self::OwnText),
            (None, None, Some(TextPart::Shown) | None) => Ok(Self::Text),
            (Some(_), Some(_), _) => Err("a field is either an `attr` or `html`".into()),
            _ => Err("a field is either `text`, an `attr` or `html`".into()),
        }
    }

    /// How many ways there are to take something of an element.
    pub(super) fn ways(&self) -> usize {
        if let Self::Attributes(names) = self { names.len() } else { 1 }
    }

    /// What a rule says of each way of taking, in their order.
    pub(super) fn suffixes(&self) -> Vec<String> {
        match self {
            Self::Text => vec![String::new()],
            Self::OwnText => vec![" (own text)".into()],
            Self::Attributes(names) => names.iter().map(|name| format!(" @{name}")).collect(),
            Self::InnerHtml => vec![" (inner HTML)".into()],
            Self::OuterHtml => vec![" (outer HTML)".into()],
        }
    }
}
