//! What can be asked for with each post: the words that X knows (its `OpenAPI` description, version 2.167).

use crate::source::Problem;

/// A list of words that goes into the query under one name.
pub(super) struct Parameter {
    /// The key in the YAML.
    pub(super) key: &'static str,
    /// The parameter of X's.
    pub(super) name: &'static str,
    words: &'static [&'static str],
}

/// Every parameter that takes a list of words.
pub(super) const PARAMETERS: [Parameter; 6] = [
    Parameter {
        key: "tweet_fields",
        name: "tweet.fields",
        words: &[
            "article",
            "attachments",
            "author_id",
            "card_uri",
            "community_id",
            "context_annotations",
            "conversation_id",
            "created_at",
            "display_text_range",
            "edit_controls",
            "edit_history_tweet_ids",
            "entities",
            "geo",
            "id",
            "in_reply_to_user_id",
            "lang",
            "matched_media_notes",
            "media_metadata",
            "non_public_metrics",
            "note_request_suggestions",
            "note_tweet",
            "organic_metrics",
            "paid_partnership",
            "possibly_sensitive",
            "promoted_metrics",
            "public_metrics",
            "referenced_tweets",
            "reply_settings",
            "scopes",
            "source",
            "suggested_source_links",
            "suggested_source_links_with_counts",
            "text",
            "withheld",
        ],
    },
    Parameter {
        key: "expansions",
        name: "expansions",
        words: &[
            "article.cover_media",
            "article.media_entities",
            "attachments.media_keys",
            "attachments.media_source_tweet",
            "attachments.poll_ids",
            "author_id",
            "edit_history_tweet_ids",
            "entities.mentions.username",
            "entities.note.mentions.username",
            "geo.place_id",
            "in_reply_to_user_id",
            "referenced_tweets.id",
            "referenced_tweets.id.author_id",
            "referenced_tweets.id.attachments.media_keys",
        ],
    },
    Parameter {
        key: "user_fields",
        name: "user.fields",
        words: &[
            "affiliation",
            "confirmed_email",
            "connection_status",
            "created_at",
            "description",
            "entities",
            "id",
            "is_identity_verified",
            "location",
            "most_recent_tweet_id",
            "name",
            "parody",
            "pinned_tweet_id",
            "profile_banner_url",
            "profile_image_url",
            "protected",
            "public_metrics",
            "receives_your_dm",
            "subscription",
            "subscription_type",
            "url",
            "username",
            "verified",
            "verified_followers_count",
            "verified_type",
            "withheld",
        ],
    },
    Parameter {
        key: "media_fields",
        name: "media.fields",
        words: &[
            "alt_text",
            "duration_ms",
            "height",
            "media_key",
            "non_public_metrics",
            "organic_metrics",
            "preview_image_url",
            "promoted_metrics",
            "public_metrics",
            "type",
            "url",
            "variants",
            "width",
        ],
    },
    Parameter {
        key: "place_fields",
        name: "place.fields",
        words: &["contained_within", "country", "country_code", "full_name", "geo", "id", "name", "place_type"],
    },
    Parameter {
        key: "poll_fields",
        name: "poll.fields",
        words: &["duration_minutes", "end_datetime", "id", "options", "voting_status"],
    },
];

impl Parameter {
    /// What is wrong with the words asked for.
    pub(super) fn problems(&self, asked: &[String]) -> Vec<Problem> {
        let wrong = asked.iter().enumerate().filter_map(|(index, word)| {
            let message = if !self.words.contains(&word.as_str()) {
                match self.nearest(word) {
                    Some(near) => format!("X has no `{word}`; did you mean `{near}`?"),
                    None => format!("X has no `{word}`; there are: {}", self.words.join(", ")),
                }
            } else if asked[..index].contains(word) {
                format!("`{word}` is there twice; leave one out")
            } else {
                return None;
            };
            Some(Problem::new([self.key.to_owned(), index.to_string()], message))
        });
        wrong.collect()
    }

    fn nearest(&self, word: &str) -> Option<&'static str> {
        let distance = |known: &str| strsim::damerau_levenshtein(known, word);
        let near = self.words.iter().copied().min_by_key(|known| distance(known))?;
        (distance(near) <= word.len() / 3).then_some(near)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(parameter: usize, asked: &[&str]) -> Vec<String> {
        let asked: Vec<String> = asked.iter().map(|word| (*word).to_owned()).collect();
        let all = PARAMETERS[parameter].problems(&asked);
        all.iter().map(|problem| format!("{}: {}", problem.path.join("."), problem.message)).collect()
    }

    #[test]
    fn what_x_does_not_know_is_refused_with_what_it_does() {
        assert_eq!(problems(0, &["created_at", "lang"]), Vec::<String>::new());
        assert_eq!(problems(0, &["creatd_at"]), ["tweet_fields.0: X has no `creatd_at`; did you mean `created_at`?"]);
        assert_eq!(problems(0, &["lang", "lang"]), ["tweet_fields.1: `lang` is there twice; leave one out"]);
        assert_eq!(
            problems(5, &["who"]),
            ["poll_fields.0: X has no `who`; there are: duration_minutes, end_datetime, id, options, voting_status"]
        );
    }
}
