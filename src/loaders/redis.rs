//! Redis, and what speaks its protocol: a Redis stream for each stream, or a key for each record.
//!
//! In a Redis stream ids must grow, so the position after a record, as `<segment>-<offset>`, is an exactly-once append: what
//! comes again is "equal or smaller" (<https://redis.io/docs/latest/commands/xadd/>), also after the stream was trimmed, and
//! its last id says how far it is. One command of a pipeline that fails before one that succeeds would make its record
//! smaller for ever, that is lost. So each chunk is one `MULTI … EXEC`, which a command that is refused when it is queued
//! aborts as a whole, and no chunk is sent before the one before it is answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, RedisResult, Value};

use crate::context::{Context, install_crypto};
use crate::sink::Position;
use crate::store::{Batch, Entry, Feed, Limits, Mark, Sent, Store, StoreError, StoreKind, Target, expand_stream};

/// The line of the list.
pub const KIND: StoreKind = StoreKind {
    name: "redis",
    schemes: &["redis", "rediss"],
    about: "A Redis stream for each stream, or a key for each record; also Valkey, KeyDB, Dragonfly.",
    once: "stream ids that are positions, which must grow; or the record's id as the key",
    example: "redis://localhost/0?key=tapline:{stream}",
    options: OPTIONS,
    limits: Limits { records: 5_000, bytes: 4 << 20, wait: Duration::ZERO, closed: false },
    open,
};

const OPTIONS: &[(&str, &str)] = &[
    ("key", "the key of a stream, or what the keys of its records begin with; `{stream}` by default"),
    ("mode", "`stream` (default), `string`, `json` or `hash`"),
    ("maxlen", "about how many entries a stream keeps; all of them by default"),
];

/// How many records one `MULTI … EXEC` has: the server answers nobody else meanwhile.
const CHUNK: usize = 1_000;

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// How an append begins that comes again (`t_stream.c` of Redis; Valkey and Dragonfly say the same).
const SMALLER: &str = "The ID specified in XADD is equal or smaller";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Stream,
    String,
    Json,
    Hash,
}

struct Redis {
    client: Client,
    shown: String,
    key: String,
    mode: Mode,
    maxlen: Option<u64>,
    connection: Option<MultiplexedConnection>,
    /// The key of each feed.
    keys: HashMap<Arc<Feed>, String>,
}

fn open(mut target: Target, _: &Context) -> anyhow::Result<Box<dyn Store>> {
    install_crypto();
    let shown = target.to_string();
    let key = target.take("key").unwrap_or_else(|| "{stream}".to_owned());
    let mode = match target.take("mode").as_deref() {
        None | Some("stream") => Mode::Stream,
        Some("string") => Mode::String,
        Some("json") => Mode::Json,
        Some("hash") => Mode::Hash,
        Some(other) => anyhow::bail!("`mode={other}` is not known; there are: stream, string, json, hash"),
    };
    let maxlen = target.take("maxlen").map(|text| text.parse().with_context(|| format!("`maxlen={text}` is no count")));
    let maxlen = maxlen.transpose()?;
    anyhow::ensure!(maxlen.is_none() || mode == Mode::Stream, "`maxlen` goes with streams only; leave it out");
    // The driver takes nothing else from a query but the version of its protocol.
    let protocol = target.take_other("protocol");
    target.finish(OPTIONS)?;
    let query = protocol.map_or_else(String::new, |protocol| format!("?protocol={protocol}"));
    let address = format!("{}{query}", target.for_driver(target.scheme()));
    let client = Client::open(address).map_err(|error| anyhow::anyhow!("{shown} is no address of Redis: {error}"))?;
    Ok(Box::new(Redis { client, shown, key, mode, maxlen, connection: None, keys: HashMap::new() }))
}

