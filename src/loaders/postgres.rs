//! `PostgreSQL`: `COPY` into a table for each stream, and how far it is in the same transaction.
//!
//! That makes each record be there once without any index: a transaction that moves the row of `tapline_positions` from
//! where this loader knows it to be has the rows with it, and one that finds it elsewhere changes nothing. With
//! `?mode=unique` the table has a primary key instead, and what is there already is left. Error codes:
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html>.

mod rows;
mod tls;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::SinkExt as _;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Statement, Transaction};
use tokio_util::task::AbortOnDropHandle;

use crate::context::Context;
use crate::sink::Position;
use crate::store::{Batch, Feed, Limits, Mark, Sent, Store, StoreError, StoreKind, Target, expand_stream};

use rows::Rows;
use tls::SslMode;

/// The line of the list.
pub const KIND: StoreKind = StoreKind {
    name: "postgres",
    schemes: &["postgres", "postgresql"],
    about: "PostgreSQL: a table for each stream, the envelope in columns, `data` as JSONB; filled by COPY.",
    once: "the position in the same transaction; or a primary key on `id`",
    example: "postgres://me:secret@localhost/live?table={stream}",
    options: OPTIONS,
    limits: Limits { records: 20_000, bytes: 4 << 20, wait: Duration::ZERO, closed: false },
    open,
};

const OPTIONS: &[(&str, &str)] = &[
    ("table", "the table of a stream, perhaps with its schema; `{stream}` by default"),
    ("mode", "`append` (default: positions, no index needed) or `unique` (primary key on `id`)"),
    ("create", "`false` makes no table; it must be there"),
];

const CONNECT_MAX: Duration = Duration::from_secs(10);

const COLUMNS: &str = "id, observed_at, source, type, published_at, data";

const POSITIONS: &str = "CREATE TABLE IF NOT EXISTS tapline_positions (
    origin text NOT NULL, stream text NOT NULL, segment bigint NOT NULL, byte bigint NOT NULL,
    PRIMARY KEY (origin, stream))";

const MOVE: &str = "UPDATE tapline_positions SET segment = $3, byte = $4
    WHERE origin = $1 AND stream = $2 AND segment = $5 AND byte = $6";

const BEGIN: &str = "INSERT INTO tapline_positions (origin, stream, segment, byte) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING";

struct Postgres {
    config: Config,
    ssl: SslMode,
    shown: String,
    table: String,
    is_unique: bool,
    creates: bool,
    connection: Option<Connection>,
}

struct Connection {
    client: Client,
    /// The statement that moves a position, and that which begins one.
    move_to: Statement,
    begin: Statement,
    feeds: HashMap<Arc<Feed>, Taken>,
    /// What carries the bytes; it ends with the connection.
    _driver: AbortOnDropHandle<()>,
}

/// A stream that was taken up.
#[derive(Clone)]
struct Taken {
    copy: Statement,
    /// Moves the rows of a `COPY` into the table, where they are not there yet.
    merge: Option<Statement>,
    /// Where the table is, as far as is known here.
    at: Option<Position>,
}

fn open(mut target: Target, _: &Context) -> anyhow::Result<Box<dyn Store>> {
    let shown = target.to_string();
    let table = target.take("table").unwrap_or_else(|| "{stream}".to_owned());
    let is_unique = match target.take("mode").as_deref() {
        None | Some("append") => false,
        Some("unique") => true,
        Some(other) => anyhow::bail!("`mode={other}` is not known; there are: append, unique"),
    };
    let creates = match target.take("create").as_deref() {
        None | Some("true") => true,
        Some("false") => false,
        Some(other) => anyhow::bail!("`create={other}` is not known; there are: true, false"),
    };
    let ssl = SslMode::take(&mut target)?;
    let address = target.for_driver("postgres");
    let mut config: Config =
        address.parse().map_err(|error| anyhow::anyhow!("{shown} is no address of PostgreSQL: {}", words(&error)))?;
    config.ssl_mode(ssl.for_driver()).connect_timeout(CONNECT_MAX);
    if config.get_application_name().is_none() {
        config.application_name("tapline");
    }
    Ok(Box::new(Postgres { config, ssl, shown, table, is_unique, creates, connection: None }))
}

impl Postgres {
    fn sorted(&self, error: &tokio_postgres::Error) -> StoreError {
        let cause = anyhow::anyhow!("PostgreSQL at {}: {}", self.shown, words(error));
        match error.code() {
            Some(code) => sort(code.code(), cause),
            // What does not pass by itself: no TLS there, a certificate that is not right, a login that is missing.
            None if is_refusal(error) => StoreError::Stop(cause),
            None => StoreError::Lost(cause),
        }
    }

