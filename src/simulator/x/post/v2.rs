//! Posts as v2 of the API delivers them.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use super::asked::{Asked, Words};
use super::entities::Entities;
use super::{Media, MediaKind, Place, Poll, Post, Reference, User};

/// How long a post may be changed.
const EDITABLE: TimeDelta = TimeDelta::minutes(30);

/// How often a post may be changed.
const EDITS_MAX: usize = 5;

impl Post {
    /// The whole message, without line end: the fields asked for (`id`, `text` and `edit_history_tweet_ids` always), what
    /// is to be included, and the rules that it matched, as number and tag.
    #[must_use]
    pub fn v2(&self, asked: &Asked, matching: &[(String, Option<String>)]) -> String {
        let (data, includes) = self.v2_parts(asked);
        let mut message = Map::new();
        message.insert("data".to_owned(), data);
        if includes.as_object().is_some_and(|includes| !includes.is_empty()) {
            message.insert("includes".to_owned(), includes);
        }
        let rules = matching.iter().map(|(id, tag)| match tag {
            Some(tag) => json!({"id": id, "tag": tag}),
            None => json!({"id": id}),
        });
        message.insert("matching_rules".to_owned(), rules.collect());
        Value::Object(message).to_string()
    }

    /// As [`Post::v2`], but data and includes apart, for a page of a search. Both are objects; the lists in the includes
    /// may hold what those of other posts hold too.
    #[must_use]
    pub fn v2_parts(&self, asked: &Asked) -> (Value, Value) {
        (Value::Object(self.data(asked)), Value::Object(self.includes(asked)))
    }

    fn data(&self, asked: &Asked) -> Map<String, Value> {
        let mut data = Map::new();
        data.insert("id".to_owned(), json!(self.id.to_string()));
        data.insert("text".to_owned(), json!(self.text));
        let versions: Value = self.versions.iter().map(ToString::to_string).collect();
        data.insert("edit_history_tweet_ids".to_owned(), versions);
        // What is to be included is named, asked for or not.
        let implied = |field: &str| {
            asked.expansions.0.iter().any(|expansion| {
                let named = match field {
                    "referenced_tweets" => "referenced_tweets.id",
                    "geo" => "geo.place_id",
                    "entities" => "entities.mentions.username",
                    "attachments" => "attachments.",
                    _ => return *expansion == field,
                };
                expansion.starts_with(named)
            })
        };
        for field in FIELDS {
            if (asked.tweet.has(field) || implied(field))
                && let Some(value) = self.field(field)
            {
                data.insert((*field).to_owned(), value);
            }
        }
        data
    }

    /// A field that only some posts have, or only some requests ask for.
    fn field(&self, field: &str) -> Option<Value> {
        Some(match field {
            "attachments" => return self.attachments(),
            "author_id" => json!(self.author.id.to_string()),
            "conversation_id" => json!(self.conversation().to_string()),
            "created_at" => time(self.at),
            "display_text_range" => json!([0, self.text.chars().count()]),
            "edit_controls" => json!({
                "edits_remaining": (EDITS_MAX + 1).saturating_sub(self.versions.len()),
                "is_edit_eligible": self.referenced.is_none(),
                "editable_until": time(self.at + EDITABLE),
            }),
            "entities" => return entities(&self.entities),
            "geo" => return self.geo(),
            "in_reply_to_user_id" => json!(self.refers(Reference::Reply)?.author.id.to_string()),
            "lang" => json!(self.lang),
            "note_tweet" => {
                let note = self.note.as_ref()?;
                let mut value = json!({"text": note.text});
                if let Some(found) = entities(&note.entities) {
                    value["entities"] = found;
                }
                value
            }
            "possibly_sensitive" => json!(self.sensitive),
            "public_metrics" => json!({
                "retweet_count": self.likes / 7,
                "reply_count": self.likes / 11,
                "like_count": self.likes,
                "quote_count": self.likes / 40,
                "bookmark_count": self.likes / 19,
                "impression_count": self.likes * 31,
            }),
            "referenced_tweets" => {
                let (reference, other) = self.referenced.as_ref()?;
                json!([{"type": reference.word(), "id": other.id.to_string()}])
            }
            "reply_settings" => json!("everyone"),
            "source" => json!(self.source.0),
            "withheld" if !self.withheld.is_empty() => json!({"copyright": false, "country_codes": self.withheld}),
            _ => return None,
        })
    }

    fn attachments(&self) -> Option<Value> {
        let mut attachments = Map::new();
        if !self.media.is_empty() {
            attachments.insert("media_keys".to_owned(), self.media.iter().map(|media| json!(media.key)).collect());
        }
        if let Some(poll) = &self.poll {
            attachments.insert("poll_ids".to_owned(), json!([poll.id.to_string()]));
        }
        (!attachments.is_empty()).then_some(Value::Object(attachments))
    }