impl Redis {
    fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        self.connection.clone().ok_or_else(|| StoreError::Lost(anyhow::anyhow!("not connected")))
    }

    fn key_of(&self, feed: &Feed) -> String {
        let key = expand_stream(&self.key, &feed.stream, ":");
        match self.mode {
            // The stream has larger ids already than those of dead letters.
            Mode::Stream if feed.is_redrive() => format!("{key}:redrive"),
            Mode::Stream => key,
            _ if self.key.contains("{stream}") => format!("{key}:"),
            _ => key,
        }
    }

    fn sorted(&self, error: &RedisError) -> StoreError {
        let (code, kind) = (error.code().unwrap_or_default().to_owned(), error.kind());
        let detail = match error.clone().into_server_errors() {
            // Of a transaction that was not carried out: what its first command was refused for.
            Some(errors) => errors.first().map(|(_, first)| (first.code().to_owned(), format!("{first}"))),
            None => None,
        };
        let (code, words) = detail.unwrap_or_else(|| (code, error.to_string()));
        let cause = anyhow::anyhow!("Redis at {}: {words}", self.shown);
        sort(&code, kind, &words, cause)
    }

    fn chunk(&self, key: &str, entries: &[Entry<'_>], sent: &mut Sent, first: usize) -> (Pipeline, Vec<usize>) {
        let mut pipe = Pipeline::with_capacity(entries.len());
        let mut places = Vec::with_capacity(entries.len());
        for (index, entry) in (first..).zip(entries) {
            match self.command(&mut pipe, key, entry) {
                Ok(()) => places.push(index),
                Err(why) => sent.dead.push((index, why)),
            }
        }
        pipe.atomic().ignore_errors();
        (pipe, places)
    }

    fn command(&self, pipe: &mut Pipeline, key: &str, entry: &Entry<'_>) -> Result<(), String> {
        match self.mode {
            Mode::Stream => {
                let Position { segment, offset } = entry.next;
                pipe.cmd("XADD").arg(key);
                if let Some(maxlen) = self.maxlen {
                    pipe.arg("MAXLEN").arg("~").arg(maxlen);
                }
                pipe.arg(format!("{segment}-{offset}")).arg("record").arg(entry.line);
            }
            // What is there under the id is this very record: to write it again changes nothing.
            Mode::String => {
                pipe.cmd("SET").arg(format!("{key}{}", entry.id()?)).arg(entry.line).arg("NX");
            }
            Mode::Json => {
                serde_json::from_slice::<serde::de::IgnoredAny>(entry.line).map_err(|error| error.to_string())?;
                pipe.cmd("JSON.SET").arg(format!("{key}{}", entry.id()?)).arg("$").arg(entry.line).arg("NX");
            }
            Mode::Hash => {
                let parts = entry.parts()?;
                pipe.cmd("HSET").arg(format!("{key}{}", parts.id));
                let optional = [
                    ("observed_at", &parts.observed_at),
                    ("source", &parts.source),
                    ("type", &parts.kind),
                    ("published_at", &parts.published_at),
                ];
                for (name, value) in optional.iter().filter_map(|(name, value)| Some((name, value.as_deref()?))) {
                    pipe.arg(*name).arg(value);
                }
                pipe.arg("data").arg(parts.data.get());
            }
        }
        Ok(())
    }

    /// What became of each command of a chunk that was carried out.
    fn sort_replies(
        &self,
        replies: Vec<RedisResult<Value>>,
        places: &[usize],
        sent: &mut Sent,
    ) -> Result<(), StoreError> {
        for (place, reply) in places.iter().zip(replies) {
            match reply {
                // `NX` of a key that is there, fields of a hash that were there.
                Ok(Value::Nil) => sent.exists += 1,
                Ok(Value::Int(0)) if self.mode == Mode::Hash => sent.exists += 1,
                Ok(_) => {}
                Err(error) if error.to_string().contains(SMALLER) => sent.exists += 1,
                Err(error) => match self.sorted(&error) {
                    StoreError::Refused(cause) => sent.dead.push((*place, format!("{cause:#}"))),
                    // Those behind it may be there: in a stream it is too late for this one, so nothing may pass.
                    other => return Err(other),
                },
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Redis {
    async fn connect(&mut self) -> Result<(), StoreError> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT_MAX)).set_response_timeout(None);
        let connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        self.connection = Some(connected.map_err(|error| self.sorted(&error))?);
        Ok(())
    }

    async fn begin(&mut self, feed: &Feed) -> Result<Mark, StoreError> {
        let key = self.key_of(feed);
        self.keys.insert(Arc::new(feed.clone()), key.clone());
        if self.mode != Mode::Stream {
            return Ok(Mark::Unknown);
        }
        let mut connection = self.connection()?;
        let ours = format!("{key}:origin");
        // Another folder's ids would make ours smaller, and the records lost.
        let origin: RedisResult<String> = async {
            redis::cmd("SET").arg(&ours).arg(&*feed.origin).arg("NX").query_async::<()>(&mut connection).await?;
            redis::cmd("GET").arg(&ours).query_async(&mut connection).await
        }
        .await;
        let origin = origin.map_err(|error| self.sorted(&error))?;
        if origin != *feed.origin {
            return Err(StoreError::Stop(anyhow::anyhow!(
                "the key `{key}` has records of another data folder, whose ids would hide these; give `?key=` another name, or delete `{key}` and `{ours}`"
            )));
        }
        let found: RedisResult<HashMap<String, Value>> =
            redis::cmd("XINFO").arg("STREAM").arg(&key).query_async(&mut connection).await;
        match found {
            Ok(found) => Ok(found.get("last-generated-id").and_then(last_id).map_or(Mark::Nothing, Mark::At)),
            Err(error) if error.to_string().contains("no such key") => Ok(Mark::Nothing),
            Err(error) => Err(self.sorted(&error)),
        }
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        let key = self.keys.get(batch.feed()).cloned();
        let key = key.ok_or_else(|| StoreError::Moved(anyhow::anyhow!("the stream has not been taken up")))?;
        let mut connection = self.connection()?;
        let entries: Vec<Entry<'_>> = batch.iter().collect();
        let mut sent = Sent::default();
        let mut chunks = entries.chunks(CHUNK).enumerate().map(|(number, chunk)| (number * CHUNK, chunk));
        let mut next = chunks.next().map(|(first, chunk)| self.chunk(&key, chunk, &mut sent, first));
        while let Some((pipe, places)) = next.take() {
            // The next chunk is made while the server is busy with this one, and sent only after its answer.
            let asked =
                async { if places.is_empty() { Ok(Vec::new()) } else { pipe.query_async(&mut connection).await } };
            let made = async { chunks.next().map(|(first, chunk)| self.chunk(&key, chunk, &mut sent, first)) };
            let (replies, made) = tokio::join!(asked, made);
            let replies: Vec<RedisResult<Value>> = replies.map_err(|error| self.sorted(&error))?;
            self.sort_replies(replies, &places, &mut sent)?;
            next = made;
        }
        Ok(sent)
    }

    fn preview(&self, batch: &Batch) -> String {
        let key = self.key_of(batch.feed());
        let entries: Vec<Entry<'_>> = batch.iter().take(1).collect();
        let (pipe, _) = self.chunk(&key, &entries, &mut Sent::default(), 0);
        let words = pipe.cmd_iter().flat_map(|command| {
            let arguments = command.args_iter().map(|argument| match argument {
                redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                _ => String::new(),
            });
            arguments.collect::<Vec<_>>()
        });
        let words: Vec<String> = words.collect();
        format!(
            "{}: MULTI, {} commands of which this is the first, EXEC\n{}",
            self.shown,
            batch.len().min(CHUNK),
            words.join(" ")
        )
    }
}

/// The position that the last id of a stream is.
fn last_id(value: &Value) -> Option<Position> {
    let text: String = redis::from_redis_value(value.clone()).ok()?;
    let (segment, offset) = text.split_once('-')?;
    let position = Position { segment: segment.parse().ok()?, offset: offset.parse().ok()? };
    (position != Position { segment: 0, offset: 0 }).then_some(position)
}

/// What an error means for the loop, by the code that its message begins with
/// (<https://redis.io/docs/latest/develop/reference/protocol-spec/#simple-errors>).
fn sort(code: &str, kind: ErrorKind, words: &str, cause: anyhow::Error) -> StoreError {
    match code {
        "OOM" | "LOADING" | "READONLY" | "CLUSTERDOWN" | "TRYAGAIN" | "MASTERDOWN" | "BUSY" | "NOREPLICAS"
        | "MISCONF" => StoreError::busy(cause),
        "NOAUTH" | "WRONGPASS" | "NOPERM" | "WRONGTYPE" | "MOVED" | "ASK" | "CROSSSLOT" => StoreError::Stop(cause),
        _ if words.contains("unknown command") => {
            StoreError::Stop(cause.context("the server does not have this command: the module is not loaded"))
        }
        _ if words.contains("Protocol error") || words.contains("string exceeds maximum") => StoreError::Shrink(cause),
        _ => match kind {
            ErrorKind::AuthenticationFailed | ErrorKind::InvalidClientConfig => StoreError::Stop(cause),
            ErrorKind::Server(redis::ServerErrorKind::ResponseError) | ErrorKind::Extension => {
                StoreError::Refused(cause)
            }
            // The connection, or what came on it.
            _ => StoreError::Lost(cause),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_says_is_sorted() {
        let busy = ["OOM", "LOADING", "READONLY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "BUSY", "MISCONF"];
        let stop = ["NOAUTH", "WRONGPASS", "NOPERM", "WRONGTYPE"];
        let of = |code: &str, words: &str| sort(code, ErrorKind::Extension, words, anyhow::anyhow!("x"));
        assert!(busy.iter().all(|code| matches!(of(code, ""), StoreError::Busy { .. })));
        assert!(stop.iter().all(|code| matches!(of(code, ""), StoreError::Stop(_))));
        assert!(matches!(of("ERR", "unknown command 'JSON.SET'"), StoreError::Stop(_)));
        assert!(matches!(of("ERR", "new objects must be created at the root"), StoreError::Refused(_)));
        assert!(matches!(sort("", ErrorKind::Io, "broken pipe", anyhow::anyhow!("x")), StoreError::Lost(_)));
    }

    #[test]
    fn addresses() {
        let context = Context::new(Arc::new(crate::context::SystemClock));
        let wrong = |to: &str| crate::loaders::open(to, &context).err().unwrap().to_string();
        assert_eq!(wrong("redis://h?mode=list"), "`mode=list` is not known; there are: stream, string, json, hash");
        assert_eq!(wrong("redis://h?maxlen=few"), "`maxlen=few` is no count");
        assert_eq!(wrong("redis://h?mode=hash&maxlen=5"), "`maxlen` goes with streams only; leave it out");
        assert_eq!(wrong("redis://h?kye=a"), "`kye` in the address means nothing; did you mean `key`?");
        assert!(!wrong("redis://:secret@h/notadb").contains("secret"));
    }
}
