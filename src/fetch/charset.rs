//! Which encoding a page is in, and its text.
//!
//! In the order of the HTML standard (13.2.3): a byte order mark, what the answer's header says, what the page says
//! in its first kilobyte, what it says later (13.2.3.5: a browser that meets it there begins anew), and only then a guess
//! from its bytes.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// How far into a page its own word about its encoding is looked for, as browsers do.
pub(super) const PRESCAN_BYTES: usize = 1024;
/// How much of a page is looked at for a later word, and for a guess. More does not make it better, and it takes time on every page.
const GUESS_BYTES: usize = 256 * 1024;

/// The page's text. What is not text in its encoding becomes U+FFFD, so that it is seen and not lost.
pub(crate) fn text(bytes: &[u8], declared: Option<&'static Encoding>, content_type: Option<&str>) -> String {
    let encoding = Encoding::for_bom(bytes)
        .map(|(encoding, _)| encoding)
        .or(declared)
        .or_else(|| content_type.and_then(from_content_type))
        .or_else(|| prescan(bytes))
        .unwrap_or_else(|| guess(bytes));
    encoding.decode_with_bom_removal(bytes).0.into_owned()
}

/// The text of a document that is no page: XML, JSON, CSV. What it says of its encoding is believed where that can be: bytes
/// that are UTF-8 are, whatever is said, because no text of another encoding is by accident.
pub(crate) fn document(bytes: &[u8], declared: Option<&'static Encoding>, content_type: Option<&str>) -> String {
    if let Some((encoding, _)) = Encoding::for_bom(bytes) {
        return encoding.decode_with_bom_removal(bytes).0.into_owned();
    }
    let wide = match bytes {
        [b'<' | b'{' | b'[', 0, ..] => Some(UTF_16LE),
        [0, b'<' | b'{' | b'[', ..] => Some(UTF_16BE),
        _ => None,
    };
    if let Some(encoding) = wide {
        return encoding.decode_without_bom_handling(bytes).0.into_owned();
    }
    let said = declared.or_else(|| content_type.and_then(from_content_type)).or_else(|| from_xml(bytes));
    // Only these have characters of other bytes than ASCII's that are ASCII all the same.
    let is_apart = said.is_some_and(|said| !said.is_ascii_compatible() || said == ISO_2022_JP);
    if !is_apart && let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    if let Some(said) = said
        && let Some(text) = said.decode_without_bom_handling_and_without_replacement(bytes)
    {
        return text.into_owned();
    }
    // A few wrong bytes in what is UTF-8 all through do not make it another encoding.
    let text = String::from_utf8_lossy(bytes);
    let wrong = text.matches('\u{fffd}').count();
    let right = text.chars().filter(|next| !next.is_ascii()).count() - wrong;
    if said.is_none_or(|said| said == UTF_8) && right > wrong * 4 {
        return text.into_owned();
    }
    guess(bytes).decode_without_bom_handling(bytes).0.into_owned()
}

/// What an XML declaration says.
fn from_xml(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = &bytes[..bytes.len().min(PRESCAN_BYTES)];
    let start = memchr::memmem::find(head, b"<?xml")?;
    let length = memchr::memmem::find(&head[start..], b"?>")?;
    let declaration = &head[start..start + length];
    let after = &declaration[memchr::memmem::find(declaration, b"encoding")? + b"encoding".len()..];
    let value = after.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    let (quote, rest) = value.split_first()?;
    Encoding::for_label(&rest[..memchr::memchr(*quote, rest)?])
}

fn from_content_type(value: &str) -> Option<&'static Encoding> {
    let label = value.split(';').skip(1).find_map(|parameter| {
        let (name, label) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| label.trim().trim_matches(['"', '\'']))
    })?;
    Encoding::for_label(label.as_bytes())
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let head = &bytes[..bytes.len().min(GUESS_BYTES)];
    // Most pages are UTF-8, and no text of another encoding is valid UTF-8 by accident.
    match std::str::from_utf8(head) {
        Ok(_) => return UTF_8,
        Err(error) if error.error_len().is_none() => return UTF_8,
        Err(_) => {}
    }
    if let Some(encoding) = late(head) {
        return encoding;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(head, true);
    detector.guess(None, Utf8Detection::Allow)
}

/// What the page says of itself, by the standard's own algorithm ("prescan a byte stream to determine its encoding").
pub(crate) fn prescan(bytes: &[u8]) -> Option<&'static Encoding> {
    scan(&bytes[..bytes.len().min(PRESCAN_BYTES)], false)
}

