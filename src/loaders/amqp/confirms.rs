//! What a broker says of messages that were published: it numbers them itself, from one on, on each channel.

use std::collections::BTreeSet;
use std::fmt;

use amqprs::callbacks::{ChannelCallback, ConnectionCallback};
use amqprs::channel::Channel;
use amqprs::connection::Connection;
use amqprs::{Ack, BasicProperties, Cancel, Close, CloseChannel, Nack, Return};
use async_trait::async_trait;
use tokio::sync::mpsc;

/// Why the broker closed a channel or the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) code: u16,
    pub(super) words: String,
}

impl fmt::Display for Told {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} ({})", self.words, self.code)
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The broker has it.
    Taken,
    /// It could not take it.
    Refused,
    /// No queue is there for it.
    Returned,
}

enum Heard {
    Confirmed {
        number: u64,
        multiple: bool,
        is_taken: bool,
    },
    /// The next that is confirmed was returned.
    Returned,
    Closed(Told),
}

/// The side that waits.
pub(super) struct Confirms {
    heard: mpsc::UnboundedReceiver<Heard>,
    /// How many messages were confirmed before those that are waited for.
    before: u64,
    closed: Option<Told>,
}

pub(super) struct OfConnection(mpsc::UnboundedSender<Heard>);
pub(super) struct OfChannel(mpsc::UnboundedSender<Heard>);

impl Confirms {
    pub(super) fn new() -> (Self, OfConnection, OfChannel) {
        let (sender, heard) = mpsc::unbounded_channel();
        (Self { heard, before: 0, closed: None }, OfConnection(sender.clone()), OfChannel(sender))
    }

    /// Why the broker closed, if it has.
    pub(super) fn closed(&mut self) -> Option<Told> {
        while let Ok(heard) = self.heard.try_recv() {
            if let Heard::Closed(told) = heard {
                self.closed = Some(told);
            }
        }
        self.closed.clone()
    }

    /// Waits for the fates of the next so many messages.
    ///
    /// # Errors
    /// Why the broker closed, or nothing when it just ended.
    pub(super) async fn wait(&mut self, count: usize) -> Result<Vec<Fate>, Option<Told>> {
        let mut fates = vec![None; count];
        let mut open: BTreeSet<usize> = (0..count).collect();
        let mut returned = 0;
        while !open.is_empty() {
            match self.heard.recv().await {
                Some(Heard::Returned) => returned += 1,
                Some(Heard::Confirmed { number, multiple, is_taken }) => {
                    let place = usize::try_from(number - self.before - 1).unwrap_or(usize::MAX);
                    let first = if multiple { 0 } else { place };
                    let settled: Vec<usize> = open.range(first..=place).copied().collect();
                    for place in settled {
                        open.remove(&place);
                        fates[place] = Some(if is_taken { Fate::Taken } else { Fate::Refused });
                    }
                }
                Some(Heard::Closed(told)) => {
                    self.closed = Some(told.clone());
                    return Err(Some(told));
                }
                None => return Err(None),
            }
        }
        self.before += count as u64;
        let mut fates: Vec<Fate> = fates.into_iter().flatten().collect();
        // Which of them were returned is not said by number, and does not matter: one key has the same queues for all.
        fates.iter_mut().take(returned).for_each(|fate| *fate = Fate::Returned);
        Ok(fates)
    }
}

impl OfConnection {
    fn say(&self, heard: Heard) {
        // Who waited may have gone.
        self.0.send(heard).ok();
    }
}

impl OfChannel {
    fn say(&self, heard: Heard) {
        self.0.send(heard).ok();
    }
}

type Outcome<T> = Result<T, amqprs::error::Error>;

#[async_trait]
impl ConnectionCallback for OfConnection {
    async fn close(&mut self, _: &Connection, close: Close) -> Outcome<()> {
        self.say(Heard::Closed(Told { code: close.reply_code(), words: close.reply_text().clone() }));
        Ok(())
    }

    async fn blocked(&mut self, _: &Connection, reason: String) {
        tracing::warn!(%reason, "the AMQP broker has no room and takes nothing for now");
    }

    async fn unblocked(&mut self, _: &Connection) {}

    async fn secret_updated(&mut self, _: &Connection) {}
}

#[async_trait]
impl ChannelCallback for OfChannel {
    async fn close(&mut self, _: &Channel, close: CloseChannel) -> Outcome<()> {
        self.say(Heard::Closed(Told { code: close.reply_code(), words: close.reply_text().clone() }));
        Ok(())
    }

    async fn cancel(&mut self, _: &Channel, _: Cancel) -> Outcome<()> {
        Ok(())
    }

    async fn flow(&mut self, _: &Channel, active: bool) -> Outcome<bool> {
        Ok(active)
    }

    async fn publish_ack(&mut self, _: &Channel, ack: Ack) {
        self.say(Heard::Confirmed { number: ack.delivery_tag(), multiple: ack.mutiple(), is_taken: true });
    }

    async fn publish_nack(&mut self, _: &Channel, nack: Nack) {
        self.say(Heard::Confirmed { number: nack.delivery_tag(), multiple: nack.multiple(), is_taken: false });
    }

    async fn publish_return(&mut self, _: &Channel, _: Return, _: BasicProperties, _: Vec<u8>) {
        self.say(Heard::Returned);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn confirmations_come_one_by_one_and_many_at_a_time() {
        let (mut confirms, _connection, channel) = Confirms::new();
        let confirmed = |number, multiple, is_taken| channel.say(Heard::Confirmed { number, multiple, is_taken });
        confirmed(2, false, false);
        confirmed(3, true, true);
        confirmed(4, false, true);
        assert_eq!(confirms.wait(4).await.unwrap(), [Fate::Taken, Fate::Refused, Fate::Taken, Fate::Taken]);
        channel.say(Heard::Returned);
        confirmed(6, true, true);
        assert_eq!(confirms.wait(2).await.unwrap(), [Fate::Returned, Fate::Taken]);
        let told = Told { code: 404, words: "NOT_FOUND".into() };
        channel.say(Heard::Closed(told.clone()));
        assert_eq!(confirms.wait(1).await, Err(Some(told.clone())));
        assert_eq!(confirms.closed(), Some(told));
    }
}
