//! One object per post: what a message of X's keeps beside it in `includes` is put where the post refers to it, in the
//! form that researchers know from twarc's `flatten`.
//!
//! - `author` and `in_reply_to_user` stand beside the ids that name them;
//! - `attachments` gets `media` (all that are there) and `poll`;
//! - `geo` takes up the keys of its place, each mention those of its user, each referenced post those of the post, which
//!   is itself flattened; where both have a key, what is included counts;
//! - `matching_rules` goes onto the post.
//!
//! What is not included leaves its reference as it was, where twarc writes an empty object. Posts that users have pinned
//! are not put in: they have nothing to do with the post.
//!
//! Nothing is read into values and written again: texts are cut and joined, so that each token stays as X sent it.

use std::borrow::Cow;
use std::collections::HashMap;

use anyhow::{Context as _, anyhow};
use serde_json::value::RawValue;

use crate::pairs::Object;

/// How deep posts are put into posts. A quote in a retweet is two deep, and X includes no more.
const DEPTH_MAX: usize = 5;
/// How many bytes of includes are put into the posts of one message at most. What comes later keeps its references:
/// without a limit a message could be made that grows without one.
const INLINED_BYTES_MAX: usize = 16 << 20;

/// A message, flattened.
#[derive(Debug)]
pub(super) struct Flattened<'a> {
    /// The posts, in order; one, but for answers that bring a list.
    pub(super) posts: Vec<Box<RawValue>>,
    /// What X could not include, and why. It has no place in twarc's form.
    pub(super) errors: Option<&'a RawValue>,
}

/// Flattens a whole message, `{"data":…,"includes":…,"matching_rules":…,"errors":…}`.
///
/// # Errors
/// When it is not JSON, or has no `data`.
pub(super) fn flatten(message: &str) -> anyhow::Result<Flattened<'_>> {
    let envelope: Object<'_> = serde_json::from_str(message).context("the message is not a JSON object")?;
    let data = envelope.get("data").filter(|data| data.get() != "null");
    let data = data.ok_or_else(|| anyhow!("the message has no `data`: it is not about a post"))?;
    let posts = list(data).unwrap_or_else(|| vec![data]);
    let mut includes = Includes::new(envelope.get("includes"));
    let rules = envelope.get("matching_rules").map(RawValue::get);
    let flat = posts.into_iter().map(|post| {
        let text = includes.post(post, &mut Vec::new(), rules.map(|rules| ("matching_rules", rules)));
        RawValue::from_string(text.into_owned()).context("the flattened post is not JSON")
    });
    Ok(Flattened { posts: flat.collect::<anyhow::Result<_>>()?, errors: envelope.get("errors") })
}

fn list(value: &RawValue) -> Option<Vec<&RawValue>> {
    serde_json::from_str(value.get()).ok()
}