/// What it says of itself anywhere. So far into a page there are scripts, and what looks like an element there is none.
fn late(bytes: &[u8]) -> Option<&'static Encoding> {
    scan(bytes, true)
}

fn scan(bytes: &[u8], knows_scripts: bool) -> Option<&'static Encoding> {
    let mut at = Scanner { bytes, position: 0 };
    while !at.rest().is_empty() {
        if knows_scripts && at.is_tag(b"<script") {
            at.skip_past_tag(b"</script")?;
        } else if at.rest().starts_with(b"<!--") {
            // `<!-->` is a whole comment: the two hyphens that open it may also close it.
            at.position += 2;
            at.skip_past(b"-->")?;
        } else if at.is_tag(b"<meta") && at.rest().get(5).is_some_and(|&byte| is_space(byte) || byte == b'/') {
            at.position += 6;
            if let Some(encoding) = at.meta() {
                return Some(encoding);
            }
        } else if at.is_element() {
            let past = at.rest().iter().position(|&byte| is_space(byte) || byte == b'>')?;
            at.position += past;
            while at.attribute().is_some() {}
        } else if matches!(at.rest(), [b'<', b'!' | b'/' | b'?', ..]) {
            at.skip_past(b">")?;
        } else {
            at.position += 1;
        }
    }
    None
}

struct Scanner<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.position.min(self.bytes.len())..]
    }

    fn next_byte(&self) -> Option<u8> {
        self.rest().first().copied()
    }

    fn is_tag(&self, name: &[u8]) -> bool {
        self.rest().get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
    }

    fn is_element(&self) -> bool {
        match self.rest() {
            [b'<', b'/', letter, ..] | [b'<', letter, ..] => letter.is_ascii_alphabetic(),
            _ => false,
        }
    }

    fn skip_past(&mut self, end: &[u8]) -> Option<()> {
        self.position += memchr::memmem::find(self.rest(), end)? + end.len();
        Some(())
    }

    /// Goes past the next of these names, in whatever case.
    fn skip_past_tag(&mut self, name: &[u8]) -> Option<()> {
        while !self.is_tag(name) {
            self.position += 1;
            self.position += memchr::memchr(b'<', self.rest())?;
        }
        self.position += name.len();
        Some(())
    }

    fn skip_while(&mut self, wanted: impl Fn(u8) -> bool) {
        self.position += self.rest().iter().take_while(|&&byte| wanted(byte)).count();
    }

    fn meta(&mut self) -> Option<&'static Encoding> {
        let (mut is_pragma, mut needs_pragma, mut found) = (false, false, None);
        let mut seen: Vec<Vec<u8>> = Vec::new();
        while let Some((name, value)) = self.attribute() {
            if seen.contains(&name) {
                continue;
            }
            match name.as_slice() {
                b"http-equiv" => is_pragma = value == b"content-type",
                b"content" if found.is_none() => {
                    found = from_meta_content(&value);
                    needs_pragma = found.is_some();
                }
                b"charset" => (found, needs_pragma) = (Encoding::for_label(&value), false),
                _ => {}
            }
            seen.push(name);
        }
        // A tag without an end is none.
        self.next_byte()?;
        let encoding = found.filter(|_| is_pragma || !needs_pragma)?;
        // A page that could be read this far is not in UTF-16, whatever it says; the other is the standard's word too.
        if encoding == UTF_16BE || encoding == UTF_16LE {
            Some(UTF_8)
        } else if encoding.name() == "x-user-defined" {
            Some(WINDOWS_1252)
        } else {
            Some(encoding)
        }
    }

    /// The next attribute of a tag, in lower case; `None` at the tag's end.
    fn attribute(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.skip_while(|byte| is_space(byte) || byte == b'/');
        if self.next_byte()? == b'>' {
            return None;
        }
        let start = self.position;
        // An equals sign that stands first belongs to the name.
        self.position += 1;
        self.skip_while(|byte| !is_space(byte) && !matches!(byte, b'=' | b'/' | b'>'));
        let name = self.bytes[start..self.position].to_ascii_lowercase();
        self.skip_while(is_space);
        if self.next_byte()? != b'=' {
            return Some((name, Vec::new()));
        }
        self.position += 1;
        self.skip_while(is_space);
        let value = if let Some(quote @ (b'"' | b'\'')) = self.next_byte() {
            self.position += 1;
            let length = memchr::memchr(quote, self.rest())?;
            let value = &self.rest()[..length];
            self.position += length + 1;
            value
        } else {
            let start = self.position;
            self.skip_while(|byte| !is_space(byte) && byte != b'>');
            &self.bytes[start..self.position]
        };
        Some((name, value.to_ascii_lowercase()))
    }
}

