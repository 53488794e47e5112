//! Pages that somebody saved: read instead of asking a site, and kept from one.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::config::SourceConfig;
use crate::context::Context;
use crate::fetch::charset;
use crate::report::trial::Report;
use crate::source::SavedPage;

/// A larger file is no page.
const BYTES_MAX: u64 = 64 << 20;

/// What a source makes of a page in a file, with what `page` says of it.
///
/// # Errors
/// When the file cannot be read, the page is beyond its limits, or the source reads no pages.
pub(super) fn read(config: &SourceConfig, file: &Path, page: SavedPage, context: &Context) -> anyhow::Result<Report> {
    let page = SavedPage { bytes: bytes(file)?, ..page };
    let Some(made) = config.settings.read_page(&page) else {
        bail!("a source of kind {} reads no pages; leave --page out", config.kind);
    };
    let made = made.with_context(|| format!("the page {} cannot be used", file.display()))?;
    Ok(Report::of_page(&config.name, config.transform.as_ref(), made, context))
}

/// The bytes of a page in a file.
///
/// # Errors
/// When it cannot be read, or is too large for a page.
pub(super) fn bytes(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    let opened = File::open(file).with_context(|| format!("cannot read the page {}", file.display()))?;
    opened
        .take(BYTES_MAX + 1)
        .read_to_end(&mut page)
        .with_context(|| format!("cannot read the page {}", file.display()))?;
    if page.len() as u64 > BYTES_MAX {
        bail!("{} is larger than any page", file.display());
    }
    Ok(page)
}

/// The text of a page in a file, in the encoding that it says.
///
/// # Errors
/// As [`bytes()`].
pub(super) fn text(file: &Path) -> anyhow::Result<String> {
    Ok(charset::text(&bytes(file)?, None, None))
}

/// Keeps a page that was fetched, in a file that is not there yet.
///
/// # Errors
/// When there is no page, the file is there, or cannot be written.
pub(super) fn save(file: &Path, page: Option<&str>) -> anyhow::Result<()> {
    let Some(page) = page else { bail!("no page came that could be saved") };
    let opened = OpenOptions::new().write(true).create_new(true).open(file);
    let mut out =
        opened.with_context(|| format!("cannot save the page in {}; a file that is there is kept", file.display()))?;
    // The page is UTF-8 now, whatever it says of itself: the mark comes before its own word.
    if !page.is_ascii() {
        out.write_all("\u{feff}".as_bytes())?;
    }
    out.write_all(page.as_bytes()).with_context(|| format!("cannot save the page in {}", file.display()))
}