    fn geo(&self) -> Option<Value> {
        let mut geo = Map::new();
        if let Some(point) = self.point {
            geo.insert("coordinates".to_owned(), json!({"type": "Point", "coordinates": point}));
        }
        if let Some(place) = &self.place {
            geo.insert("place_id".to_owned(), json!(place.id));
        }
        (!geo.is_empty()).then_some(Value::Object(geo))
    }

    fn includes(&self, asked: &Asked) -> Map<String, Value> {
        let wants = |expansion| asked.expansions.has(expansion);
        let other = self.referenced.as_ref().map(|(_, other)| &**other);
        let mut includes = Map::new();

        let mut media: Vec<&Media> = Vec::new();
        if wants("attachments.media_keys") {
            media.extend(&self.media);
        }
        if wants("referenced_tweets.id.attachments.media_keys") {
            media.extend(other.iter().flat_map(|other| &other.media));
        }
        insert(&mut includes, "media", media.into_iter().map(|media| media_object(media, &asked.media)).collect());

        let users = self.users(asked).into_iter().map(|user| user_object(&user, &asked.user)).collect();
        insert(&mut includes, "users", users);

        // Whatever is wanted of a post that is referred to wants that post.
        let others = asked.expansions.0.iter().any(|expansion| expansion.starts_with("referenced_tweets.id"));
        let tweets = other.filter(|_| others).map(|other| Value::Object(other.data(asked)));
        insert(&mut includes, "tweets", tweets.into_iter().collect());

        let places = self.place.iter().filter(|_| wants("geo.place_id"));
        insert(&mut includes, "places", places.map(|place| place_object(place, &asked.place)).collect());

        let polls = self.poll.iter().filter(|_| wants("attachments.poll_ids"));
        insert(&mut includes, "polls", polls.map(|poll| poll_object(poll, &asked.poll)).collect());
        includes
    }

    /// Everybody to include, once.
    fn users(&self, asked: &Asked) -> Vec<User> {
        let wants = |expansion| asked.expansions.has(expansion);
        let mut users: Vec<User> = Vec::new();
        if wants("author_id") {
            users.push(self.author.clone());
        }
        if wants("in_reply_to_user_id") {
            users.extend(self.refers(Reference::Reply).map(|answered| answered.author.clone()));
        }
        if wants("entities.mentions.username") {
            users.extend(self.entities.mentions.iter().map(|mention| User::named(&mention.text)));
        }
        if wants("entities.note.mentions.username") {
            let mentions = self.note.iter().flat_map(|note| &note.entities.mentions);
            users.extend(mentions.map(|mention| User::named(&mention.text)));
        }
        if wants("referenced_tweets.id.author_id") {
            users.extend(self.referenced.iter().map(|(_, other)| other.author.clone()));
        }
        let mut seen = Vec::with_capacity(users.len());
        users.retain(|user| {
            let new = !seen.contains(&user.id);
            seen.push(user.id);
            new
        });
        users
    }
}

/// The fields that are delivered when they are asked for and there.
const FIELDS: &[&str] = &[
    "attachments",
    "author_id",
    "conversation_id",
    "created_at",
    "display_text_range",
    "edit_controls",
    "entities",
    "geo",
    "in_reply_to_user_id",
    "lang",
    "note_tweet",
    "possibly_sensitive",
    "public_metrics",
    "referenced_tweets",
    "reply_settings",
    "source",
    "withheld",
];

impl Reference {
    /// As v2 names it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Reply => "replied_to",
            Self::Quote => "quoted",
            Self::Retweet => "retweeted",
        }
    }
}

impl MediaKind {
    /// As X names it.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Photo => "photo",
            Self::Video => "video",
            Self::AnimatedGif => "animated_gif",
        }
    }
}

impl Media {
    /// Where the picture, or the first picture of the film, is.
    pub(super) fn picture(&self) -> String {
        format!("https://pbs.twimg.com/media/{}.jpg", self.id)
    }

    /// Where the film is.
    pub(super) fn film(&self) -> String {
        format!("https://video.twimg.com/tweet_video/{}.mp4", self.id)
    }
}