/// An id, key or name as it is compared: the same whether it came as text or as a number.
fn bare(value: &RawValue) -> &str {
    let text = value.get();
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

/// The object `base` with the keys of `other`, which count where both have one.
fn merged(base: &RawValue, other: &str) -> Option<String> {
    let (object, other) = (Object::read(base)?, serde_json::from_str::<Object<'_>>(other).ok()?);
    let mut draft = Draft::of(base);
    for (key, value) in &object.0 {
        draft.edits.extend(other.get(key).map(|new| (value.get(), new.get().into())));
    }
    let new_keys = other.0.iter().filter(|(key, _)| object.get(key).is_none());
    draft.added.extend(new_keys.map(|(key, value)| (key.clone(), value.get().into())));
    Some(draft.finish().into_owned())
}

/// A text in the making: the text of an object or list, with other texts for some of its parts, and with new keys.
struct Draft<'a> {
    text: &'a str,
    /// Parts of `text` in order, each with what stands there instead.
    edits: Vec<(&'a str, Cow<'a, str>)>,
    /// New keys of an object and their values.
    added: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Draft<'a> {
    fn of(value: &'a RawValue) -> Self {
        Self { text: value.get(), edits: Vec::new(), added: Vec::new() }
    }

    /// Puts `new` where `part` was, if it is different. Parts are given in their order.
    fn replace(&mut self, part: &'a RawValue, new: Cow<'a, str>) {
        if let Cow::Owned(_) = new {
            self.edits.push((part.get(), new));
        }
    }

    /// Gives the object a new key.
    fn add(&mut self, key: &'static str, value: impl Into<Cow<'a, str>>) {
        self.added.push((key.into(), value.into()));
    }

    fn finish(self) -> Cow<'a, str> {
        if self.edits.is_empty() && self.added.is_empty() {
            return self.text.into();
        }
        let mut out = String::with_capacity(self.text.len() * 2);
        let mut done = 0;
        for (part, new) in &self.edits {
            // A value's text is a piece of the text that it was read from, so its address tells where it stands.
            let at = part.as_ptr().addr() - self.text.as_ptr().addr();
            out.push_str(&self.text[done..at]);
            out.push_str(new);
            done = at + part.len();
        }
        out.push_str(&self.text[done..]);
        if !self.added.is_empty() {
            let is_empty = out[1..out.len() - 1].trim_ascii().is_empty();
            out.truncate(out.len() - 1);
            for (index, (key, value)) in self.added.iter().enumerate() {
                let comma = if is_empty && index == 0 { "" } else { "," };
                let key = serde_json::to_string(key).expect("invariant: text always has a JSON form");
                out.extend([comma, &key, ":", value]);
            }
            out.push('}');
        }
        out.into()
    }
}

/// What was included beside the posts, by what refers to it.
#[derive(Default)]
struct Includes<'a> {
    users_by_id: HashMap<&'a str, &'a RawValue>,
    users_by_name: HashMap<&'a str, &'a RawValue>,
    media: HashMap<&'a str, &'a RawValue>,
    polls: HashMap<&'a str, &'a RawValue>,
    places: HashMap<&'a str, &'a RawValue>,
    posts: HashMap<&'a str, &'a RawValue>,
    /// How many bytes have been put into posts.
    inlined: usize,
}

impl<'a> Includes<'a> {
    fn new(includes: Option<&'a RawValue>) -> Self {
        let Some(includes) = includes.and_then(Object::read) else { return Self::default() };
        let by = |list_names: &[&str], key: &str| {
            let lists = list_names.iter().filter_map(|name| includes.get(name));
            let objects = lists.filter_map(list).flatten();
            objects.filter_map(|value| Some((bare(Object::read(value)?.get(key)?), value))).collect()
        };
        Self {
            users_by_id: by(&["users"], "id"),
            users_by_name: by(&["users"], "username"),
            media: by(&["media"], "media_key"),
            polls: by(&["polls"], "id"),
            places: by(&["places"], "id"),
            // X's own description of its API has begun to call them posts.
            posts: by(&["tweets", "posts"], "id"),
            inlined: 0,
        }
    }

