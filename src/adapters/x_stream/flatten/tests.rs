//! Flattened messages against the fixtures, against a second way of doing it, and against messages that mean harm.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

const FULL: &str = include_str!("../../../../tests/fixtures/x_stream/full.json");
const MISSING: &str = include_str!("../../../../tests/fixtures/x_stream/missing.json");
const NUMERIC_IDS: &str = include_str!("../../../../tests/fixtures/x_stream/numeric_ids.json");
const WITHHELD: &str = include_str!("../../../../tests/fixtures/x_stream/withheld.json");
const EDITED: &str = include_str!("../../../../tests/fixtures/x_stream/edited.json");

fn flat(message: &str) -> String {
    let flattened = flatten(message).unwrap();
    assert_eq!(flattened.posts.len(), 1);
    flattened.posts[0].get().to_owned()
}

#[test]
fn a_post_with_everything() {
    let text = flat(FULL);
    let post: Value = serde_json::from_str(&text).unwrap();
    for (path, expected) in [
        ("/author/username", json!("anna")),
        ("/author/pinned_tweet", Value::Null),
        ("/in_reply_to_user/name", json!("Berta B")),
        ("/attachments/media_keys/1", json!("7_1500000000000000002")),
        ("/attachments/media/0/url", json!("https://example.com/1.jpg")),
        ("/attachments/media/1/type", json!("video")),
        ("/attachments/media/2", Value::Null),
        ("/attachments/poll/options/0/votes", json!(3)),
        ("/geo/place_id", json!("00a1b2c3")),
        ("/geo/full_name", json!("Berlin")),
        ("/geo/coordinates/type", json!("Point")),
        ("/geo/geo/type", json!("Feature")),
        ("/entities/mentions/0/name", json!("Berta B")),
        ("/entities/mentions/0/username", json!("berta")),
        ("/entities/mentions/0/end", json!(6)),
        ("/entities/mentions/1/id", json!("1003")),
        ("/entities/mentions/2", json!({ "start": 14, "end": 20, "username": "nobody", "id": "1999" })),
        ("/entities/urls/0/url", json!("https://t.co/a")),
        ("/note_tweet/entities/mentions/0/name", json!("Carlo")),
        ("/referenced_tweets/0/type", json!("replied_to")),
        ("/referenced_tweets/0/author/username", json!("berta")),
        ("/referenced_tweets/0/referenced_tweets/0/text", json!("a quote")),
        ("/referenced_tweets/1/author/name", json!("Carlo")),
        ("/referenced_tweets/1/entities/mentions/0/name", json!("Anna")),
        ("/referenced_tweets/1/attachments/media/0/type", json!("photo")),
        ("/matching_rules/1/id", json!("1700000000000000002")),
        ("/matching_rules/1/tag", Value::Null),
        ("/includes", Value::Null),
    ] {
        assert_eq!(post.pointer(path).unwrap_or(&Value::Null), &expected, "{path}");
    }
    for token in [
        "[13.40, 52.520]",
        "1.50e+2",
        "12345678901234567890123",
        "\\/t.co\\/a",
        "\"duration_ms\": 1.0",
        "\\ud83d\\ude00",
    ] {
        assert!(text.contains(token), "{token} in {text}");
    }
    let keys: Vec<&String> = post.as_object().unwrap().keys().collect();
    assert_eq!(keys[..2], ["attachments", "author_id"], "the order is X's");
    assert_eq!(keys[keys.len() - 3..], ["author", "in_reply_to_user", "matching_rules"]);
}

#[test]
fn what_is_not_included_leaves_its_reference() {
    let flattened = flatten(MISSING).unwrap();
    assert_eq!(
        flattened.posts[0].get(),
        r#"{"attachments":{"media_keys":["3_1","3_2"],"poll_ids":["5"],"media":[{"media_key":"3_2","type":"photo"}]},"author_id":"1","geo":{"place_id":"gone"},"id":"9","in_reply_to_user_id":"2","referenced_tweets":[{"type":"quoted","id":"8"}],"text":"a","author":{"id":"1","username":"anna"}}"#
    );
    assert!(flattened.errors.unwrap().get().contains("resource-not-found"));
}

#[test]
fn ids_as_numbers_withheld_and_edits() {
    assert_eq!(
        flat(NUMERIC_IDS),
        r#"{"author_id":9223372036854775807,"id":1789012345678901235,"referenced_tweets":[{"type":"retweeted","id":1789012345678901234,"text":"the whole"}],"text":"RT","author":{"id":"9223372036854775807","username":"last"},"matching_rules":[{"id":1366128080000000001,"tag":null}]}"#
    );
    assert_eq!(
        flat(WITHHELD),
        r#"{"author_id":"1","id":"9","text":"a","withheld":{"copyright":false,"country_codes":["DE","FR"]},"author":{"id":"1","username":"anna","withheld":{"country_codes":["TR"]}}}"#
    );
    assert_eq!(
        flat(EDITED),
        r#"{"edit_controls":{"edits_remaining":"4","is_edit_eligible":true,"editable_until":"2026-11-20T08:30:00.000Z"},"edit_history_tweet_ids":["1600000000000000001","1600000000000000005"],"id":"1600000000000000005","text":"second","matching_rules":[{"id":"1","tag":""}]}"#
    );
}

