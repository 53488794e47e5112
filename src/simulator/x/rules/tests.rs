//! What matches, what does not, and what is no rule.

use chrono::{DateTime, Utc};
use proptest::prelude::*;

use super::super::post::User;
use super::*;

fn at() -> DateTime<Utc> {
    "2026-11-23T07:04:05Z".parse().unwrap()
}

fn post(text: &str) -> Post {
    Post::with_text(1, at(), text)
}

fn matches(rule: &str, text: &str) -> bool {
    Rule::parse(rule, 1024).unwrap_or_else(|why| panic!("{rule}: {why}")).matches(&post(text))
}

#[test]
fn words_and_signs() {
    for (rule, yes, no) in [
        ("cat", "A CAT, sleeping", "concatenate"),
        ("cat dog", "the dog and the cat", "the dog alone"),
        ("\"big cat\"", "one Big cat!", "big, grey cat"),
        ("#cat", "a #Cat", "a cat"),
        ("@somebody", "hello @SomeBody!", "hello somebody"),
        ("$aapl", "$AAPL up", "aapl up"),
        ("url:example.com", "see https://www.example.com/a", "see https://example.org/a"),
        ("url:\"https://example.com/a\"", "see https://example.com/a", "see https://example.com/b"),
        ("犬", "犬 と", "猫 と"),
        ("caf\u{e9}", "un caf\u{e9}", "un cafe"),
        ("cat -dog", "cat", "cat and dog"),
        ("cat OR dog", "dog", "bird"),
        ("cat dog OR bird", "bird", "dog"),
        ("(cat OR dog) big", "big dog", "dog"),
        ("cat (big OR (grey -old))", "grey cat", "old grey cat"),
        ("cat has:hashtags", "cat #a", "cat"),
        ("cat -has:links", "cat", "cat https://a.b"),
        ("cat lang:en", "cat", "dog"),
        ("cat -is:nullcast", "cat", "dog"),
        ("ORANGE", "an orange", "OR ANGE"),
    ] {
        assert!(matches(rule, yes), "{rule}: {yes}");
        assert!(!matches(rule, no), "{rule}: {no}");
    }
}

#[test]
fn what_is_no_rule_is_refused_with_its_place() {
    for (rule, why) in [
        ("", "no viable alternative"),
        ("cat OR", "no viable alternative"),
        ("cat OR lang:en", "in each part of an OR"),
        ("lang:en", "at least one operator"),
        ("-cat", "not negated"),
        ("has:images is:retweet", "at least one operator"),
        ("(cat", "missing ')' (at position 5)"),
        ("cat)", "mismatched input ')' (at position 4)"),
        ("cat -(dog bird)", "cannot be negated"),
        ("cat -sample:5", "cannot be negated"),
        ("cat is:nullcast", "must be negated"),
        ("cat sample:0", "invalid operator 'sample:0'"),
        ("cat frm:me", "invalid operator 'frm:me' (at position 5)"),
        ("cat from:", "without a value"),
        ("\"cat", "not closed"),
        ("\" \"", "empty phrase"),
        ("cat #", "without a name"),
    ] {
        let found = Rule::parse(rule, 1024).expect_err(rule);
        assert!(found.contains(why), "{rule}: {found}");
    }
    assert!(Rule::parse(&"犬".repeat(1025), 1024).unwrap_err().contains("1025 characters"));
    assert!(Rule::parse(&"犬".repeat(1024), 1024).is_ok());
    assert!(Rule::parse(&"(".repeat(1000), 1024).unwrap_err().contains("deep"));
}

