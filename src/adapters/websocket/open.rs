//! How a connection is made: asked for, told what is wanted, and agreed to.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use data_encoding::BASE64;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Websocket;
use super::decode::Decode;
use super::dictionary::{Dictionary, Held};
use super::sequence::Sequences;
use super::settings::{Format, ResumeKeys, SequenceScope};
use super::socket::{Incoming, Socket, Watch};
use crate::context::Context;
use crate::fetch::Request;
use crate::fetch::live::NotOpen;
use crate::fetch::upgrade::Handshake;
use crate::message::{Condition, Places, Reader};
use crate::resume::{Resumed, Spot, is_about_the_place};
use crate::source::SourceError;

/// So many messages are said at once; then one each quarter of a second, because servers count them (Binance takes five a
/// second).
const SAID_AT_ONCE: usize = 4;
const PAUSE: Duration = Duration::from_millis(250);

/// What came while something else was waited for, at most.
const EARLY_BYTES_MAX: usize = 8 << 20;

/// How many characters of a message are shown.
const WORDS_MAX: usize = 300;

/// What a source's file says, ready for use.
pub(super) struct Terms {
    settings: Websocket,
    request: Request,
    said: Vec<String>,
    watch: Watch,
    pub(super) message_max: usize,
    pub(super) is_text: bool,
    dictionary: Dictionary,
    pub(super) reader: Reader,
    pub(super) ack: Option<Condition>,
    pub(super) errors: Vec<Condition>,
    pub(super) rotate_on: Option<Condition>,
    pub(super) rotate: Option<Duration>,
    /// The numbers of places that are looked for: the sequence's, which sequence, the place to go on from.
    pub(super) sequence: Option<(usize, Option<usize>, SequenceScope)>,
    pub(super) resume: Option<(usize, ResumeKeys)>,
}

/// A connection that was agreed to.
pub(super) struct Open {
    pub(super) socket: Socket,
    pub(super) decode: Decode,
    /// Why its messages are not compressed, although that is wanted.
    pub(super) plain_because: Option<String>,
    /// Messages that came while agreement was waited for.
    pub(super) early: VecDeque<Incoming>,
    pub(super) since: Instant,
    /// Of a sequence that begins anew with each connection.
    pub(super) sequences: Sequences,
    pub(super) resumed: Option<Resumed>,
}

impl Terms {
    /// # Errors
    /// What is wrong with the file, or with the file of a dictionary.
    pub(super) fn new(settings: Websocket, context: &Context) -> anyhow::Result<Self> {
        let request = settings.request().map_err(|problems| {
            let words: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
            anyhow!(words.join("; "))
        })?;
        let mut places = Places::default();
        let sequence = settings.sequence.as_ref().map(|keys| {
            let map = &keys.0;
            (places.add(&map.at), map.per.as_ref().map(|per| places.add(per)), map.across)
        });
        let resume = settings.resume.as_ref().map(|keys| (places.add(&keys.from), keys.clone()));
        let ack = settings.ack.as_ref().map(|condition| condition.compile(&mut places));
        let errors = settings.errors.iter().map(|condition| condition.compile(&mut places)).collect();
        let rotate_on = settings.rotate_on.as_ref().map(|condition| condition.compile(&mut places));
        let message_max = usize::try_from(settings.max_message.0).unwrap_or(usize::MAX);
        Ok(Self {
            reader: settings.message.reader_with(context.source(), places)?,
            said: settings.subscribe.iter().map(text_of).collect(),
            watch: Watch {
                ping: settings.ping.0,
                ping_message: settings.ping_message.as_ref().map(text_of),
                idle: settings.idle.0,
            },
            dictionary: Dictionary::new(settings.dictionary.as_ref(), &settings.ask)?,
            is_text: settings.format == Format::Text,
            rotate: settings.rotate.map(|age| age.0),
            request,
            message_max,
            sequence,
            resume,
            ack,
            errors,
            rotate_on,
            settings,
        })
    }

    /// The request, going on from where it was read to, for messages that are compressed with this dictionary.
    fn request(&self, spot: &Spot, held: Option<&Held>) -> (Request, bool) {
        let mut request = self.request.clone();
        if let Some((name, value)) = held.and_then(|held| held.parameter.as_ref()) {
            request.url.query_pairs_mut().append_pair(name, value);
        }
        let asked = self.resume.as_ref().and_then(|(_, keys)| Some((&keys.query, spot.asked(keys.rewind)?)));
        let is_asked = asked.is_some();
        if let Some((name, place)) = asked {
            // What the file has as a beginning counts no more.
            let kept: Vec<(String, String)> = request
                .url
                .query_pairs()
                .filter(|(known, _)| known != name)
                .map(|(name, value)| (name.into_owned(), value.into_owned()))
                .collect();
            request.url.query_pairs_mut().clear().extend_pairs(kept).append_pair(name, &place);
        }
        (request, is_asked)
    }

    /// What a message means that is none of the records: an agreement, or that something is wrong.
    ///
    /// # Errors
    /// When upstream says that something is wrong.
    pub(super) fn is_ack(&self, message: &RawValue) -> Result<bool, SourceError> {
        if self.ack.is_none() && self.errors.is_empty() {
            return Ok(false);
        }
        let found = self.reader.look(message);
        if self.errors.iter().any(|condition| condition.is_met(&found)) {
            return Err(said_no(message.get()));
        }
        Ok(self.ack.as_ref().is_some_and(|condition| condition.is_met(&found)))
    }
}

