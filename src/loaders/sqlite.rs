//! `SQLite`: one file, for those who have no server.
//!
//! A table for each stream, with the envelope in columns and `data` as JSON text, token for token. A record is there
//! once by the primary key on `id`; how far a stream is, is a row that the same transaction writes, so that the file
//! itself says where to go on. Result codes: <https://sqlite.org/rescode.html>.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};

use crate::context::Context;
use crate::sink::Position;
use crate::store::{Batch, Feed, Limits, Mark, Sent, Store, StoreError, StoreKind, Target, expand_stream};

/// The line of the list.
pub const KIND: StoreKind = StoreKind {
    name: "sqlite",
    schemes: &["sqlite"],
    about: "One file with a table for each stream; needs no server.",
    once: "primary key `id`, and the position in the same transaction",
    example: "sqlite:data/tapline.db",
    options: OPTIONS,
    limits: Limits { records: 10_000, bytes: 4 << 20, wait: Duration::ZERO, closed: false },
    open,
};

const OPTIONS: &[(&str, &str)] = &[("table", "the table of a stream; `{stream}` by default")];

/// How long another program may hold the file before it counts as busy.
const BUSY_MAX: Duration = Duration::from_secs(5);

const POSITIONS: &str = "CREATE TABLE IF NOT EXISTS tapline_positions (
    origin TEXT NOT NULL, stream TEXT NOT NULL, segment INTEGER NOT NULL, byte INTEGER NOT NULL,
    PRIMARY KEY (origin, stream)) WITHOUT ROWID";

struct Sqlite {
    path: PathBuf,
    table: String,
    /// With the thread that works on it, or lost with one that was given up.
    connection: Option<Connection>,
    /// The table of each stream, as it stands in SQL.
    tables: HashMap<Arc<str>, Arc<str>>,
}

fn open(mut target: Target, _: &Context) -> anyhow::Result<Box<dyn Store>> {
    target.finish(OPTIONS)?;
    let path = PathBuf::from(format!("{}{}", target.hosts(), target.path()));
    anyhow::ensure!(!path.as_os_str().is_empty(), "the address names no file; write `sqlite:data/tapline.db`");
    let table = target.take("table").unwrap_or_else(|| "{stream}".to_owned());
    Ok(Box::new(Sqlite { path, table, connection: None, tables: HashMap::new() }))
}

impl Sqlite {
    /// Works on the file on a thread that may wait for the disk.
    async fn work<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Some(mut connection) = self.connection.take() else {
            return Err(StoreError::Lost(anyhow::anyhow!("the file is not open")));
        };
        let worked = tokio::task::spawn_blocking(move || {
            let result = work(&mut connection);
            (connection, result)
        });
        let (connection, result) = worked.await.map_err(|error| StoreError::Lost(error.into()))?;
        self.connection = Some(connection);
        result.map_err(|error| sorted(error, &self.path))
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn connect(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(BUSY_MAX)?;
            // Readers do not wait for the loader, nor it for them.
            connection.pragma_update(None, "journal_mode", "wal")?;
            connection.pragma_update(None, "synchronous", "normal")?;
            connection.execute(POSITIONS, [])?;
            Ok(connection)
        });
        let opened = opened.await.map_err(|error| StoreError::Lost(error.into()))?;
        self.connection = Some(opened.map_err(|error| sorted(error, &self.path))?);
        Ok(())
    }

    /// Makes no file where there is none.
    async fn look(&mut self) -> Result<(), StoreError> {
        let path = self.path.clone();
        let looked = tokio::task::spawn_blocking(move || look(&path).map_err(|error| sorted(error, &path)));
        looked.await.map_err(|error| StoreError::Lost(error.into()))?
    }

    async fn begin(&mut self, feed: &Feed) -> Result<Mark, StoreError> {
        let table: Arc<str> = quoted(&expand_stream(&self.table, &feed.stream, "_")).into();
        self.tables.insert(Arc::clone(&feed.stream), Arc::clone(&table));
        let feed = feed.clone();
        let found = self.work(move |connection| {
            connection.execute(
                &format!(
                    "CREATE TABLE IF NOT EXISTS {table} (id TEXT PRIMARY KEY NOT NULL, observed_at TEXT, source TEXT, type TEXT, published_at TEXT, data TEXT NOT NULL)"
                ),
                [],
            )?;
            let row = connection.query_row(
                "SELECT segment, byte FROM tapline_positions WHERE origin = ?1 AND stream = ?2",
                params![&*feed.origin, &*feed.stream],
                |row| Ok(Position { segment: row.get(0)?, offset: row.get(1)? }),
            );
            row.optional()
        });
        Ok(found.await?.map_or(Mark::Nothing, Mark::At))
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        let table = self.tables.get(batch.stream()).cloned();
        let table = table.ok_or_else(|| StoreError::Moved(anyhow::anyhow!("the stream has not been taken up")))?;
        let batch = batch.clone();
        self.work(move |connection| insert(connection, &table, &batch)).await
    }

    fn preview(&self, batch: &Batch) -> String {
        let table = quoted(&expand_stream(&self.table, batch.stream(), "_"));
        let first: String = batch.iter().next().and_then(|entry| entry.id().ok().map(Into::into)).unwrap_or_default();
        format!("{}: {}\nwith {} rows, the first of id {first}", self.path.display(), insert_into(&table), batch.len())
    }
}