fn user_object(user: &User, asked: &Words) -> Value {
    let mut value = json!({"id": user.id.to_string(), "name": user.name, "username": user.username});
    also(&mut value, asked, "created_at", || Some(time(user.created_at)));
    also(&mut value, asked, "description", || Some(json!(format!("{} \u{b7} opinions \"mine\"", user.name))));
    also(&mut value, asked, "location", || user.location.map(|location| json!(location)));
    also(&mut value, asked, "profile_image_url", || Some(json!(user.picture())));
    also(&mut value, asked, "protected", || Some(json!(false)));
    also(&mut value, asked, "public_metrics", || {
        Some(json!({
            "followers_count": user.followers,
            "following_count": user.followers / 3,
            "tweet_count": user.followers * 2,
            "listed_count": user.followers / 100,
        }))
    });
    also(&mut value, asked, "url", || Some(json!("")));
    also(&mut value, asked, "verified", || Some(json!(user.verified)));
    also(&mut value, asked, "verified_type", || Some(json!(if user.verified { "blue" } else { "none" })));
    value
}

impl User {
    /// Where its picture is.
    pub(super) fn picture(&self) -> String {
        format!("https://pbs.twimg.com/profile_images/{}/a_normal.jpg", self.id)
    }
}

fn media_object(media: &Media, asked: &Words) -> Value {
    let photo = media.kind == MediaKind::Photo;
    let mut value = json!({"media_key": media.key, "type": media.kind.word()});
    also(&mut value, asked, "alt_text", || media.alt_text.map(|text| json!(text)));
    also(&mut value, asked, "duration_ms", || (media.kind == MediaKind::Video).then(|| json!(media.width * 9)));
    also(&mut value, asked, "height", || Some(json!(media.height)));
    also(&mut value, asked, "preview_image_url", || (!photo).then(|| json!(media.picture())));
    also(&mut value, asked, "public_metrics", || (!photo).then(|| json!({"view_count": media.height})));
    also(&mut value, asked, "url", || photo.then(|| json!(media.picture())));
    also(&mut value, asked, "variants", || {
        (!photo).then(|| json!([{"bit_rate": 832_000, "content_type": "video/mp4", "url": media.film()}]))
    });
    also(&mut value, asked, "width", || Some(json!(media.width)));
    value
}

fn poll_object(poll: &Poll, asked: &Words) -> Value {
    let options = poll.options.iter().zip(1..);
    let options: Value = options
        .map(|((label, votes), position)| json!({"position": position, "label": label, "votes": votes}))
        .collect();
    let mut value = json!({"id": poll.id.to_string(), "options": options});
    also(&mut value, asked, "duration_minutes", || Some(json!(poll.minutes)));
    also(&mut value, asked, "end_datetime", || Some(time(poll.ends)));
    // A post is delivered when it is made.
    also(&mut value, asked, "voting_status", || Some(json!("open")));
    value
}

fn place_object(place: &Place, asked: &Words) -> Value {
    let mut value = json!({"full_name": place.full_name, "id": place.id});
    also(&mut value, asked, "country", || Some(json!(place.country)));
    also(&mut value, asked, "country_code", || Some(json!(place.country_code)));
    also(&mut value, asked, "geo", || Some(json!({"type": "Feature", "bbox": place.bounds, "properties": {}})));
    also(&mut value, asked, "name", || Some(json!(place.name)));
    also(&mut value, asked, "place_type", || Some(json!(place.kind)));
    value
}

fn entities(found: &Entities) -> Option<Value> {
    let mut value = Map::new();
    let tags = |spans: &[super::Span]| -> Vec<Value> {
        spans.iter().map(|span| json!({"start": span.start, "end": span.end, "tag": span.text})).collect()
    };
    insert(&mut value, "hashtags", tags(&found.hashtags));
    insert(&mut value, "cashtags", tags(&found.cashtags));
    let mentions = found.mentions.iter().map(|span| {
        let id = User::named(&span.text).id.to_string();
        json!({"start": span.start, "end": span.end, "username": span.text, "id": id})
    });
    insert(&mut value, "mentions", mentions.collect());
    let links = found.links.iter().map(|link| {
        let mut value = json!({
            "start": link.start,
            "end": link.end,
            "url": link.url,
            "expanded_url": link.expanded,
            "display_url": link.display,
        });
        if let Some(key) = &link.media_key {
            value["media_key"] = json!(key);
        }
        value
    });
    insert(&mut value, "urls", links.collect());
    (!value.is_empty()).then_some(Value::Object(value))
}

/// Puts a list in, unless it is empty.
fn insert(into: &mut Map<String, Value>, name: &str, list: Vec<Value>) {
    if !list.is_empty() {
        into.insert(name.to_owned(), Value::Array(list));
    }
}

/// Puts a field in when it is asked for and there.
fn also(into: &mut Value, asked: &Words, field: &str, value: impl FnOnce() -> Option<Value>) {
    if asked.has(field)
        && let Some(value) = value()
    {
        into[field] = value;
    }
}

/// As v2 writes times: milliseconds and a Z.
fn time(at: DateTime<Utc>) -> Value {
    json!(at.to_rfc3339_opts(SecondsFormat::Millis, true))
}