/// What posts refer to, tried on those that a seed makes.
#[test]
fn referring_posts_are_told_apart() {
    let posts: Vec<Post> = (0..400).map(|number| Post::make(1, number, at())).collect();
    let retweet = posts.iter().find(|post| post.refers(Reference::Retweet).is_some()).unwrap();
    let reply = posts.iter().find(|post| post.refers(Reference::Reply).is_some()).unwrap();
    let quote = posts.iter().find(|post| post.refers(Reference::Quote).is_some()).unwrap();
    let check = |text: &str, post: &Post| Rule::parse(text, 1024).unwrap().matches(post);
    for (word, post) in [("retweet", retweet), ("reply", reply), ("quote", quote)] {
        let from = format!("from:{}", post.author.username);
        assert!(check(&from, post) && check(&format!("from:{}", post.author.id), post));
        for kind in ["retweet", "reply", "quote"] {
            assert_eq!(check(&format!("{from} is:{kind}"), post), kind == word, "{kind} {word}");
        }
    }
    let answered = &reply.refers(Reference::Reply).unwrap().author.username;
    assert!(check(&format!("to:{answered}"), reply) && !check("to:nobody_at_all", reply));
    let repeated = retweet.refers(Reference::Retweet).unwrap();
    assert!(check(&format!("retweets_of:{}", repeated.author.username), retweet));
    assert!(check(&format!("conversation_id:{}", reply.conversation()), reply));
    // What is repeated or quoted counts as content.
    let long =
        posts.iter().find(|post| post.refers(Reference::Retweet).is_some_and(|post| post.text.len() > 200)).unwrap();
    let end = long.refers(Reference::Retweet).unwrap().text.split_whitespace().rfind(|word| word.len() > 3).unwrap();
    assert!(check(&format!("\"{}\"", end.trim_matches('"')), long), "{end}");
    let sampled = posts.iter().filter(|post| check("(to:a OR \"a\" OR from:b OR lang_x OR e) sample:50", post)).count();
    let all = posts.iter().filter(|post| check("(to:a OR \"a\" OR from:b OR lang_x OR e)", post)).count();
    assert!(sampled < all || all == 0);
}

#[test]
fn filters_of_v11_are_any_of_three() {
    let track =
        |phrase: &str, text: &str| Filter { track: vec![phrase.to_owned()], ..Filter::default() }.matches(&post(text));
    for (phrase, yes, no) in [
        ("Twitter", "a twitter, and so on", "twitters"),
        ("big cat", "cat, big", "big dog"),
        ("#cat", "a #cat", "a cat"),
        ("example.com/foo", "https://www.example.com/foo", "https://example.com/bar"),
        ("cat", "#cat", "category"),
        ("@one", "for @one", "for one"),
    ] {
        assert!(track(phrase, yes), "{phrase}: {yes}");
        assert!(!track(phrase, no), "{phrase}: {no}");
    }
    let by = |id: i64, post: &Post| Filter { follow: vec![id], ..Filter::default() }.matches(post);
    let reply = (0..400).map(|number| Post::make(1, number, at())).find(|post| post.refers(Reference::Reply).is_some());
    let reply = reply.unwrap();
    let answered = reply.refers(Reference::Reply).unwrap().author.id;
    assert!(by(reply.author.id, &reply) && by(answered, &reply) && !by(1, &reply));
    assert!(!by(User::named("one").id, &post("only for @one")), "a mention is no answer");

    let mut placed = post("here");
    let inside = |post: &Post, area| Filter { locations: vec![area], ..Filter::default() }.matches(post);
    assert!(!inside(&placed, [-180.0, -90.0, 180.0, 90.0]));
    placed.point = Some([12.5, 41.9]);
    assert!(inside(&placed, [12.0, 41.0, 13.0, 42.0]) && !inside(&placed, [41.0, 12.0, 42.0, 13.0]));
    assert!(!Filter::default().matches(&placed));
}

proptest! {
    #[test]
    fn any_text_is_a_rule_or_refused(text in "[a-z#@$ ()\":-]{0,40}|\\PC{0,40}|([a-zO R()-]{1,6} ){0,8}") {
        if let Ok(rule) = Rule::parse(&text, 1024) {
            // Whatever it is, it can be applied, and says the same again.
            let post = post("a cat");
            prop_assert_eq!(rule.matches(&post), rule.matches(&post));
        }
    }
}