#[test]
fn lists_empty_objects_and_keys_that_are_there() {
    let answer = r#"{"data":[{"author_id":"1"},{},7],"includes":{"users":[{"id":"1"}]},"matching_rules":[]}"#;
    let posts: Vec<String> = flatten(answer).unwrap().posts.iter().map(|post| post.get().to_owned()).collect();
    assert_eq!(
        posts,
        [r#"{"author_id":"1","author":{"id":"1"},"matching_rules":[]}"#, r#"{"matching_rules":[]}"#, "7"]
    );
    let own = r#"{"author":null,"author_id":"1","matching_rules":1,"attachments":{"media":2,"media_keys":["m"]}}"#;
    let message = format!(
        r#"{{"data":{own},"includes":{{"users":[{{"id":"1"}}],"media":[{{"media_key":"m"}}]}},"matching_rules":[]}}"#
    );
    assert_eq!(flat(&message), own, "what X wrote itself stays");
    let mention =
        r#"{"data":{"entities":{"mentions":[{}, {"username":"a"}]}},"includes":{"users":[{"username":"a"}]}}"#;
    assert_eq!(flat(mention), r#"{"entities":{"mentions":[{}, {"username":"a"}]}}"#);
    let newer = r#"{"data":{"id":"1","referenced_posts":[{"id":"2"}]},"includes":{"posts":[{"id":"2","text":"b"}]}}"#;
    assert_eq!(flat(newer), r#"{"id":"1","referenced_posts":[{"id":"2","text":"b"}]}"#);
}

#[test]
fn what_is_no_post_is_said() {
    for message in ["", "[]", "{}", r#"{"data":null}"#, r#"{"errors":[{}]}"#, r#"{"data":{}"#] {
        flatten(message).unwrap_err();
    }
}

#[test]
fn posts_that_refer_to_each_other_end() {
    let round = r#"{"data":{"id":"1","referenced_tweets":[{"id":"2"}]},"includes":{"tweets":[{"id":"1","referenced_tweets":[{"id":"2"}]},{"id":"2","referenced_tweets":[{"id":"1"},{"id":"2"}]}]}}"#;
    assert_eq!(
        flat(round),
        r#"{"id":"1","referenced_tweets":[{"id":"2","referenced_tweets":[{"id":"1"},{"id":"2"}]}]}"#
    );
    let chain: Vec<Value> = (2..20).map(|id| json!({ "id": id, "referenced_tweets": [{ "id": id + 1 }] })).collect();
    let message = json!({ "data": { "id": 1, "referenced_tweets": [{ "id": 2 }] }, "includes": { "tweets": chain } });
    let text = flat(&message.to_string());
    assert_eq!(text.matches("referenced_tweets").count(), 1 + DEPTH_MAX, "{text}");
}

/// Each post refers fifty times to each of fifty others: without a limit this would be terabytes.
#[test]
fn a_message_that_would_grow_without_limit_does_not() {
    let references: Vec<Value> = (0..50).map(|id| json!({ "id": id })).collect();
    let posts: Vec<Value> =
        (0..50).map(|id| json!({ "id": id, "referenced_tweets": references, "text": "x".repeat(9999) })).collect();
    let message = json!({ "data": { "id": "top", "referenced_tweets": references }, "includes": { "tweets": posts } })
        .to_string();
    let text = flat(&message);
    assert!(text.len() > INLINED_BYTES_MAX / 2 && text.len() < INLINED_BYTES_MAX * 2, "{}", text.len());
}

/// The same over trees of values, as twarc has it, but for what is missing.
fn model(message: &Value) -> Value {
    struct Model<'a>(&'a Value);
    impl Model<'_> {
        fn find(&self, list: &str, key: &str, id: &Value) -> Option<Value> {
            self.0[list].as_array()?.iter().rev().find(|entry| &entry[key] == id).cloned()
        }

        fn merge(into: &mut Value, other: Option<Value>) {
            let (Some(into), Some(Value::Object(other))) = (into.as_object_mut(), other) else { return };
            into.extend(other);
        }

        fn post(&self, mut post: Value, above: &[Value]) -> Value {
            let above = [above, &[post["id"].clone()]].concat();
            let found = |id: &Value| self.find("users", "id", id);
            if let Some(media) = post["attachments"]["media_keys"].as_array() {
                let media: Vec<Value> = media.iter().filter_map(|key| self.find("media", "media_key", key)).collect();
                if !media.is_empty() {
                    post["attachments"]["media"] = media.into();
                }
            }
            for mention in post["entities"]["mentions"].as_array_mut().into_iter().flatten() {
                let user = self.find("users", "username", &mention["username"]);
                Self::merge(mention, user);
            }
            for reference in post["referenced_tweets"].as_array_mut().into_iter().flatten() {
                let id = reference["id"].clone();
                let is_new = above.len() <= DEPTH_MAX && !above.contains(&id);
                let other = self.find("tweets", "id", &id).filter(|_| is_new).map(|other| self.post(other, &above));
                Self::merge(reference, other);
            }
            for (id, key) in [("author_id", "author"), ("in_reply_to_user_id", "in_reply_to_user")] {
                if let Some(user) = post.get(id).and_then(found) {
                    post[key] = user;
                }
            }
            post
        }
    }
    let mut post = Model(&message["includes"]).post(message["data"].clone(), &[]);
    without_nulls(&mut post);
    post
}

/// Indexing makes nulls of what is not there.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let kept = std::mem::take(map).into_iter().filter(|(_, value)| !value.is_null());
            *map = kept
                .map(|(key, mut value)| {
                    without_nulls(&mut value);
                    (key, value)
                })
                .collect::<Map<_, _>>();
        }
        Value::Array(list) => list.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