/// The standard's "extracting a character encoding from a meta element": `text/html; charset=...`.
fn from_meta_content(content: &[u8]) -> Option<&'static Encoding> {
    let mut rest = content;
    loop {
        rest = &rest[memchr::memmem::find(rest, b"charset")? + b"charset".len()..];
        let after = rest.trim_ascii_start();
        if let Some(value) = after.strip_prefix(b"=") {
            let value = value.trim_ascii_start();
            let label = if let [quote @ (b'"' | b'\''), quoted @ ..] = value {
                &quoted[..memchr::memchr(*quote, quoted)?]
            } else {
                let end = value.iter().position(|&byte| is_space(byte) || byte == b';');
                &value[..end.unwrap_or(value.len())]
            };
            return Encoding::for_label(label);
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | 0x0c | b'\r' | b' ')
}

#[cfg(test)]
mod tests {
    use super::super::checks::is_text;
    use super::*;
    use encoding_rs::{ISO_8859_2, SHIFT_JIS, WINDOWS_1251};
    use proptest::prelude::*;

    #[test]
    fn the_order_of_words_about_the_encoding() {
        let page = b"<meta charset=windows-1251>\xef";
        assert!(text(page, None, None).ends_with('п'), "the page's own word");
        assert!(text(page, None, Some("text/html; charset=iso-8859-2")).ends_with('ď'), "the header is before it");
        assert!(
            text(page, Some(WINDOWS_1252), Some("text/html; charset=iso-8859-2")).ends_with('ï'),
            "the file's word"
        );
        let with_mark = b"\xef\xbb\xbf\xd0\xbf";
        assert_eq!(text(with_mark, Some(WINDOWS_1252), Some("text/html; charset=iso-8859-2")), "п");
        assert_eq!(text(b"\xff\xfe\x3f\x04", None, None), "п", "UTF-16 by its mark");
        assert_eq!(text("цена".as_bytes(), None, None), "цена");
    }

    #[test]
    fn a_guess_reads_what_nothing_declares() {
        let (russian, _, _) = WINDOWS_1251.encode("Цена на золото выросла до рекордной отметки за последние годы");
        assert!(text(&russian, None, None).starts_with("Цена на золото"));
        let (japanese, _, _) = SHIFT_JIS.encode("日経平均株価は午前の取引で続伸した。値上がりした銘柄は千を超えた。");
        assert!(text(&japanese, None, Some("text/html")).starts_with("日経平均株価"));
    }

    #[test]
    fn a_document_is_read_whatever_it_says() {
        let xml = |label: &str| format!("<?xml version='1.0' encoding=\"{label}\"?><t>é</t>");
        for label in ["utf-8", "iso-8859-1", "windows-1251", "us-ascii", "nonsense", "utf-16"] {
            assert!(
                document(xml(label).as_bytes(), None, Some("text/xml; charset=iso-8859-1")).ends_with("<t>é</t>"),
                "{label}"
            );
        }
        let (latin, _, _) = WINDOWS_1252.encode("<?xml version='1.0' encoding='iso-8859-1'?><t>é</t>");
        assert!(document(&latin, None, None).ends_with("<t>é</t>"));
        assert!(document(&latin, None, Some("text/xml")).ends_with("<t>é</t>"));
        let (russian, _, _) = WINDOWS_1251
            .encode("<?xml version='1.0' encoding='utf-8'?><t>Цена на золото выросла до рекордной отметки</t>");
        assert!(
            document(&russian, None, Some("text/xml; charset=utf-8")).contains("Цена на золото"),
            "a wrong word is no word"
        );
        assert_eq!(document(b"\xef\xbb\xbf{}", None, None), "{}");
        assert_eq!(document(b"<\0a\0>\0", None, None), "<a>");
        assert_eq!(document(b"\0<\0a\0>", None, None), "<a>");
        let torn = [&"Цена на золото".repeat(9).into_bytes()[..], b"\xd0"].concat();
        assert!(document(&torn, None, None).starts_with("Цена на золото"));
    }

