//! S3 and what is compatible with it (`MinIO`, R2, Ceph, Garage): each closed segment becomes an object.
//!
//! An object is written only where there is none (`If-None-Match: *`, which answers 412), under a name that is its place in
//! the stream, and it says in its metadata which data folder it is of and where it ends. So what comes again is there, and
//! the last object of a stream says how far it is
//! (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>).

use std::io::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flate2::write::GzEncoder;
use futures_util::TryStreamExt as _;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, Error, GetOptions, ObjectStore as _, PutMode, PutOptions, RetryConfig,
};

use crate::context::{Context, install_crypto};
use crate::sink::Position;
use crate::store::{Batch, Feed, Limits, Mark, Sent, Store, StoreError, StoreKind, Target};

/// The line of the list.
pub const KIND: StoreKind = StoreKind {
    name: "s3",
    schemes: &["s3"],
    about: "S3 and compatible stores: each closed segment as an object, compressed.",
    once: "a name that is the place in the stream, and If-None-Match",
    example: "s3://KEY:SECRET@bucket/tapline?region=eu-central-1",
    options: OPTIONS,
    // A segment as a whole, if it is no longer than they are by default.
    limits: Limits { records: usize::MAX, bytes: 64 << 20, wait: Duration::ZERO, closed: true },
    open,
};

const OPTIONS: &[(&str, &str)] = &[
    ("endpoint", "where a compatible store is, such as `http://localhost:9000`; AWS by default"),
    ("region", "the region; what `AWS_REGION` says, or `us-east-1`"),
    ("compress", "`zstd` (default), `gzip` or `off`"),
    ("class", "the storage class of the objects, such as `STANDARD_IA`"),
];

/// Fast, and close to the best.
const ZSTD_LEVEL: i32 = 6;

/// How long one request may take: an object has megabytes.
const REQUEST_MAX: Duration = Duration::from_secs(50);
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How many digits the offset of a part has in its name. A `_` may stand in the name of a stream too.
const OFFSET_LEN: usize = 12;

/// In the metadata of an object.
const ORIGIN: &str = "tapline-origin";
const ENDS: &str = "tapline-ends";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Compress {
    Off,
    Gzip,
    Zstd,
}

struct S3 {
    client: AmazonS3,
    shown: String,
    prefix: String,
    compress: Compress,
    class: Option<String>,
}

fn open(mut target: Target, _: &Context) -> anyhow::Result<Box<dyn Store>> {
    install_crypto();
    let shown = target.to_string();
    let compress = match target.take("compress").as_deref() {
        None | Some("zstd") => Compress::Zstd,
        Some("gzip") => Compress::Gzip,
        Some("off") => Compress::Off,
        Some(other) => anyhow::bail!("`compress={other}` is not known; there are: zstd, gzip, off"),
    };
    let (endpoint, region, class) = (target.take("endpoint"), target.take("region"), target.take("class"));
    target.finish(OPTIONS)?;
    anyhow::ensure!(!target.hosts().is_empty(), "the address names no bucket; write `s3://bucket/prefix`");
    let options = ClientOptions::new().with_timeout(REQUEST_MAX).with_connect_timeout(CONNECT_MAX);
    // Trying again is the loop's.
    let once = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    // `AWS_ACCESS_KEY_ID` and the like, roles of containers and machines.
    let mut builder = AmazonS3Builder::from_env().with_bucket_name(target.hosts()).with_retry(once);
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    let is_plain = endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint).with_virtual_hosted_style_request(false);
    }
    builder = builder.with_client_options(options.with_allow_http(is_plain));
    if let (Some(key), Some(secret)) = (target.user(), target.password()) {
        builder = builder.with_access_key_id(key).with_secret_access_key(secret);
    }
    let client = builder.build().map_err(|error| anyhow::anyhow!("{shown} is no address of S3: {error}"))?;
    let prefix = target.take_path().trim_end_matches('/').to_owned();
    Ok(Box::new(S3 { client, shown, prefix, compress, class }))
}

