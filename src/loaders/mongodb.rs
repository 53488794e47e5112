//! `MongoDB`, with its official driver: an unordered insert of documents whose `_id` is the record's id.
//!
//! That makes each record be there once: what comes again is a duplicate key (11000) on `_id`, which is a success. A
//! duplicate on another index is a record that will never be taken. Error codes:
//! <https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml>; the driver fills in no inserted ids when
//! some failed (RUST-1488), so it is the errors that say what became of which record.

mod convert;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::{RawDocumentBuf, doc};
use mongodb::error::{Error, ErrorKind, InsertManyError, WriteFailure};
use mongodb::options::{Acknowledgment, ClientOptions, WriteConcern};
use mongodb::{Client, Collection};

use crate::context::{Context, install_crypto};
use crate::store::{Batch, Feed, Limits, Mark, Sent, Store, StoreError, StoreKind, Target, expand_stream};

use convert::{Times, document};

/// The line of the list.
pub const KIND: StoreKind = StoreKind {
    name: "mongodb",
    schemes: &["mongodb", "mongodb+srv"],
    about: "MongoDB, Atlas, and what speaks its protocol: a document for each record, in a collection for each stream.",
    once: "the record's id as `_id`; a duplicate key there is a success",
    example: "mongodb://me:secret@localhost/live?authSource=admin&collection={stream}",
    options: OPTIONS,
    limits: Limits { records: 2_000, bytes: 4 << 20, wait: Duration::ZERO, closed: false },
    open,
};

const OPTIONS: &[(&str, &str)] = &[
    ("collection", "the collection of a stream; `{stream}` by default"),
    ("times", "`date` (default, to the millisecond) or `text` (to the microsecond, as in the line)"),
];

/// How long the driver looks for a server before the connection counts as lost.
const SELECTION_MAX: Duration = Duration::from_secs(10);

/// The most bytes of one document, unless the server is of another mind
/// (<https://www.mongodb.com/docs/manual/reference/limits/#bson-documents>).
const DOCUMENT_MAX: usize = 16 << 20;

struct Mongo {
    /// With user and password: not to be shown.
    address: String,
    shown: String,
    collection: String,
    times: Times,
    client: Option<Client>,
    collections: HashMap<Arc<str>, Collection<RawDocumentBuf>>,
}

fn open(mut target: Target, _: &Context) -> anyhow::Result<Box<dyn Store>> {
    install_crypto();
    let shown = target.to_string();
    let collection = target.take("collection").unwrap_or_else(|| "{stream}".to_owned());
    let times = match target.take("times").as_deref() {
        None | Some("date") => Times::Date,
        Some("text") => Times::Text,
        Some(other) => anyhow::bail!("`times={other}` is not known; there are: date, text"),
    };
    let named = target.path().len() > 1;
    anyhow::ensure!(named, "the address names no database; write `{}://{}/live`", target.scheme(), target.hosts());
    let address = target.for_driver(target.scheme());
    Ok(Box::new(Mongo { address, shown, collection, times, client: None, collections: HashMap::new() }))
}

impl Mongo {
    /// What the address says, and what makes an answer mean that it is on disk at most of the servers.
    async fn options(&self) -> Result<ClientOptions, StoreError> {
        let wrong = |error: Error| {
            let cause = anyhow::anyhow!("{} is no address of MongoDB: {}", self.shown, words(&error));
            match *error.kind {
                ErrorKind::DnsResolve { .. } | ErrorKind::Io(_) => StoreError::Lost(cause),
                _ => StoreError::Stop(cause),
            }
        };
        let mut options = ClientOptions::parse(&self.address).await.map_err(wrong)?;
        options.app_name.get_or_insert_with(|| "tapline".to_owned());
        options.server_selection_timeout.get_or_insert(SELECTION_MAX);
        options.connect_timeout.get_or_insert(SELECTION_MAX);
        let concern = options.write_concern.get_or_insert_with(WriteConcern::default);
        if concern.w.is_none() {
            concern.w = Some(Acknowledgment::Majority);
        }
        if concern.journal.is_none() {
            concern.journal = Some(true);
        }
        Ok(options)
    }

    fn sorted(&self, error: &Error) -> StoreError {
        sort(error, anyhow::anyhow!("MongoDB at {}: {}", self.shown, words(error)))
    }
}

#[async_trait]
impl Store for Mongo {
    async fn connect(&mut self) -> Result<(), StoreError> {
        self.collections.clear();
        let options = self.options().await?;
        let database = options.default_database.clone().unwrap_or_default();
        let client = Client::with_options(options).map_err(|error| self.sorted(&error))?;
        let asked = client.database(&database).run_command(doc! { "ping": 1 }).await;
        asked.map_err(|error| self.sorted(&error))?;
        self.client = Some(client);
        Ok(())
    }

