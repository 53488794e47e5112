//! Tests of the posts.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn at(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_767_225_600_000 + millis).unwrap()
}

fn read(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}"))
}

fn asked(query: &[(&str, &str)]) -> Asked {
    let query: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Asked::parse(&query).unwrap()
}

fn many() -> Vec<Post> {
    (0..3_000).map(|number| Post::make(7, number, at(number.cast_signed() * 10))).collect()
}

/// The text that a span with `start` and `end`, or with `indices`, stands for.
fn cut_out(text: &str, entity: &Value) -> String {
    let (start, end) = match &entity["indices"] {
        Value::Array(both) => (&both[0], &both[1]),
        _ => (&entity["start"], &entity["end"]),
    };
    let [start, end] = [start, end].map(|number| usize::try_from(number.as_u64().unwrap()).unwrap());
    text.chars().skip(start).take(end - start).collect()
}

#[test]
fn without_a_question_there_are_three_fields_and_the_rules() {
    let post = Post::with_text(5, at(0), "Hello \"X\"\n😀 é");
    assert_eq!(post.id, ((1_767_225_600_000 - 1_288_834_974_657) << 22) | 5);
    let rules = [("12".to_owned(), Some("cats".to_owned())), ("9".to_owned(), None)];
    assert_eq!(
        post.v2(&Asked::default(), &rules),
        format!(
            "{{\"data\":{{\"id\":\"{0}\",\"text\":\"Hello \\\"X\\\"\\n😀 é\",\"edit_history_tweet_ids\":[\"{0}\"]}},\
             \"matching_rules\":[{{\"id\":\"12\",\"tag\":\"cats\"}},{{\"id\":\"9\"}}]}}",
            post.id
        )
    );
}

#[test]
fn posts_follow_from_seed_number_and_time() {
    for number in 0..200 {
        assert_eq!(Post::make(1, number, at(3)), Post::make(1, number, at(3)));
    }
    let texts = |seed| (0..50).map(|number| Post::make(seed, number, at(0)).text).collect::<Vec<_>>();
    assert_ne!(texts(1), texts(2));
}

#[test]
fn numbers_of_posts_tell_the_time_and_differ() {
    let posts = many();
    let mut ids: Vec<i64> = posts.iter().map(|post| post.id).collect();
    for post in &posts {
        assert_eq!((post.id >> 22) + EPOCH_MILLIS, post.at.timestamp_millis());
        assert_eq!(post.versions.last(), Some(&post.id));
        assert!(post.versions.is_sorted());
        assert!(post.referenced.iter().all(|(_, other)| other.id < post.id));
    }
    ids.dedup();
    assert_eq!(ids.len(), posts.len());
}

#[test]
fn there_is_some_of_everything() {
    let posts = many();
    let counted = |name: &str, test: fn(&Post) -> bool| {
        let count = posts.iter().filter(|post| test(post)).count();
        assert!(count > 5, "{name}: {count} of {}", posts.len());
    };
    counted("replies", |post| post.refers(Reference::Reply).is_some());
    counted("quotes", |post| post.refers(Reference::Quote).is_some());
    counted("retweets", |post| post.refers(Reference::Retweet).is_some());
    counted("media", |post| !post.media.is_empty());
    counted("places", |post| post.place.is_some());
    counted("points", |post| post.point.is_some());
    counted("polls", |post| post.poll.is_some());
    counted("notes", |post| post.note.is_some());
    counted("edits", |post| post.versions.len() > 1);
    counted("withheld", |post| !post.withheld.is_empty());
    counted("hashtags", |post| !post.entities.hashtags.is_empty());
    counted("mentions", |post| !post.entities.mentions.is_empty());
    counted("cashtags", |post| !post.entities.cashtags.is_empty());
    counted("links", |post| !post.entities.links.is_empty());
    counted("breaks", |post| post.text.contains('\n'));
    counted("escapes", |post| post.text.contains("&lt;"));
    counted("quotation marks", |post| post.text.contains('"'));
    counted("beyond the basic plane", |post| post.text.chars().any(|character| character > '\u{ffff}'));
    counted("Japanese", |post| post.lang == "ja");
    counted("Arabic", |post| post.lang == "ar");
    assert!(posts.iter().all(|post| post.text.chars().count() <= 280 + 20), "a reply may begin with a name");
}

#[test]
fn what_is_referred_to_is_included() {
    let everything = Asked::everything();
    for post in many() {
        let message = read(&post.v2(&everything, &[]));
        let (data, includes) = (&message["data"], &message["includes"]);
        let has = |list: &str, key: &str, id: &Value| {
            includes[list].as_array().is_some_and(|list| list.iter().any(|one| one[key] == *id))
        };
        assert!(has("users", "id", &data["author_id"]), "{message}");
        for reference in data["referenced_tweets"].as_array().into_iter().flatten() {
            assert!(has("tweets", "id", &reference["id"]), "{message}");
        }
        for key in data["attachments"]["media_keys"].as_array().into_iter().flatten() {
            assert!(has("media", "media_key", key), "{message}");
        }
        for id in data["attachments"]["poll_ids"].as_array().into_iter().flatten() {
            assert!(has("polls", "id", id), "{message}");
        }
        assert!(data["geo"]["place_id"].is_null() || has("places", "id", &data["geo"]["place_id"]), "{message}");
        assert!(data["in_reply_to_user_id"].is_null() || has("users", "id", &data["in_reply_to_user_id"]));
        for mention in data["entities"]["mentions"].as_array().into_iter().flatten() {
            assert!(has("users", "id", &mention["id"]), "{message}");
            let text = cut_out(data["text"].as_str().unwrap(), mention);
            assert_eq!(text, format!("@{}", mention["username"].as_str().unwrap()));
        }
        for link in data["entities"]["urls"].as_array().into_iter().flatten() {
            assert_eq!(cut_out(data["text"].as_str().unwrap(), link), link["url"].as_str().unwrap());
            assert_ne!(link["url"], link["expanded_url"], "every link is a short one: {message}");
        }
    }
}