    /// The same, for what makes a table: another loader may make it at the same moment.
    fn sorted_making(&self, error: &tokio_postgres::Error) -> StoreError {
        match error.code().map(SqlState::code) {
            Some("23505" | "42P07" | "42710") => StoreError::busy(anyhow::Error::msg(words(error))),
            _ => self.sorted(error),
        }
    }

    /// The table of a stream as it stands in SQL.
    fn table_of(&self, stream: &str) -> String {
        let parts = self.table.split('.').map(|part| quoted(&expand_stream(part, stream, "_")));
        parts.collect::<Vec<_>>().join(".")
    }

    async fn try_connect(&self) -> Result<Connection, tokio_postgres::Error> {
        let (client, connection) = self.config.connect(self.ssl.connector()).await?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told by it that the connection is gone.
            connection.await.ok();
        });
        client.batch_execute(POSITIONS).await?;
        let (move_to, begin) = (client.prepare(MOVE).await?, client.prepare(BEGIN).await?);
        Ok(Connection { client, move_to, begin, feeds: HashMap::new(), _driver: AbortOnDropHandle::new(driver) })
    }

    async fn try_begin(&self, connection: &Connection, feed: &Feed) -> Result<Taken, tokio_postgres::Error> {
        let (client, table) = (&connection.client, self.table_of(&feed.stream));
        if self.creates {
            let key = if self.is_unique { " PRIMARY KEY" } else { " NOT NULL" };
            let create = format!(
                "CREATE TABLE IF NOT EXISTS {table} (id text{key}, observed_at timestamptz, source text, type text,
                 published_at timestamptz, data jsonb NOT NULL)"
            );
            client.batch_execute(&create).await?;
        }
        let (copy, merge) = if self.is_unique {
            let aside = quoted(&format!("tapline_{}", feed.stream));
            let create = format!(
                "CREATE TEMP TABLE IF NOT EXISTS {aside} (id text, observed_at timestamptz, source text, type text,
                 published_at timestamptz, data jsonb) ON COMMIT DELETE ROWS"
            );
            client.batch_execute(&create).await?;
            let merge = format!(
                "INSERT INTO {table} ({COLUMNS}) SELECT {COLUMNS} FROM pg_temp.{aside} ON CONFLICT (id) DO NOTHING"
            );
            (copy_into(&format!("pg_temp.{aside}")), Some(client.prepare(&merge).await?))
        } else {
            (copy_into(&table), None)
        };
        let copy = client.prepare(&copy).await?;
        let found = client
            .query_opt(
                "SELECT segment, byte FROM tapline_positions WHERE origin = $1 AND stream = $2",
                &[&&*feed.origin, &&*feed.stream],
            )
            .await?;
        let at = found.map(|row| Position { segment: unsigned(row.get(0)), offset: unsigned(row.get(1)) });
        Ok(Taken { copy, merge, at })
    }
}

#[async_trait]
impl Store for Postgres {
    async fn connect(&mut self) -> Result<(), StoreError> {
        self.connection = None;
        self.connection = Some(self.try_connect().await.map_err(|error| self.sorted_making(&error))?);
        Ok(())
    }

