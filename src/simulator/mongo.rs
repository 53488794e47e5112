//! A `MongoDB` that speaks `OP_MSG` (<https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/>): the primary of
//! a replica set of one, which keeps what is inserted by the rules and with the error codes of the real one, and fails when
//! it is told to. Documents are read and written with the `bson` crate.

mod commands;
mod scram;

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mongodb::bson::{Document, deserialize_from_slice, serialize_to_vec};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use self::scram::Scram;

/// The longest message that is taken; a longer one ends the connection, as with the real one.
const MESSAGE_MAX: usize = 48_000_000;

const OP_REPLY: i32 = 1;
const OP_QUERY: i32 = 2004;
const OP_MSG: i32 = 2013;

/// Behind the sections there is a checksum.
const CHECKSUM: u32 = 1;
/// No answer is waited for.
const MORE_TO_COME: u32 = 2;

/// What goes wrong, each with its chance in a thousand inserts.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// The seed of chance.
    pub seed: u64,
    /// "Not primary", with the label that drivers retry.
    pub not_primary: u32,
    /// Everything is written, and the majority does not answer in time.
    pub write_concern: u32,
    /// The connection ends before anything was done.
    pub cut_before: u32,
    /// The connection ends after everything was done.
    pub cut_after: u32,
}

/// A running server; it ends when this is dropped.
pub struct Mongo {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    _accepting: AbortOnDropHandle<()>,
}

/// What it has.
#[derive(Default)]
pub struct State {
    /// Documents by `database.collection`, then by what is in `_id`, as it is in JSON.
    pub documents: BTreeMap<String, BTreeMap<String, Document>>,
    /// Fields that no two documents of a collection may have alike.
    pub unique: BTreeMap<String, String>,
    /// Who may log in, and with which password; when there is somebody, all else is refused to others.
    pub users: BTreeMap<String, String>,
    /// A fixed error to every insert instead, such as 13.
    pub refuse: Option<(i32, &'static str)>,
    /// Whether nothing goes wrong any more.
    pub is_well: bool,
    /// Where it says that it is, if that is not where it listens: a driver goes where it is told.
    pub announced: Option<SocketAddr>,
    /// How many inserts came.
    pub inserts: u64,
    /// The last numbered write of each session, and what was answered: a driver that retries must get the same.
    answered: BTreeMap<String, (i64, Document)>,
}

/// What a connection has said of itself.
#[derive(Default)]
pub(super) struct Peer {
    pub(super) is_known: bool,
    pub(super) login: Option<Scram>,
}

impl Mongo {
    /// Starts one on loopback; port 0 is any free one.
    ///
    /// # Errors
    /// When the port is taken.
    pub async fn start(port: u16, faults: Faults) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let server = Arc::new(Server {
            address,
            faults,
            random: Mutex::new(StdRng::seed_from_u64(faults.seed)),
            state: Arc::clone(&state),
        });
        let accepting = AbortOnDropHandle::new(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let server = Arc::clone(&server);
                // A connection that breaks is the other side's concern.
                connections.spawn(async move { server.serve(socket).await.ok() });
                while connections.try_join_next().is_some() {}
            }
        }));
        Ok(Self { address, state, _accepting: accepting })
    }

    /// Where it listens: host and port.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// What it has, to look at and to change.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Server {
    address: SocketAddr,
    faults: Faults,
    random: Mutex<StdRng>,
    state: Arc<Mutex<State>>,
}

/// One message as it came.
struct Message {
    id: i32,
    is_query: bool,
    wants_answer: bool,
    command: Document,
}

/// What becomes of an answer.
enum Fate {
    Whole,
    CutBefore,
    CutAfter,
}

impl Server {
    async fn serve(&self, mut socket: TcpStream) -> io::Result<()> {
        let mut peer = Peer::default();
        loop {
            let message = read(&mut socket).await?;
            let fate = self.fate(&message.command);
            if matches!(fate, Fate::CutBefore) {
                return Ok(());
            }
            let answer = {
                let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let faults = if state.is_well { Faults::default() } else { self.faults };
                let mut chance = |in_thousand: u32| random.random_range(0..1_000) < in_thousand;
                commands::answer(&mut state, &mut peer, &message.command, self.address, &faults, &mut chance)
            };
            if matches!(fate, Fate::CutAfter) {
                return Ok(());
            }
            if message.wants_answer {
                socket.write_all(&written(&message, &answer)).await?;
            }
        }
    }

