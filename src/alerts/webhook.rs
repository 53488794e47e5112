//! A webhook: the message as JSON, by POST. Any answer of success takes it.

use async_trait::async_trait;

use crate::alert::{Destination, DestinationKind, Message, TellError, Wrong};
use crate::config::Alert;
use crate::context::Context;
use crate::store::Target;

use super::http::{Post, shown};

/// The line of the list.
pub const KIND: DestinationKind = DestinationKind {
    name: "webhook",
    schemes: &["https", "http"],
    about: "Any HTTP address: the message as JSON, by POST.",
    example: r#"{ to: "https://hooks.example.com/tapline", headers: { Authorization: "Bearer s3cret" } }"#,
    keys: &["headers"],
    options: &[],
    has_query: true,
    shown,
    open,
};

struct Webhook(Post);

#[expect(clippy::needless_pass_by_value, reason = "every way is opened by the same call")]
fn open(alert: &Alert, target: Target, context: &Context) -> Result<Box<dyn Destination>, Wrong> {
    Ok(Box::new(Webhook(Post::new(alert, &target, context)?)))
}

#[async_trait]
impl Destination for Webhook {
    async fn tell(&mut self, message: &Message) -> Result<(), TellError> {
        self.0.send(message.json().to_string(), &message.id).await
    }
}
