//! Slack's incoming webhooks, and whatever takes the same: Mattermost, Rocket.Chat, Discord (an address that ends with
//! `/slack`).
//!
//! A message may quote what upstream says, which is hostile: it can neither make a link nor call a channel or a person.

use async_trait::async_trait;
use serde_json::json;

use crate::alert::{Destination, DestinationKind, Message, TellError, Wrong};
use crate::config::Alert;
use crate::context::Context;
use crate::store::Target;

use super::http::{Post, shown};

/// The line of the list.
pub const KIND: DestinationKind = DestinationKind {
    name: "slack",
    schemes: &["slack+https", "slack+http"],
    about: "Slack's incoming webhooks, and whatever takes the same: Mattermost, Rocket.Chat, Discord.",
    example: r#"{ to: "slack+https://hooks.slack.example/services/T000/B000/s3cret" }"#,
    keys: &["headers"],
    options: &[],
    has_query: true,
    shown,
    open,
};

struct Slack(Post);

#[expect(clippy::needless_pass_by_value, reason = "every way is opened by the same call")]
fn open(alert: &Alert, target: Target, context: &Context) -> Result<Box<dyn Destination>, Wrong> {
    Ok(Box::new(Slack(Post::new(alert, &target, context)?)))
}

#[async_trait]
impl Destination for Slack {
    async fn tell(&mut self, message: &Message) -> Result<(), TellError> {
        self.0.send(json!({ "text": text(message) }).to_string(), &message.id).await
    }
}

fn text(message: &Message) -> String {
    let text = format!("*{}*\n{}", harmless(&message.title), harmless(&message.text));
    text.trim_end().to_owned()
}

/// Text that stays text: `<!channel>` and `<http://…|here>` are Slack's, `@all` is Mattermost's and Discord's.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for next in text.chars() {
        match next {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // Nobody is called by a name that is broken by a space of no width.
            '@' => out.push_str("@\u{200b}"),
            '`' => out.push('\''),
            '*' => out.push('∗'),
            next => out.push(next),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_upstream_says_calls_nobody_and_links_nowhere() {
        let hostile = "<!channel> @all <http://evil|click> & `code` *bold*";
        assert_eq!(harmless(hostile), "&lt;!channel&gt; @\u{200b}all &lt;http://evil|click&gt; &amp; 'code' ∗bold∗");
    }
}