    /// What an id refers to, if it is there and there is room for it.
    fn take(&mut self, of: fn(&Self) -> &HashMap<&'a str, &'a RawValue>, id: &RawValue) -> Option<&'a RawValue> {
        let value = of(self).get(bare(id)).copied()?;
        let inlined = self.inlined + value.get().len();
        if inlined > INLINED_BYTES_MAX {
            return None;
        }
        self.inlined = inlined;
        Some(value)
    }

    /// A post with all that it refers to. `above` are the ids of the posts that it is put into.
    fn post(
        &mut self,
        post: &'a RawValue,
        above: &mut Vec<&'a str>,
        more: Option<(&'static str, &'a str)>,
    ) -> Cow<'a, str> {
        let Some(object) = Object::read(post) else { return post.get().into() };
        let mut draft = Draft::of(post);
        above.push(object.get("id").map_or("", bare));
        for (key, part) in &object.0 {
            let new = match key.as_ref() {
                "attachments" => self.attachments(part),
                "geo" => self.geo(part),
                "entities" => self.each_in(part, "mentions", Self::mention),
                "note_tweet" => self.note(part),
                "referenced_tweets" | "referenced_posts" => {
                    self.each(part, |includes, reference| includes.reference(reference, above))
                }
                _ => continue,
            };
            draft.replace(part, new);
        }
        above.pop();
        for (id, key) in [("author_id", "author"), ("in_reply_to_user_id", "in_reply_to_user")] {
            let id = object.get(id).filter(|_| object.get(key).is_none());
            if let Some(user) = id.and_then(|id| self.take(|includes| &includes.users_by_id, id)) {
                draft.add(key, user.get());
            }
        }
        if let Some((key, value)) = more.filter(|(key, _)| object.get(key).is_none()) {
            draft.add(key, value);
        }
        draft.finish()
    }

    fn attachments(&mut self, attachments: &'a RawValue) -> Cow<'a, str> {
        let Some(object) = Object::read(attachments) else { return attachments.get().into() };
        let ids = |key: &str, new: &str| {
            let ids = object.get(key).filter(|_| object.get(new).is_none());
            ids.and_then(list).unwrap_or_default()
        };
        let mut draft = Draft::of(attachments);
        let media: Vec<&str> = ids("media_keys", "media")
            .into_iter()
            .filter_map(|key| self.take(|includes| &includes.media, key))
            .map(RawValue::get)
            .collect();
        if !media.is_empty() {
            draft.add("media", format!("[{}]", media.join(",")));
        }
        // A post has one poll at most.
        let poll = ids("poll_ids", "poll").pop().and_then(|id| self.take(|includes| &includes.polls, id));
        if let Some(poll) = poll {
            draft.add("poll", poll.get());
        }
        draft.finish()
    }

    fn geo(&mut self, geo: &'a RawValue) -> Cow<'a, str> {
        let place = Object::read(geo).and_then(|object| object.get("place_id"));
        let place = place.and_then(|id| self.take(|includes| &includes.places, id));
        place.and_then(|place| merged(geo, place.get())).map_or(geo.get().into(), Into::into)
    }

    fn mention(&mut self, mention: &'a RawValue) -> Cow<'a, str> {
        let Some(object) = Object::read(mention) else { return mention.get().into() };
        // The name is as the author wrote it; the id, where there is one, is sure.
        let by_id = object.get("id").and_then(|id| self.take(|includes| &includes.users_by_id, id));
        let by_name = || object.get("username").and_then(|name| self.take(|includes| &includes.users_by_name, name));
        let user = by_id.or_else(by_name);
        user.and_then(|user| merged(mention, user.get())).map_or(mention.get().into(), Into::into)
    }

    /// The full text of a long post has mentions of its own.
    fn note(&mut self, note: &'a RawValue) -> Cow<'a, str> {
        let Some(entities) = Object::read(note).and_then(|object| object.get("entities")) else {
            return note.get().into();
        };
        let mut draft = Draft::of(note);
        draft.replace(entities, self.each_in(entities, "mentions", Self::mention));
        draft.finish()
    }

    fn reference(&mut self, reference: &'a RawValue, above: &mut Vec<&'a str>) -> Cow<'a, str> {
        let id = Object::read(reference).and_then(|object| object.get("id"));
        let id = id.filter(|id| above.len() <= DEPTH_MAX && !above.contains(&bare(id)));
        let Some(post) = id.and_then(|id| self.take(|includes| &includes.posts, id)) else {
            return reference.get().into();
        };
        let post = self.post(post, above, None);
        merged(reference, &post).map_or(reference.get().into(), Into::into)
    }

    /// A list with each of its elements changed by `change`.
    fn each(
        &mut self,
        all: &'a RawValue,
        mut change: impl FnMut(&mut Self, &'a RawValue) -> Cow<'a, str>,
    ) -> Cow<'a, str> {
        let mut draft = Draft::of(all);
        for element in list(all).unwrap_or_default() {
            draft.replace(element, change(self, element));
        }
        draft.finish()
    }

    /// An object whose list `key` has each of its elements changed by `change`.
    fn each_in(
        &mut self,
        object: &'a RawValue,
        key: &str,
        change: impl FnMut(&mut Self, &'a RawValue) -> Cow<'a, str>,
    ) -> Cow<'a, str> {
        let Some(all) = Object::read(object).and_then(|object| object.get(key)) else { return object.get().into() };
        let mut draft = Draft::of(object);
        draft.replace(all, self.each(all, change));
        draft.finish()
    }
}

#[cfg(test)]
mod tests;