    #[test]
    fn g7_prescan_table() {
        for (page, expected) in [
            ("<meta charset=iso-8859-2>", Some(ISO_8859_2)),
            ("<META CharSet = 'ISO-8859-2' >", Some(ISO_8859_2)),
            ("<meta/charset=\"iso-8859-2\"/>", Some(ISO_8859_2)),
            ("<meta http-equiv=content-type content='text/html; charset=iso-8859-2'>", Some(ISO_8859_2)),
            ("<meta content='text/html; charset = \"iso-8859-2\"' http-equiv=Content-Type>", Some(ISO_8859_2)),
            ("<meta content='text/html; charset=iso-8859-2'>", None),
            ("<meta http-equiv=refresh content='charset=iso-8859-2'>", None),
            ("<!-- <meta charset=utf-8> --><meta charset=iso-8859-2>", Some(ISO_8859_2)),
            ("<!--><meta charset=iso-8859-2>", Some(ISO_8859_2)),
            ("<p title='<meta charset=utf-8>'><meta charset=iso-8859-2>", Some(ISO_8859_2)),
            ("<?xml <meta charset=utf-8> <meta charset=iso-8859-2>", Some(ISO_8859_2)),
            ("<meta charset=utf-16>", Some(UTF_8)),
            ("<meta charset=x-user-defined>", Some(WINDOWS_1252)),
            ("<meta charset=nonsense><meta charset=iso-8859-2>", Some(ISO_8859_2)),
            ("<metacharset=iso-8859-2>", None),
            ("<meta name=a charset=iso-8859-2 charset=utf-8>", Some(ISO_8859_2)),
            ("<meta charset=iso-8859-2", None),
            ("", None),
        ] {
            assert_eq!(prescan(page.as_bytes()), expected, "{page}");
        }
        let late = format!("{}<meta charset=iso-8859-2>", " ".repeat(PRESCAN_BYTES));
        assert_eq!(prescan(late.as_bytes()), None, "browsers look no further at first");
    }

    #[test]
    fn what_a_page_says_late_is_obeyed() {
        let space = " ".repeat(5 * PRESCAN_BYTES);
        let late = |head: &str| {
            let page = [space.as_bytes(), head.as_bytes(), b"<p>\xb1\xe6"].concat();
            text(&page, None, None).split("<p>").last().unwrap().to_owned()
        };
        assert_eq!(late("<meta charset=iso-8859-2>"), "ąć");
        assert_eq!(late("<SCRIPT>'<meta charset=utf-8>'</Script><meta charset=iso-8859-2>"), "ąć");
        assert_ne!(late("<script>'<meta charset=iso-8859-2>'</script>"), "ąć");
        assert_ne!(late("<script>'<meta charset=iso-8859-2>'"), "ąć");
    }

    /// The tests of encodings that browsers share, where they are: `TAPLINE_HTML5LIB=html5lib-tests/encoding cargo test
    /// html5lib`. They are not ours to ship.
    #[test]
    fn g7_html5lib() {
        let Some(folder) = std::env::var_os("TAPLINE_HTML5LIB") else { return };
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let (mut passed, mut wrong) = (0, Vec::new());
        for file in files.filter(|path| path.extension().is_some_and(|end| end == "dat")) {
            let bytes = std::fs::read(file).unwrap();
            for (page, label) in cases(&bytes) {
                let expected = Encoding::for_label(label).unwrap();
                // What nothing declares is this there; here it is guessed from the text.
                let mark = Encoding::for_bom(page).map(|(encoding, _)| encoding);
                let found = mark.or_else(|| prescan(page)).or_else(|| late(page));
                if found.unwrap_or(WINDOWS_1252) == expected {
                    passed += 1;
                } else {
                    wrong.push((
                        String::from_utf8_lossy(page).into_owned(),
                        found.map(Encoding::name),
                        expected.name(),
                    ));
                }
            }
        }
        assert!(wrong.is_empty() && passed > 0, "{passed} passed; wrong: {wrong:#?}");
        println!("{passed} passed");
    }

    /// Pages, and the labels of their encodings.
    fn cases(bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
        let find = |bytes: &[u8], what: &[u8]| memchr::memmem::find(bytes, what);
        let (mut rest, mut cases) = (bytes, Vec::new());
        while let Some(start) = find(rest, b"#data\n") {
            let page = &rest[start + 6..];
            let end = find(page, b"\n#encoding\n").unwrap();
            let label = &page[end + 11..];
            rest = &label[label.iter().position(|&byte| byte == b'\n').unwrap_or(label.len())..];
            cases.push((&page[..end], &label[..label.len() - rest.len()]));
        }
        cases
    }

    proptest! {
        #[test]
        fn whatever_it_is_it_is_text(bytes in proptest::collection::vec(any::<u8>(), 0..200), tags in "(<|>|!|-|/|=| |\"|meta|charset|content){0,80}") {
            is_text(&bytes, None);
            is_text(tags.as_bytes(), None);
        }
    }
}