/// The driver's instruction, when upstream has said that something is wrong.
pub(super) fn said_no(message: &str) -> SourceError {
    let words: String = message.chars().take(WORDS_MAX).collect();
    SourceError::Failing(anyhow!("the server says that something is wrong: {}", words.escape_debug()))
}

fn text_of(message: &Value) -> String {
    match message {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Makes a connection.
///
/// # Errors
/// When there is none, or what was said is not agreed to.
pub(super) async fn open(terms: Arc<Terms>, context: Context, spot: Spot) -> Result<Open, NotOpen> {
    let (held, plain_because) = match terms.dictionary.held(&context).await {
        Ok(held) => (held, None),
        Err(why) if terms.dictionary.is_asked_for() => (None, Some(why)),
        Err(why) => return Err(SourceError::Lost(anyhow!(why)).into()),
    };
    let refused = match connect(&terms, &context, &spot, held.as_ref()).await {
        Ok(open) => return Ok(Open { plain_because, ..open }),
        Err(refused) => refused,
    };
    let is_in_doubt = |held: &Held| held.parameter.is_some() && refused.status.is_some_and(is_about_the_place);
    let Some(held) = held.filter(is_in_doubt) else { return Err(refused) };
    // The server may have another dictionary by now.
    let fresh = terms.dictionary.anew(&context).await.ok().flatten();
    if let Some(fresh) = fresh.filter(|fresh| fresh.parameter != held.parameter)
        && let Ok(open) = connect(&terms, &context, &spot, Some(&fresh)).await
    {
        return Ok(open);
    }
    let Ok(plain) = connect(&terms, &context, &spot, None).await else { return Err(refused) };
    Ok(Open { plain_because: Some(format!("the server does not take the dictionary: {}", refused.words())), ..plain })
}

async fn connect(terms: &Terms, context: &Context, spot: &Spot, held: Option<&Held>) -> Result<Open, NotOpen> {
    let (request, is_asked) = terms.request(spot, held);
    let mut fetcher =
        terms.settings.ask.fetcher_of_websockets(context, Some(&request.url)).map_err(SourceError::Refused)?;
    let nonce = blake3::hash(context.random_token().as_bytes());
    let key = BASE64.encode(&nonce.as_bytes()[..16]);
    let accept = derive_accept_key(key.as_bytes());
    let handshake = Handshake { key, accept, protocols: terms.settings.protocols.clone() };
    let upgraded = fetcher.upgrade(&request, &handshake).await?;
    let mut socket = Socket::new(upgraded, terms.watch.clone(), terms.message_max).await;
    let mut decode = Decode::new(terms.settings.binary, held.map(|held| held.bytes.as_slice()), terms.message_max)?;
    let early = begun(terms, &mut socket, &mut decode).await.map_err(accepted)?;
    let rewind = terms.resume.as_ref().filter(|_| is_asked).map(|(_, keys)| keys.rewind);
    let resumed = rewind.and_then(|rewind| Resumed::new(spot, Some(rewind), context.now()));
    Ok(Open {
        socket,
        decode,
        plain_because: None,
        early,
        since: Instant::now(),
        sequences: Sequences::default(),
        resumed,
    })
}

/// What an end means that comes before anything was agreed to: a server that accepts and closes is not asked again as soon as one
/// that cannot be reached.
fn accepted(error: SourceError) -> SourceError {
    match error {
        SourceError::Lost(cause) => {
            SourceError::Failing(cause.context("the server accepts the connection and ends it"))
        }
        error => error,
    }
}

/// Says what is to be said, and waits until it is agreed to. What else came meanwhile.
async fn begun(terms: &Terms, socket: &mut Socket, decode: &mut Decode) -> Result<VecDeque<Incoming>, SourceError> {
    for (index, text) in terms.said.iter().enumerate() {
        if index >= SAID_AT_ONCE {
            tokio::time::sleep(PAUSE).await;
        }
        socket.say(text).await?;
    }
    agreed(terms, socket, decode).await
}

/// Waits until upstream has agreed to everything that was said. What else comes meanwhile is kept.
async fn agreed(terms: &Terms, socket: &mut Socket, decode: &mut Decode) -> Result<VecDeque<Incoming>, SourceError> {
    let (mut early, mut bytes) = (VecDeque::new(), 0);
    let within = terms.settings.ack_within;
    let (until, mut missing) = (Instant::now() + within.0, terms.said.len());
    while terms.ack.is_some() && missing > 0 {
        let Some(incoming) = socket.next(Some(until)).await? else {
            let of = terms.said.len();
            return Err(SourceError::Failing(anyhow!(
                "{missing} of {of} messages of `subscribe` were not agreed to within {within}"
            )));
        };
        let text = match &incoming {
            Incoming::Text(text) => Some(Cow::Borrowed(text.as_str())),
            Incoming::Binary(bytes) => decode.text(bytes).ok().flatten(),
        };
        let message = text.as_deref().and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
        let is_ack = message.map_or(Ok(false), |message| terms.is_ack(message))?;
        if is_ack {
            missing -= 1;
        } else if bytes < EARLY_BYTES_MAX {
            bytes += incoming.len();
            early.push_back(incoming);
        } else {
            return Err(SourceError::Failing(anyhow!(
                "{EARLY_BYTES_MAX} bytes came before what was said was agreed to; see `ack`"
            )));
        }
    }
    Ok(early)
}