    async fn begin(&mut self, feed: &Feed) -> Result<Mark, StoreError> {
        let database = self.client.as_ref().and_then(Client::default_database);
        let database = database.ok_or_else(|| StoreError::Lost(anyhow::anyhow!("not connected")))?;
        let collection = database.collection(&expand_stream(&self.collection, &feed.stream, "_"));
        self.collections.insert(Arc::clone(&feed.stream), collection);
        Ok(Mark::Unknown)
    }

    async fn send(&mut self, batch: &Batch) -> Result<Sent, StoreError> {
        let collection = self.collections.get(batch.stream());
        let collection =
            collection.ok_or_else(|| StoreError::Moved(anyhow::anyhow!("the stream has not been taken up")))?;
        let (mut documents, mut places) = (Vec::with_capacity(batch.len()), Vec::with_capacity(batch.len()));
        let mut sent = Sent::default();
        for (index, entry) in batch.iter().enumerate() {
            match document(&entry, self.times) {
                Ok(document) if document.as_bytes().len() > DOCUMENT_MAX => {
                    let length = document.as_bytes().len();
                    sent.dead.push((
                        index,
                        format!("as a document it has {length} bytes, and MongoDB takes {DOCUMENT_MAX}"),
                    ));
                }
                Ok(document) => {
                    documents.push(document);
                    places.push(index);
                }
                Err(why) => sent.dead.push((index, why)),
            }
        }
        if documents.is_empty() {
            return Ok(sent);
        }
        match collection.insert_many(documents).ordered(false).await {
            Ok(_) => Ok(sent),
            Err(error) => match &*error.kind {
                ErrorKind::InsertMany(failed) => {
                    sort_items(failed, &places, &mut sent, &self.shown)?;
                    Ok(sent)
                }
                _ => Err(self.sorted(&error)),
            },
        }
    }

    fn preview(&self, batch: &Batch) -> String {
        let collection = expand_stream(&self.collection, batch.stream(), "_");
        let first = batch.iter().next().map(|entry| document(&entry, self.times));
        let first = match first {
            Some(Ok(document)) => format!("{document:?}"),
            Some(Err(why)) => why,
            None => String::new(),
        };
        format!(
            "{}: insert into {collection}, ordered: false, {} documents of which this is the first\n{first}",
            self.shown,
            batch.len()
        )
    }
}

/// What became of each record that has an error. `places` are the indices of those that were sent.
fn sort_items(failed: &InsertManyError, places: &[usize], sent: &mut Sent, shown: &str) -> Result<(), StoreError> {
    for error in failed.write_errors.iter().flatten() {
        let Some(place) = places.get(error.index).copied() else { continue };
        let why = format!("{}: {}", error.code, error.message);
        let cause = || anyhow::anyhow!("MongoDB at {shown}: {why}");
        match meaning(error.code) {
            Meaning::Duplicate if is_of_id(&error.message) => sent.exists += 1,
            Meaning::Again => sent.retry.push((place, why)),
            Meaning::Stop => return Err(StoreError::Stop(cause())),
            _ => sent.dead.push((place, why)),
        }
    }
    // Written, and not as safely as was asked for: what comes again is there, and answered for then.
    match &failed.write_concern_error {
        Some(error) if matches!(meaning(error.code), Meaning::Stop) => {
            Err(StoreError::Stop(anyhow::anyhow!("MongoDB at {shown}: {}: {}", error.code, error.message)))
        }
        Some(error) => Err(StoreError::busy(anyhow::anyhow!("MongoDB at {shown}: {}: {}", error.code, error.message))),
        None => Ok(()),
    }
}

/// Whether a duplicate key is that of `_id`: the index is in the message of every version
/// (`E11000 duplicate key error collection: live.bse index: _id_ dup key: …`).
fn is_of_id(message: &str) -> bool {
    message.contains("index: _id_ ") || message.contains("index: _id_\"") || message.contains("$_id_ ")
}

enum Meaning {
    Duplicate,
    /// It passes by itself.
    Again,
    /// Somebody must act.
    Stop,
    TooLarge,
    /// What a record says cannot be stored.
    Data,
    Other,
}