    fn fate(&self, command: &Document) -> Fate {
        let is_well = self.state.lock().unwrap_or_else(PoisonError::into_inner).is_well;
        if is_well || !command.contains_key("insert") {
            return Fate::Whole;
        }
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let mut happens = |in_thousand: u32| random.random_range(0..1_000) < in_thousand;
        if happens(self.faults.cut_before) {
            Fate::CutBefore
        } else if happens(self.faults.cut_after) {
            Fate::CutAfter
        } else {
            Fate::Whole
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

async fn read(socket: &mut TcpStream) -> io::Result<Message> {
    let mut head = [0; 16];
    socket.read_exact(&mut head).await?;
    let number = |at: usize| i32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (length, id, code) = (number(0), number(4), number(12));
    let length = usize::try_from(length).ok().filter(|length| (16..=MESSAGE_MAX).contains(length));
    let mut body = vec![0; length.ok_or_else(|| wrong("a length that is none"))? - 16];
    socket.read_exact(&mut body).await?;
    match code {
        OP_MSG => message(id, &body),
        OP_QUERY => query(id, &body),
        other => Err(wrong(&format!("operation {other} is not known"))),
    }
}

/// Reads from the front of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or_else(|| wrong("a message that ends too soon"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self) -> io::Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn document(&mut self) -> io::Result<Document> {
        let length = Reader(self.0).number()? as usize;
        deserialize_from_slice(self.take(length)?).map_err(io::Error::other)
    }

    fn text(&mut self) -> io::Result<String> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(|| wrong("a name without an end"))?;
        let text = String::from_utf8_lossy(self.take(end)?).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

fn message(id: i32, body: &[u8]) -> io::Result<Message> {
    let mut reader = Reader(body);
    let flags = reader.number()?;
    if flags & CHECKSUM != 0 {
        reader.0 = &reader.0[..reader.0.len().saturating_sub(4)];
    }
    let (mut command, mut sequences) = (None, Vec::new());
    while !reader.0.is_empty() {
        match reader.take(1)?[0] {
            0 => command = Some(reader.document()?),
            1 => {
                let length = Reader(reader.0).number()? as usize;
                let mut section = Reader(reader.take(length)?);
                section.take(4)?;
                let name = section.text()?;
                let mut documents = Vec::new();
                while !section.0.is_empty() {
                    documents.push(section.document()?);
                }
                sequences.push((name, documents));
            }
            other => return Err(wrong(&format!("a section of kind {other}"))),
        }
    }
    let mut command = command.ok_or_else(|| wrong("a message without a command"))?;
    command.extend(sequences.into_iter().map(|(name, documents)| (name, documents.into())));
    Ok(Message { id, is_query: false, wants_answer: flags & MORE_TO_COME == 0, command })
}

/// The old form, in which clients may say hello.
fn query(id: i32, body: &[u8]) -> io::Result<Message> {
    let mut reader = Reader(body);
    reader.number()?;
    let name = reader.text()?;
    reader.take(8)?;
    let command = reader.document()?;
    let is_hello = name.ends_with(".$cmd") && command.keys().next().is_some_and(|name| commands::is_hello(name));
    if !is_hello {
        return Err(wrong("only a hello may come in the old form"));
    }
    Ok(Message { id, is_query: true, wants_answer: true, command })
}

fn written(message: &Message, answer: &Document) -> Vec<u8> {
    let document = serialize_to_vec(answer).expect("invariant: our own documents can be written");
    let mut body = Vec::new();
    if message.is_query {
        body.extend_from_slice(&[0; 16]);
        body.extend_from_slice(&1_i32.to_le_bytes());
    } else {
        body.extend_from_slice(&[0; 5]);
    }
    body.extend_from_slice(&document);
    let length = i32::try_from(body.len() + 16).expect("invariant: answers are short");
    let code = if message.is_query { OP_REPLY } else { OP_MSG };
    let mut bytes = Vec::with_capacity(body.len() + 16);
    for number in [length, message.id.wrapping_add(1), message.id, code] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&body);
    bytes
}