#[test]
fn only_what_is_asked_for_is_delivered() {
    let asked = asked(&[
        ("tweet.fields", "lang,created_at"),
        ("expansions", "author_id,referenced_tweets.id"),
        ("user.fields", "verified"),
    ]);
    let post = many().into_iter().find(|post| post.refers(Reference::Quote).is_some()).unwrap();
    let message = read(&post.v2(&asked, &[]));
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(keys(&message), "data includes matching_rules");
    let data = &message["data"];
    assert_eq!(keys(data), "id text edit_history_tweet_ids author_id created_at lang referenced_tweets");
    assert_eq!(keys(&message["includes"]), "users tweets");
    assert_eq!(keys(&message["includes"]["users"][0]), "id name username verified");
    assert_eq!(data["referenced_tweets"][0]["type"], "quoted");
    let created = data["created_at"].as_str().unwrap();
    assert_eq!((created.len(), &created[19..20], &created[23..]), (24, ".", "Z"));
}

#[test]
fn texts_that_are_given_stay_as_they_are() {
    let long = format!("see https://example.com/a #cat @Dog {}", "x".repeat(5_000));
    let post = Post::with_text(1, at(0), &long);
    assert_eq!((post.text.as_str(), &post.note), (long.as_str(), &None));
    let data = read(&post.v2(&asked(&[("tweet.fields", "entities")]), &[]))["data"].clone();
    assert_eq!(data["entities"]["urls"][0]["expanded_url"], "https://example.com/a");
    assert_eq!(data["entities"]["hashtags"][0]["tag"], "cat");
    assert_eq!(data["entities"]["mentions"][0]["id"], User::named("dog").id.to_string());
}

#[test]
fn an_edit_is_a_new_post_that_knows_the_old_ones() {
    let first = Post::with_text(1, at(0), "teh cat");
    let second = first.edited(2, at(60_000), "the #cat");
    let third = second.edited(3, at(90_000), "the cat");
    assert_eq!(third.versions, [first.id, second.id, third.id]);
    assert_eq!((third.conversation(), &third.author), (first.id, &first.author));
    assert_eq!(second.entities.hashtags.len(), 1);
    let message = read(&third.v2(&asked(&[("tweet.fields", "edit_controls")]), &[]));
    assert_eq!(message["data"]["edit_controls"]["edits_remaining"], 3);
}

#[test]
fn the_older_form_is_ascii_and_says_the_same() {
    for post in many() {
        let json = post.v11();
        assert!(json.is_ascii() && !json.contains(['\r', '\n']), "{json}");
        assert!(!json.replace("\\/", "").contains('/'), "{json}");
        let tweet = read(&json);
        assert_eq!(tweet["id"].as_i64(), Some(post.id));
        assert_eq!(tweet["id_str"], post.id.to_string());
        assert_eq!(tweet["text"], post.text);
        assert_eq!(tweet["timestamp_ms"], post.at.timestamp_millis().to_string());
        assert_eq!(tweet["user"]["id_str"], post.author.id.to_string());
        assert_eq!(tweet["truncated"], post.note.is_some());
        let note = post.note.as_ref().map(|note| note.text.as_str());
        assert_eq!(tweet["extended_tweet"]["full_text"].as_str(), note);
        let repeated = post.refers(Reference::Retweet).map(|original| original.id);
        assert_eq!(tweet["retweeted_status"]["id"].as_i64(), repeated);
        for mention in tweet["entities"]["user_mentions"].as_array().unwrap() {
            assert_eq!(cut_out(&post.text, mention), format!("@{}", mention["screen_name"].as_str().unwrap()));
        }
    }
    let post = Post::with_text(1, DateTime::from_timestamp_millis(1_767_225_600_123).unwrap(), "x");
    assert!(post.v11().starts_with("{\"created_at\":\"Thu Jan 01 00:00:00 +0000 2026\",\"id\":"));
}

#[test]
fn a_user_follows_from_the_name() {
    assert_eq!(User::named("Big_Cat").id, User::named("big_cat").id);
    let users: Vec<User> = (0..200).map(|number| User::named(&format!("user_{number}"))).collect();
    assert!(users.iter().any(|user| user.id > 1 << 53) && users.iter().any(|user| user.id < 1 << 32));
    assert!(users.iter().all(|user| user.id > 0));
}

proptest! {
    #[test]
    fn every_post_is_json_on_one_line_and_its_number_a_string(seed: u64, number: u64, millis in 0..10_000_000_000_i64) {
        let post = Post::make(seed, number, at(millis));
        let json = post.v2(&Asked::everything(), &[("1".to_owned(), Some("a \"tag\"".to_owned()))]);
        prop_assert!(!json.contains(['\r', '\n']));
        let message = read(&json);
        let id = post.id.to_string();
        prop_assert_eq!(message["data"]["id"].as_str(), Some(id.as_str()));
        prop_assert_eq!(message["matching_rules"][0]["tag"].as_str(), Some("a \"tag\""));
        read(&post.v11());
    }

    #[test]
    fn any_text_is_delivered_as_it_is(text in ".{0,80}|[#@$&_a ht:p/s.…é犬]{0,40}") {
        let post = Post::with_text(0, at(0), &text);
        let message = read(&post.v2(&Asked::everything(), &[]));
        prop_assert_eq!(message["data"]["text"].as_str(), Some(text.as_str()));
        let tweet = read(&post.v11());
        prop_assert_eq!(tweet["text"].as_str(), Some(text.as_str()));
    }
}
