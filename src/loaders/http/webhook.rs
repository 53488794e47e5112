//! Any HTTP address that takes lines: NDJSON or a JSON array, with a key that says which batch it is.

use std::time::Duration;

use http::Method;
use http::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use url::Url;

use crate::context::Context;
use crate::store::{Batch, Limits, Sent, Store, StoreError, StoreKind, Target, expand_stream};

use super::{Answer, Flavour, HttpStore, Request, basic, bounds, secret};

/// The line of the list.
pub const KIND: StoreKind = StoreKind {
    name: "webhook",
    schemes: &["http", "https"],
    about: "Any HTTP address: batches by POST, as NDJSON or as an array.",
    once: "`Idempotency-Key` with the bounds of the batch, which are the same when it comes again",
    example: "https://example.com/in/{stream}?tapline.compress=gzip",
    options: OPTIONS,
    limits: Limits { records: 1_000, bytes: 1 << 20, wait: Duration::from_secs(1), closed: false },
    open,
};

/// They have a prefix, because the rest of the query is the address's own.
const OPTIONS: &[(&str, &str)] =
    &[("tapline.body", "`ndjson` (default) or `array`"), ("tapline.compress", "`gzip` or `zstd`; nothing by default")];

/// The field of draft-ietf-httpapi-idempotency-key-header.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Fast, and the body is sent once.
const ZSTD_LEVEL: i32 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compress {
    No,
    Gzip,
    Zstd,
}

struct Webhook {
    scheme: String,
    address: String,
    is_array: bool,
    compress: Compress,
}

fn open(mut target: Target, context: &Context) -> anyhow::Result<Box<dyn Store>> {
    let is_array = match target.take("tapline.body").as_deref() {
        None | Some("ndjson") => false,
        Some("array") => true,
        Some(other) => anyhow::bail!("`tapline.body={other}` is not known; there are: ndjson, array"),
    };
    let compress = match target.take("tapline.compress").as_deref() {
        None => Compress::No,
        Some("gzip") => Compress::Gzip,
        Some("zstd") => Compress::Zstd,
        Some(other) => anyhow::bail!("`tapline.compress={other}` is not known; there are: gzip, zstd"),
    };
    let bearer = target.take_other("tapline.bearer").map(|word| secret("Bearer", &word)).transpose()?;
    let login = bearer.or_else(|| basic(&target));
    let scheme = target.scheme().to_owned();
    target.url(&scheme)?;
    let address = target.for_driver_without_login(&scheme);
    Ok(HttpStore::boxed(Webhook { scheme, address, is_array, compress }, context, login))
}

impl Webhook {
    fn url(&self, stream: &str) -> Url {
        let address = self.address.replace("%7Bstream%7D", "{stream}");
        let name: String = url::form_urlencoded::byte_serialize(stream.as_bytes()).collect();
        expand_stream(&address, &name, "/").parse().unwrap_or_else(|_| {
            // It was parsed when it was opened, and a stream's name has nothing that could break it.
            Url::parse(&format!("{}://invalid.invalid", self.scheme)).expect("invariant: this is a URL")
        })
    }
}

impl Flavour for Webhook {
    const NAME: &'static str = "webhook";
    const BY_BATCH: bool = true;

    fn request(&self, batch: &Batch) -> (Request, Vec<(usize, String)>) {
        let (body, kind) = if self.is_array {
            let mut body = Vec::with_capacity(batch.iter().map(|entry| entry.line.len() + 1).sum::<usize>() + 2);
            for entry in batch.iter() {
                body.push(if body.is_empty() { b'[' } else { b',' });
                body.extend_from_slice(entry.line);
            }
            body.push(b']');
            (body.into(), "application/json")
        } else {
            (batch.text(), "application/x-ndjson")
        };
        let mut request = Request::new(Method::POST, self.url(batch.stream()), kind, body);
        let compressed = match self.compress {
            Compress::No => None,
            Compress::Gzip => Some((gzip(&request.body), "gzip")),
            Compress::Zstd => zstd::bulk::compress(&request.body, ZSTD_LEVEL).ok().map(|body| (body, "zstd")),
        };
        if let Some((body, coding)) = compressed {
            request.body = body.into();
            request.headers.push((CONTENT_ENCODING, HeaderValue::from_static(coding)));
        }
        // A stream's name may have letters that no header has.
        let key: String = url::form_urlencoded::byte_serialize(bounds(batch).as_bytes()).collect();
        request.headers.push((KEY, HeaderValue::from_str(&key).expect("invariant: percent-encoded text is plain")));
        (request, Vec::new())
    }

    fn sort(&self, answer: &Answer, _: &[usize]) -> Result<Sent, StoreError> {
        answer.ok().map(|()| Sent::default())
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("invariant: memory takes what is written")
}