    async fn begin(&mut self, feed: &Feed) -> Result<Mark, StoreError> {
        let connection = self.connection.as_ref().ok_or_else(not_connected)?;
        let taken = self.try_begin(connection, feed).await.map_err(|error| self.sorted_making(&error))?;
        let mark = match (self.is_unique, taken.at) {
            (true, _) => Mark::Unknown,
            (false, None) => Mark::Nothing,
            (false, Some(at)) => Mark::At(at),
        };
        let connection = self.connection.as_mut().ok_or_else(not_connected)?;
        connection.feeds.insert(Arc::new(feed.clone()), taken);
        Ok(mark)
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        let connection = self.connection.as_mut().ok_or_else(not_connected)?;
        let taken = connection.feeds.get(batch.feed()).cloned();
        let taken = taken.ok_or_else(|| StoreError::Moved(anyhow::anyhow!("the stream has not been taken up")))?;
        let mut rows = Rows::new(batch);
        let (move_to, begin) = (connection.move_to.clone(), connection.begin.clone());
        let stored = async {
            let transaction = connection.client.transaction().await?;
            {
                let mut copy = std::pin::pin!(transaction.copy_in(&taken.copy).await?);
                for piece in rows.by_ref() {
                    copy.send(piece).await?;
                }
                copy.finish().await?;
            }
            let merged = match &taken.merge {
                Some(merge) => Some(transaction.execute(merge, &[]).await?),
                None => None,
            };
            let is_ours = merged.is_some() || moved(&transaction, &move_to, &begin, batch, taken.at).await?;
            if is_ours {
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
            Ok::<_, tokio_postgres::Error>((is_ours, merged))
        };
        let (is_ours, merged) = match stored.await {
            Ok(stored) => stored,
            Err(error) => return Err(self.sorted(&error)),
        };
        if !is_ours {
            return Err(StoreError::Moved(anyhow::anyhow!(
                "another loader has filled the table of {}",
                batch.stream()
            )));
        }
        let mut sent = rows.sent;
        let copied = batch.len() as u64 - sent.dead.len() as u64;
        sent.exists = merged.map_or(0, |merged| copied.saturating_sub(merged));
        if let Some(taken) = connection.feeds.get_mut(batch.feed()) {
            taken.at = Some(batch.to());
        }
        Ok(sent)
    }

    fn preview(&self, batch: &Batch) -> String {
        let one = batch.pick(&[0]);
        let rows: Vec<u8> = Rows::new(&one).flatten().collect();
        let table = self.table_of(batch.stream());
        format!("{}: BEGIN; {}; … COMMIT\n{}", self.shown, copy_into(&table), String::from_utf8_lossy(&rows).trim_end())
    }
}

/// Moves the position of a stream, in the transaction that brings the rows. Says whether it was where it was thought to be.
async fn moved(
    transaction: &Transaction<'_>,
    move_to: &Statement,
    begin: &Statement,
    batch: &Batch,
    at: Option<Position>,
) -> Result<bool, tokio_postgres::Error> {
    let (feed, to) = (batch.feed(), batch.to());
    let (origin, stream) = (&*feed.origin, &*feed.stream);
    let (segment, byte) = (signed(to.segment), signed(to.offset));
    let changed = match at {
        Some(at) => {
            let before = (signed(at.segment), signed(at.offset));
            transaction.execute(move_to, &[&origin, &stream, &segment, &byte, &before.0, &before.1]).await?
        }
        None => transaction.execute(begin, &[&origin, &stream, &segment, &byte]).await?,
    };
    Ok(changed == 1)
}

fn not_connected() -> StoreError {
    StoreError::Lost(anyhow::anyhow!("not connected"))
}

fn copy_into(table: &str) -> String {
    format!("COPY {table} ({COLUMNS}) FROM STDIN")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// What went wrong, with the server's own words and place where it has some.
fn words(error: &tokio_postgres::Error) -> String {
    let Some(server) = error.as_db_error() else { return format!("{:#}", anyhow::Error::msg(chain(error))) };
    let more = [server.detail(), server.hint(), server.where_()].into_iter().flatten().map(|more| format!("; {more}"));
    format!("{} ({}){}", server.message(), server.code().code(), more.collect::<String>())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// Whether an error that the server did not send is one that trying again soon does not help against. The driver tells
/// these apart by their words only.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let words = error.to_string();
    ["error performing TLS handshake", "authentication error", "invalid configuration"]
        .iter()
        .any(|begin| words.starts_with(begin))
}

/// What an error means for the loop, by its code.
fn sort(code: &str, cause: anyhow::Error) -> StoreError {
    match code.get(..2).unwrap_or_default() {
        "40" | "53" | "55" => StoreError::busy(cause),
        "22" | "23" | "44" => StoreError::Refused(cause),
        "54" => StoreError::Shrink(cause),
        "08" | "57" | "58" => StoreError::Lost(cause),
        // No right, no such table or column, no such database, a read-only server.
        _ => StoreError::Stop(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted() {
        let of = |code: &str| sort(code, anyhow::anyhow!("x"));
        for code in ["22P05", "22P02", "23502", "23505", "23514"] {
            assert!(matches!(of(code), StoreError::Refused(_)), "{code}");
        }
        for code in ["40001", "40P01", "53300", "53100", "55P03"] {
            assert!(matches!(of(code), StoreError::Busy { .. }), "{code}");
        }
        for code in ["57P01", "57P03", "08006", "58030"] {
            assert!(matches!(of(code), StoreError::Lost(_)), "{code}");
        }
        for code in ["42P01", "42703", "42501", "28P01", "28000", "3D000", "3F000", "25006", "0A000", ""] {
            assert!(matches!(of(code), StoreError::Stop(_)), "{code}");
        }
        assert!(matches!(of("54000"), StoreError::Shrink(_)));
    }

    #[test]
    fn addresses() {
        let context = Context::new(Arc::new(crate::context::SystemClock));
        let wrong = |to: &str| crate::loaders::open(to, &context).err().unwrap().to_string();
        assert_eq!(wrong("postgres://h/d?mode=all"), "`mode=all` is not known; there are: append, unique");
        assert_eq!(wrong("postgres://h/d?create=no"), "`create=no` is not known; there are: true, false");
        assert_eq!(
            wrong("postgres://h/d?sslmode=maybe"),
            "`sslmode=maybe` is not known; there are: disable, prefer, require, verify-full"
        );
        let said = wrong("postgres://me:secret@h/d?colour=red");
        assert!(said.contains("colour") && !said.contains("secret"), "{said}");
    }
}