impl S3 {
    /// Under which all objects of a stream are. Dead letters that come again have positions of their own.
    fn folder(&self, feed: &Feed) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let apart = if feed.is_redrive() { "_redrive/" } else { "" };
        format!("{}{slash}{apart}{}", self.prefix, feed.stream)
    }

    /// Named as the segment is on disk; a further part of one that is too long also by where it begins, so that the names
    /// have the order of the lines.
    fn key(&self, batch: &Batch) -> String {
        let (feed, from) = (batch.feed(), batch.from());
        let day = batch.iter().next().and_then(|entry| entry.day().map(ToOwned::to_owned));
        let day = day.map_or_else(String::new, |day| format!("dt={day}/"));
        let name = feed.stream.rsplit('/').next().unwrap_or_default();
        let part = if from.offset == 0 { String::new() } else { format!("_{:012}", from.offset) };
        let ending = match self.compress {
            Compress::Off => "",
            Compress::Gzip => ".gz",
            Compress::Zstd => ".zst",
        };
        format!("{}/{day}{name}-{:012}{part}.jsonl{ending}", self.folder(feed), from.segment)
    }

    fn sorted(&self, error: &Error) -> StoreError {
        let cause = anyhow::anyhow!("S3 at {}: {}", self.shown, words(error));
        sort(error, cause)
    }

    /// The position that an object of ours ends at; `None` for one of another folder.
    async fn ends(&self, key: &Path, feed: &Feed) -> Result<Option<Position>, Error> {
        let asked = self.client.get_opts(key, GetOptions { head: true, ..GetOptions::default() }).await?;
        let value = |name: &'static str| asked.attributes.get(&Attribute::Metadata(name.into())).map(AsRef::as_ref);
        let is_ours = value(ORIGIN).is_some_and(|origin: &str| origin == origin_of(feed));
        Ok(value(ENDS).filter(|_| is_ours).and_then(position))
    }
}

/// The origin in letters that a header may have.
fn origin_of(feed: &Feed) -> String {
    url::form_urlencoded::byte_serialize(feed.origin.as_bytes()).collect()
}

