//! Names of elements, and what the rules of HTML do with each.

use html5ever::LocalName;

/// How an element is treated (WHATWG HTML, 13.2.6.4.7), in groups of those that are treated alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Html,
    Head,
    Body,
    /// Closes a paragraph.
    Block,
    /// The same, and no list item ends at it.
    Div,
    Paragraph,
    Heading,
    Preformatted,
    Form,
    ListItem,
    /// `dd` and `dt`.
    Definition,
    Button,
    Anchor,
    /// `b`, `i` and the like, which are opened again where they were not closed.
    Format,
    Table,
    /// `tbody`, `thead`, `tfoot`.
    Section,
    Row,
    /// `td` and `th`.
    Cell,
    Caption,
    Columns,
    Column,
    /// Without content or end.
    Void,
    /// The same, where nothing is opened again before it.
    Parameter,
    Rule,
    Input,
    /// Whose content is text, whatever it looks like.
    Raw,
    Script,
    /// The same, with character references.
    Title,
    Textarea,
    /// Without content, and in `head` unless it comes later.
    Meta,
    Select,
    Option,
    OptionGroup,
    Svg,
    /// Any element in SVG.
    Drawing,
    /// In SVG, with HTML in it.
    Described,
    /// What has no rules of its own.
    Other,
    /// What has rules that are not here.
    Unknown,
}

impl Kind {
    pub(super) fn of(name: &str) -> Self {
        match name {
            "html" => Self::Html,
            "head" => Self::Head,
            "body" => Self::Body,
            "article" | "aside" | "blockquote" | "center" | "details" | "dialog" | "dir" | "dl" | "fieldset"
            | "figcaption" | "figure" | "footer" | "header" | "hgroup" | "main" | "menu" | "nav" | "ol" | "search"
            | "section" | "summary" | "ul" => Self::Block,
            "address" | "div" => Self::Div,
            "p" => Self::Paragraph,
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => Self::Heading,
            "pre" => Self::Preformatted,
            "form" => Self::Form,
            "li" => Self::ListItem,
            "dd" | "dt" => Self::Definition,
            "button" => Self::Button,
            "a" => Self::Anchor,
            "b" | "big" | "code" | "em" | "font" | "i" | "s" | "small" | "strike" | "strong" | "tt" | "u" => {
                Self::Format
            }
            "table" => Self::Table,
            "tbody" | "thead" | "tfoot" => Self::Section,
            "tr" => Self::Row,
            "td" | "th" => Self::Cell,
            "caption" => Self::Caption,
            "colgroup" => Self::Columns,
            "col" => Self::Column,
            "area" | "br" | "embed" | "img" | "keygen" | "wbr" => Self::Void,
            "param" | "source" | "track" => Self::Parameter,
            "hr" => Self::Rule,
            "input" => Self::Input,
            "style" | "noscript" | "iframe" => Self::Raw,
            "script" => Self::Script,
            "title" => Self::Title,
            "textarea" => Self::Textarea,
            "base" | "basefont" | "bgsound" | "link" | "meta" => Self::Meta,
            "select" => Self::Select,
            "option" => Self::Option,
            "optgroup" => Self::OptionGroup,
            "svg" => Self::Svg,
            "applet" | "frame" | "frameset" | "image" | "isindex" | "listing" | "marquee" | "math" | "nobr"
            | "noembed" | "noframes" | "object" | "plaintext" | "rb" | "rp" | "rt" | "rtc" | "template" | "xmp" => {
                Self::Unknown
            }
            _ => Self::Other,
        }
    }

    /// Whether an end tag of what is around it ends it as well.
    pub(super) fn ends_by_itself(self) -> bool {
        matches!(self, Self::Definition | Self::ListItem | Self::Option | Self::OptionGroup | Self::Paragraph)
    }

    /// Whether it hides a paragraph that is open around it.
    pub(super) fn bounds_paragraph(self) -> bool {
        matches!(
            self,
            Self::Html | Self::Table | Self::Cell | Self::Caption | Self::Select | Self::Button | Self::Described
        )
    }

    /// Whether it hides a list item that is open around it from the next one. `dialog` and `search` do not; where one is
    /// open it is looked at by name.
    pub(super) fn bounds_item(self) -> bool {
        !matches!(
            self,
            Self::Div
                | Self::Paragraph
                | Self::Anchor
                | Self::Format
                | Self::Option
                | Self::OptionGroup
                | Self::Svg
                | Self::Drawing
                | Self::Other
        )
    }
}

/// A name with what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) local: LocalName,
    pub(super) kind: Kind,
}

/// Names that came before: to look one up in the table of all names takes longer than most else.
pub(super) struct Names<'a> {
    slots: Vec<Option<(&'a str, Name)>>,
}

const SLOTS: usize = 256;

impl<'a> Names<'a> {
    pub(super) fn new() -> Self {
        Self { slots: vec![None; SLOTS] }
    }

    /// The name that is written so, in small letters.
    pub(super) fn get(&mut self, written: &'a str) -> Name {
        let bytes = written.as_bytes();
        let [first, middle, last] = [0, bytes.len() / 2, bytes.len() - 1].map(|at| usize::from(bytes[at]));
        let slot = (first.wrapping_mul(31) ^ middle.wrapping_mul(17) ^ last.wrapping_mul(7) ^ bytes.len()) % SLOTS;
        if let Some((known, name)) = &self.slots[slot]
            && *known == written
        {
            return name.clone();
        }
        let lower;
        let small = if bytes.iter().any(u8::is_ascii_uppercase) {
            lower = written.to_ascii_lowercase();
            &lower
        } else {
            written
        };
        let name = Name { local: LocalName::from(small), kind: Kind::of(small) };
        self.slots[slot] = Some((written, name.clone()));
        name
    }
}
