//! What a request asks for beside the default fields. The words are those of the public `OpenAPI` file of X.

/// Fields of a post.
const TWEET: &[&str] = &[
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
];

/// What may be put into `includes`.
const EXPANSIONS: &[&str] = &[
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
    "referenced_tweets.id.attachments.media_keys",
    "referenced_tweets.id.author_id",
];

/// Fields of a picture or film.
const MEDIA: &[&str] = &[
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
];

/// Fields of a poll.
const POLL: &[&str] = &["duration_minutes", "end_datetime", "id", "options", "voting_status"];

/// Fields of a place.
const PLACE: &[&str] = &["contained_within", "country", "country_code", "full_name", "geo", "id", "name", "place_type"];

/// Fields of a user.
const USER: &[&str] = &[
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
];

/// What a request asks for beside the default fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pub(super) tweet: Words,
    pub(super) expansions: Words,
    pub(super) media: Words,
    pub(super) poll: Words,
    pub(super) place: Words,
    pub(super) user: Words,
}

/// The words of one list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Words(pub(super) Vec<&'static str>);

impl Words {
    /// Whether the list names this.
    pub(super) fn has(&self, word: &str) -> bool {
        self.0.contains(&word)
    }

    /// Takes the words of one value, separated by commas; empty ones are passed over.
    fn take(&mut self, known: &'static [&'static str], value: &str) -> Result<(), String> {
        for word in value.split(',').filter(|word| !word.is_empty()) {
            let Some(known) = known.iter().find(|known| **known == word) else {
                return Err(word.to_owned());
            };
            if !self.has(known) {
                self.0.push(known);
            }
        }
        Ok(())
    }
}

impl Asked {
    /// Reads the lists of fields and the expansions of a request; its other parameters are passed over.
    ///
    /// # Errors
    /// The parameter and the value that X does not know, as its 400 names them.
    pub fn parse(query: &[(String, String)]) -> Result<Self, (String, String)> {
        let mut asked = Self::default();
        for (name, value) in query {
            let (words, known) = match name.as_str() {
                "tweet.fields" => (&mut asked.tweet, TWEET),
                "expansions" => (&mut asked.expansions, EXPANSIONS),
                "media.fields" => (&mut asked.media, MEDIA),
                "poll.fields" => (&mut asked.poll, POLL),
                "place.fields" => (&mut asked.place, PLACE),
                "user.fields" => (&mut asked.user, USER),
                _ => continue,
            };
            words.take(known, value).map_err(|word| (name.clone(), word))?;
        }
        Ok(asked)
    }

    /// Everything that X knows.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            tweet: Words(TWEET.to_vec()),
            expansions: Words(EXPANSIONS.to_vec()),
            media: Words(MEDIA.to_vec()),
            poll: Words(POLL.to_vec()),
            place: Words(PLACE.to_vec()),
            user: Words(USER.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(query: &[(&str, &str)]) -> Result<Asked, (String, String)> {
        let query: Vec<_> = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Asked::parse(&query)
    }

    #[test]
    fn known_words_are_taken_once_and_other_parameters_are_passed_over() {
        let asked = parsed(&[
            ("tweet.fields", "lang,created_at,lang"),
            ("backfill_minutes", "2"),
            ("expansions", "author_id"),
            ("tweet.fields", "geo"),
            ("user.fields", ""),
        ])
        .unwrap();
        assert_eq!(asked.tweet, Words(vec!["lang", "created_at", "geo"]));
        assert!(asked.expansions.has("author_id") && !asked.expansions.has("geo.place_id"));
        assert_eq!(asked.user, Words::default());
    }

    #[test]
    fn an_unknown_word_is_named_with_its_parameter() {
        for (name, value, word) in [
            ("tweet.fields", "lang,username", "username"),
            ("expansions", "author", "author"),
            ("media.fields", "Type", "Type"),
            ("poll.fields", " id", " id"),
            ("place.fields", "id,*", "*"),
            ("user.fields", "lang", "lang"),
        ] {
            assert_eq!(parsed(&[(name, value)]), Err((name.to_owned(), word.to_owned())), "{name}={value}");
        }
    }
}
