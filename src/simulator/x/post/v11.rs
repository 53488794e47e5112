//! Posts as v1.1 of the API delivered them, and as feeds in that form still do.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::entities::Entities;
use super::{Media, MediaKind, Place, Post, Reference, Span, User};

impl Post {
    /// The Tweet object of v1.1, in ASCII as it was sent: other characters escaped, and every slash too.
    #[must_use]
    pub fn v11(&self) -> String {
        let json = self.tweet().to_string();
        let mut ascii = String::with_capacity(json.len() + json.len() / 8);
        let mut units = [0; 2];
        for character in json.chars() {
            match character {
                // Outside of strings, JSON has no slash and nothing beyond ASCII.
                '/' => ascii.push_str("\\/"),
                character if character.is_ascii() => ascii.push(character),
                character => {
                    for unit in character.encode_utf16(&mut units) {
                        ascii.push_str("\\u");
                        for shift in [12, 8, 4, 0] {
                            ascii.push(char::from_digit(u32::from(*unit >> shift & 15), 16).unwrap_or('0'));
                        }
                    }
                }
            }
        }
        ascii
    }

    fn tweet(&self) -> Value {
        let answered = self.refers(Reference::Reply);
        let quoted = self.refers(Reference::Quote);
        let mut tweet = json!({
            "created_at": time(self.at),
            "id": self.id,
            "id_str": self.id.to_string(),
            "text": self.text,
            "source": format!("<a href=\"{}\" rel=\"nofollow\">{}</a>", self.source.1, self.source.0),
            "truncated": self.note.is_some(),
            "in_reply_to_status_id": answered.map(|post| post.id),
            "in_reply_to_status_id_str": answered.map(|post| post.id.to_string()),
            "in_reply_to_user_id": answered.map(|post| post.author.id),
            "in_reply_to_user_id_str": answered.map(|post| post.author.id.to_string()),
            "in_reply_to_screen_name": answered.map(|post| post.author.username.as_str()),
            "user": user(&self.author),
            "geo": self.point.map(|[longitude, latitude]| json!({"type": "Point", "coordinates": [latitude, longitude]})),
            "coordinates": self.point.map(|point| json!({"type": "Point", "coordinates": point})),
            "place": self.place.as_ref().map(place),
            "contributors": null,
        });
        if let Some(original) = self.refers(Reference::Retweet) {
            tweet["retweeted_status"] = original.tweet();
        }
        if let Some(quoted) = quoted {
            tweet["quoted_status_id"] = json!(quoted.id);
            tweet["quoted_status_id_str"] = json!(quoted.id.to_string());
            tweet["quoted_status"] = quoted.tweet();
        }
        tweet["is_quote_status"] = json!(quoted.is_some());
        if let Some(note) = &self.note {
            tweet["extended_tweet"] = json!({
                "full_text": note.text,
                "display_text_range": [0, note.text.chars().count()],
                "entities": entities(&note.entities, &self.media),
            });
        }
        tweet["quote_count"] = json!(self.likes / 40);
        tweet["reply_count"] = json!(self.likes / 11);
        tweet["retweet_count"] = json!(self.likes / 7);
        tweet["favorite_count"] = json!(self.likes);
        tweet["entities"] = entities(&self.entities, &self.media);
        if !self.media.is_empty() {
            tweet["extended_entities"] = json!({"media": media(&self.entities, &self.media)});
        }
        tweet["favorited"] = json!(false);
        tweet["retweeted"] = json!(false);
        tweet["possibly_sensitive"] = json!(self.sensitive);
        tweet["filter_level"] = json!("low");
        tweet["lang"] = json!(self.lang);
        tweet["timestamp_ms"] = json!(self.at.timestamp_millis().to_string());
        if !self.withheld.is_empty() {
            tweet["withheld_in_countries"] = json!(self.withheld);
        }
        tweet
    }
}

fn user(user: &User) -> Value {
    json!({
        "id": user.id,
        "id_str": user.id.to_string(),
        "name": user.name,
        "screen_name": user.username,
        "location": user.location,
        "url": null,
        "description": null,
        "protected": false,
        "verified": user.verified,
        "followers_count": user.followers,
        "friends_count": user.followers / 3,
        "listed_count": user.followers / 100,
        "favourites_count": user.followers,
        "statuses_count": user.followers * 2,
        "created_at": time(user.created_at),
        "utc_offset": null,
        "time_zone": null,
        "geo_enabled": false,
        "lang": null,
        "profile_image_url_https": user.picture(),
    })
}

fn place(place: &Place) -> Value {
    let [west, south, east, north] = place.bounds;
    json!({
        "id": place.id,
        "url": format!("https://api.twitter.com/1.1/geo/id/{}.json", place.id),
        "place_type": place.kind,
        "name": place.name,
        "full_name": place.full_name,
        "country_code": place.country_code,
        "country": place.country,
        "bounding_box": {
            "type": "Polygon",
            "coordinates": [[[west, south], [west, north], [east, north], [east, south]]],
        },
        "attributes": {},
    })
}

/// The five lists are always there; links that stand for media are in the list of media only.
fn entities(found: &Entities, all: &[Media]) -> Value {
    let tags = |spans: &[Span]| -> Value {
        spans.iter().map(|span| json!({"text": span.text, "indices": [span.start, span.end]})).collect()
    };
    let links = found.links.iter().filter(|link| link.media_key.is_none()).map(|link| {
        json!({
            "url": link.url,
            "expanded_url": link.expanded,
            "display_url": link.display,
            "indices": [link.start, link.end],
        })
    });
    let mentions = found.mentions.iter().map(|span| {
        let user = User::named(&span.text);
        json!({
            "screen_name": user.username,
            "name": user.name,
            "id": user.id,
            "id_str": user.id.to_string(),
            "indices": [span.start, span.end],
        })
    });
    let mut value = Map::new();
    value.insert("hashtags".to_owned(), tags(&found.hashtags));
    value.insert("urls".to_owned(), links.collect());
    value.insert("user_mentions".to_owned(), mentions.collect());
    value.insert("symbols".to_owned(), tags(&found.cashtags));
    let media = media(found, all);
    if !media.is_empty() {
        value.insert("media".to_owned(), Value::Array(media.into_iter().take(1).collect()));
    }
    Value::Object(value)
}

fn media(found: &Entities, all: &[Media]) -> Vec<Value> {
    let object = |one: &Media| {
        let link = found.links.iter().find(|link| link.url == one.link)?;
        let mut value = json!({
            "id": one.id,
            "id_str": one.id.to_string(),
            "indices": [link.start, link.end],
            "media_url_https": one.picture(),
            "url": link.url,
            "display_url": link.display,
            "expanded_url": link.expanded,
            "type": one.kind.word(),
            "sizes": {"large": {"w": one.width, "h": one.height, "resize": "fit"}},
        });
        if one.kind != MediaKind::Photo {
            let variant = json!({"bitrate": 832_000, "content_type": "video/mp4", "url": one.film()});
            value["video_info"] = json!({"aspect_ratio": [16, 9], "variants": [variant]});
        }
        Some(value)
    };
    all.iter().filter_map(object).collect()
}

/// As v1.1 writes times.
fn time(at: DateTime<Utc>) -> Value {
    json!(at.format("%a %b %d %H:%M:%S +0000 %Y").to_string())
}