fn position(text: &str) -> Option<Position> {
    let (segment, offset) = text.split_once('-')?;
    Some(Position { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
}

/// Where an object begins, by its name.
fn begins(key: &Path) -> Option<Position> {
    let name = key.filename()?;
    let (head, _) = name.split_once(".jsonl")?;
    let (head, offset) = head.rsplit_once('_').filter(|(_, offset)| offset.len() == OFFSET_LEN).unwrap_or((head, "0"));
    let (_, segment) = head.rsplit_once('-')?;
    Some(Position { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
}

#[async_trait]
impl Store for S3 {
    async fn connect(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Asks for the first object that there is. Whoever may only write need not list; keys that are wrong are said.
    async fn look(&mut self) -> Result<(), StoreError> {
        let folder = Path::from(self.prefix.as_str());
        let Err(error) = self.client.list(Some(&folder)).try_next().await else { return Ok(()) };
        if matches!(error, Error::PermissionDenied { .. }) && words(&error).contains("AccessDenied") {
            return Ok(());
        }
        Err(self.sorted(&error))
    }

    async fn begin(&mut self, feed: &Feed) -> Result<Mark, StoreError> {
        let folder = Path::from(self.folder(feed));
        let all = self.client.list(Some(&folder)).try_fold(None, |last: Option<(Position, Path)>, object| {
            let found = begins(&object.location).map(|begins| (begins, object.location));
            std::future::ready(Ok(last.max(found)))
        });
        let last = match all.await {
            Ok(last) => last,
            // Whoever may only write need not list.
            Err(Error::PermissionDenied { .. }) => return Ok(Mark::Unknown),
            Err(error) => return Err(self.sorted(&error)),
        };
        // Objects may go by age: that there is none says nothing.
        let Some((_, key)) = last else { return Ok(Mark::Unknown) };
        match self.ends(&key, feed).await {
            Ok(Some(ends)) => Ok(Mark::At(ends)),
            Ok(None) => Err(self.foreign(&key)),
            Err(Error::PermissionDenied { .. }) => Ok(Mark::Unknown),
            Err(error) => Err(self.sorted(&error)),
        }
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        let (key, to) = (Path::from(self.key(batch)), batch.to());
        let mut attributes = Attributes::new();
        attributes.insert(Attribute::ContentType, "application/x-ndjson".into());
        attributes.insert(Attribute::Metadata(ORIGIN.into()), origin_of(batch.feed()).into());
        attributes.insert(Attribute::Metadata(ENDS.into()), format!("{}-{}", to.segment, to.offset).into());
        if let Some(class) = &self.class {
            attributes.insert(Attribute::StorageClass, class.clone().into());
        }
        let (text, compress) = (batch.text(), self.compress);
        let packed = tokio::task::spawn_blocking(move || pack(&text, compress)).await;
        let body = packed.map_err(anyhow::Error::new).and_then(|packed| Ok(packed?)).map_err(StoreError::Stop)?;
        let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
        match self.client.put_opts(&key, body.into(), options).await {
            Ok(_) => Ok(Sent::default()),
            Err(Error::AlreadyExists { .. }) => match self.ends(&key, batch.feed()).await {
                Ok(Some(ends)) if ends == to => Ok(Sent { exists: batch.len() as u64, ..Sent::default() }),
                // Somebody else has loaded, in parts of other lengths: it says itself how far it is.
                Ok(Some(_)) => Err(StoreError::Moved(anyhow::anyhow!("{key} is there and ends elsewhere"))),
                Ok(None) => Err(self.foreign(&key)),
                Err(error) => Err(self.sorted(&error)),
            },
            Err(error) => Err(self.sorted(&error)),
        }
    }

    fn preview(&self, batch: &Batch) -> String {
        format!("{}: PUT {}, {} records, If-None-Match: *", self.shown, self.key(batch), batch.len())
    }

    fn is_by_batch(&self) -> bool {
        true
    }
}

impl S3 {
    fn foreign(&self, key: &Path) -> StoreError {
        StoreError::Stop(anyhow::anyhow!(
            "S3 at {}: {key} is of another data folder, or of something else; give the address another path",
            self.shown
        ))
    }
}

fn pack(text: &Bytes, compress: Compress) -> std::io::Result<Bytes> {
    match compress {
        Compress::Off => Ok(text.clone()),
        Compress::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(text)?;
            encoder.finish().map(Into::into)
        }
        Compress::Zstd => zstd::bulk::compress(text, ZSTD_LEVEL).map(Into::into),
    }
}

/// The error with its causes, which hold what the store answered.
fn words(error: &Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let text = next.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = next.source();
    }
    words
}

/// What an error means for the loop (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
fn sort(error: &Error, cause: anyhow::Error) -> StoreError {
    let text = format!("{cause:#}");
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    match error {
        Error::PermissionDenied { .. }
        | Error::Unauthenticated { .. }
        | Error::NotFound { .. }
        | Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. } => StoreError::Stop(cause),
        _ if says(&["EntityTooLarge"]) => StoreError::Shrink(cause),
        _ if says(&["SlowDown", "RequestTimeout", "status code: 429", "status code: 5", "status code: 409"]) => {
            StoreError::busy(cause)
        }
        _ if says(&["redirect", "status code: 3", "status code: 4", "InvalidAccessKeyId"]) => StoreError::Stop(cause),
        _ => StoreError::Lost(cause),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::Ids;

    #[test]
    fn names_say_where_an_object_begins() {
        let context = Context::new(Arc::new(crate::context::SystemClock));
        let opened = crate::loaders::open("s3://k:word@b/some/path?region=x&compress=gzip", &context).unwrap();
        let line = r#"{"observed_at":"2026-11-23T07:04:05.123456Z","source":"b","id":"r_1","type":"q","data":1}"#;
        for (offset, name) in [(0, "x-000000000007"), (12, "x-000000000007_000000000012")] {
            let feed = Arc::new(Feed { stream: "_rejected/x".into(), origin: "o".into() });
            let from = Position { segment: 7, offset };
            let batch = Batch::new(feed, from, format!("{line}\n").into(), Ids::Record);
            let key = format!("some/path/_rejected/x/dt=2026-11-23/{name}.jsonl.gz");
            assert!(opened.store.preview(&batch).contains(&format!("PUT {key},")), "{}", opened.store.preview(&batch));
            assert_eq!(begins(&Path::from(key)), Some(from));
        }
        assert_eq!(begins(&Path::from("some/path/readme.txt")), None);
        assert!(!opened.shown.contains("word"));
    }

    #[test]
    fn answers_are_sorted() {
        let generic = |words: &'static str| Error::Generic { store: "S3", source: words.into() };
        let of = |error: Error| sort(&error, anyhow::anyhow!("{}", words(&error)));
        let slow = "Server returned non-2xx status code: 503 Service Unavailable: <Code>SlowDown</Code>";
        assert!(matches!(of(generic(slow)), StoreError::Busy { .. }));
        assert!(matches!(of(generic("Server returned non-2xx status code: 409 Conflict: ")), StoreError::Busy { .. }));
        assert!(matches!(
            of(generic("status code: 400 Bad Request: <Code>EntityTooLarge</Code>")),
            StoreError::Shrink(_)
        ));
        assert!(matches!(
            of(generic("status code: 400 Bad Request: <Code>InvalidRequest</Code>")),
            StoreError::Stop(_)
        ));
        assert!(matches!(of(generic("error sending request")), StoreError::Lost(_)));
        let missing = Error::NotFound { path: "b".into(), source: "NoSuchBucket".into() };
        assert!(matches!(of(missing), StoreError::Stop(_)));
    }
}