fn id() -> impl Strategy<Value = String> {
    "[1-6]"
}

fn post() -> impl Strategy<Value = Value> {
    let references = proptest::collection::vec(id(), 0..3);
    let mentions = proptest::collection::vec(id(), 0..3);
    let media = proptest::collection::vec(id(), 0..3);
    (id(), proptest::option::of(id()), proptest::option::of(id()), references, mentions, media).prop_map(
        |(id, author, replied, references, mentions, media)| {
            let mut post = json!({ "id": id, "text": "t" });
            if let Some(author) = author {
                post["author_id"] = author.into();
            }
            if let Some(replied) = replied {
                post["in_reply_to_user_id"] = replied.into();
            }
            post["referenced_tweets"] = references.iter().map(|id| json!({ "type": "quoted", "id": id })).collect();
            let mentions: Value =
                mentions.iter().map(|name| json!({ "start": 0, "username": format!("u{name}") })).collect();
            post["entities"] = json!({ "mentions": mentions });
            post["attachments"] = json!({ "media_keys": media });
            post
        },
    )
}

fn message() -> impl Strategy<Value = Value> {
    let users = proptest::collection::vec(
        id().prop_map(|id| json!({ "username": format!("u{id}"), "id": id, "name": "n" })),
        0..5,
    );
    let media = proptest::collection::vec(id().prop_map(|id| json!({ "media_key": id, "width": 1 })), 0..5);
    (post(), users, media, proptest::collection::vec(post(), 0..5)).prop_map(|(data, users, media, tweets)| {
        json!({ "data": data, "includes": { "users": users, "media": media, "tweets": tweets } })
    })
}

proptest! {
    #[test]
    fn the_model_says_the_same(message in message()) {
        let found: Value = serde_json::from_str(&flat(&message.to_string())).unwrap();
        prop_assert_eq!(found, model(&message));
    }

    #[test]
    fn without_includes_nothing_changes(post in post(), number in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?", blank in "[ \t\n]{0,3}") {
        let post = post.to_string();
        let data = format!("{},{blank}\"n\":{blank}{number}{blank}}}", &post[..post.len() - 1]);
        let message = format!("{{\"data\":{blank}{data}}}");
        prop_assert_eq!(flat(&message), data.clone());
        let with_rules = format!("{{\"matching_rules\":[{number}],\"data\":{data}}}");
        prop_assert_eq!(flat(&with_rules), format!("{},\"matching_rules\":[{number}]}}", &data[..data.len() - 1]));
    }

    #[test]
    fn never_panics(
        text in ".{0,60}",
        json in "[{](\"(data|includes|users|tweets|id|author_id|entities|mentions|geo|place_id|attachments|media_keys)\":|,|[{}]|\\[|\\]|[0-9\"]|null| ){0,40}",
        (message, at, cut) in (message(), any::<prop::sample::Index>(), 0_usize..9),
    ) {
        flatten(&text).ok();
        flatten(&json).ok();
        let message = message.to_string();
        let start = message.floor_char_boundary(at.index(message.len()));
        let end = message.floor_char_boundary((start + cut).min(message.len()));
        flatten(&format!("{}{}", &message[..start], &message[end..])).ok();
    }
}