/// Whether the file is a database that can be written, or there is a folder to make it in.
fn look(path: &Path) -> rusqlite::Result<()> {
    if !path.exists() && path.parent().is_none_or(|dir| dir.as_os_str().is_empty() || dir.is_dir()) {
        return Ok(());
    }
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.busy_timeout(BUSY_MAX)?;
    // A lock of a writer, and nothing written.
    connection.execute_batch("BEGIN IMMEDIATE; ROLLBACK")
}

/// Not `OR IGNORE`, which would also drop in silence what a constraint of the user's refuses.
fn insert_into(table: &str) -> String {
    format!(
        "INSERT INTO {table} (id, observed_at, source, type, published_at, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT (id) DO NOTHING"
    )
}

fn insert(connection: &mut Connection, table: &str, batch: &Batch) -> rusqlite::Result<Sent> {
    let mut sent = Sent::default();
    let transaction = connection.transaction()?;
    {
        let mut statement = transaction.prepare(&insert_into(table))?;
        for (index, entry) in batch.iter().enumerate() {
            match entry.parts() {
                Ok(parts) => {
                    let row = params![
                        parts.id,
                        parts.observed_at,
                        parts.source,
                        parts.kind,
                        parts.published_at,
                        parts.data.get()
                    ];
                    if statement.execute(row)? == 0 {
                        sent.exists += 1;
                    }
                }
                Err(reason) => sent.dead.push((index, reason)),
            }
        }
    }
    let (feed, to) = (batch.feed(), batch.to());
    transaction.execute(
        "INSERT INTO tapline_positions (origin, stream, segment, byte) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (origin, stream) DO UPDATE SET segment = excluded.segment, byte = excluded.byte",
        params![&*feed.origin, &*feed.stream, to.segment, to.offset],
    )?;
    transaction.commit()?;
    Ok(sent)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// What a failure means for the loop.
fn sorted(error: rusqlite::Error, path: &Path) -> StoreError {
    let code = error.sqlite_error_code();
    let cause = Err::<(), _>(error).with_context(|| format!("SQLite, {}", path.display())).expect_err("it is an error");
    match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
            StoreError::busy(cause)
        }
        Some(ErrorCode::TooBig) => StoreError::Shrink(cause),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) => StoreError::Refused(cause),
        Some(ErrorCode::SystemIoFailure | ErrorCode::SchemaChanged) => StoreError::Lost(cause),
        // No room, no right, no database, another table of this name: somebody must act.
        _ => StoreError::Stop(cause),
    }
}