fn meaning(code: i32) -> Meaning {
    match code {
        11000 | 11001 | 12582 => Meaning::Duplicate,
        // Those that drivers retry (specification "retryable writes"), time-outs, conflicts, no room.
        6 | 7 | 24 | 50 | 64 | 89 | 91 | 112 | 133 | 134 | 189 | 202 | 216 | 262 | 317 | 358 | 391 | 9001 | 10058
        | 10107 | 11600 | 11602 | 13388 | 13435 | 13436 | 14031 => Meaning::Again,
        // Login, rights, names, views, what the server cannot do at all.
        11 | 13 | 18 | 20 | 26 | 33 | 59 | 72 | 73 | 79 | 100 | 166 | 323 | 8000 | 13297 | 20250 => Meaning::Stop,
        10334 | 17280 | 17419 | 17420 => Meaning::TooLarge,
        2 | 9 | 14 | 15 | 22 | 51 | 52 | 53 | 55 | 56 | 57 | 121 => Meaning::Data,
        _ => Meaning::Other,
    }
}

/// What an error of a whole call means for the loop.
fn sort(error: &Error, cause: anyhow::Error) -> StoreError {
    let code = match &*error.kind {
        ErrorKind::Command(command) => Some(command.code),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => Some(error.code),
        ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
        _ => None,
    };
    if let Some(code) = code {
        return match meaning(code) {
            Meaning::Stop => StoreError::Stop(cause),
            Meaning::TooLarge => StoreError::Shrink(cause),
            Meaning::Data | Meaning::Duplicate => StoreError::Refused(cause),
            Meaning::Again | Meaning::Other => StoreError::busy(cause),
        };
    }
    match &*error.kind {
        ErrorKind::Authentication { .. }
        | ErrorKind::InvalidTlsConfig { .. }
        | ErrorKind::IncompatibleServer { .. }
        | ErrorKind::SessionsNotSupported => StoreError::Stop(cause),
        ErrorKind::InvalidArgument { .. } | ErrorKind::BsonSerialization(_) | ErrorKind::Bson(_) => {
            StoreError::Refused(cause)
        }
        // A server that refuses the login is none that could be selected, and the driver says so only in words.
        ErrorKind::ServerSelection { message, .. } if message.contains("uthentication failed") => {
            StoreError::Stop(cause)
        }
        _ => StoreError::Lost(cause),
    }
}

/// The error in words, with nothing of the address in it.
fn words(error: &Error) -> String {
    match &*error.kind {
        ErrorKind::Command(command) => format!("{} ({}): {}", command.code, command.code_name, command.message),
        ErrorKind::InvalidArgument { message, .. } | ErrorKind::Authentication { message, .. } => message.clone(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, deserialize_from_document};

    use super::*;

    fn failed(errors: Vec<Document>) -> InsertManyError {
        deserialize_from_document(doc! { "writeErrors": errors }).unwrap()
    }

    #[test]
    fn each_record_has_its_outcome() {
        let errors = vec![
            doc! { "index": 0, "code": 11000, "errmsg": "E11000 duplicate key error collection: live.bse index: _id_ dup key: { _id: \"r_1\" }" },
            doc! { "index": 1, "code": 11000, "errmsg": "E11000 duplicate key error collection: live.bse index: data.n_1 dup key: { data.n: 1 }" },
            doc! { "index": 2, "code": 121, "errmsg": "Document failed validation" },
            doc! { "index": 3, "code": 91, "errmsg": "The server is in quiesce mode and will shut down" },
            doc! { "index": 4, "code": 99999, "errmsg": "nobody knows" },
        ];
        let mut sent = Sent::default();
        sort_items(&failed(errors), &[0, 2, 4, 6, 8], &mut sent, "it").unwrap();
        assert_eq!(sent.exists, 1);
        assert_eq!(sent.dead.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [2, 4, 8]);
        assert_eq!(sent.retry.iter().map(|(place, _)| *place).collect::<Vec<_>>(), [6]);
        let no_right = failed(vec![doc! { "index": 0, "code": 13, "errmsg": "not authorized on live" }]);
        assert!(matches!(sort_items(&no_right, &[0], &mut Sent::default(), "it"), Err(StoreError::Stop(_))));
    }

    #[test]
    fn what_was_not_made_safe_comes_again() {
        let answer = doc! { "writeErrors": [], "writeConcernError": { "code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out" } };
        let failed: InsertManyError = deserialize_from_document(answer).unwrap();
        assert!(matches!(sort_items(&failed, &[0], &mut Sent::default(), "it"), Err(StoreError::Busy { .. })));
    }

    #[test]
    fn addresses() {
        let context = Context::new(Arc::new(crate::context::SystemClock));
        let wrong = |to: &str| crate::loaders::open(to, &context).err().unwrap().to_string();
        assert_eq!(wrong("mongodb://me:word@h"), "the address names no database; write `mongodb://h/live`");
        assert_eq!(wrong("mongodb://h/live?times=local"), "`times=local` is not known; there are: date, text");
    }
}
