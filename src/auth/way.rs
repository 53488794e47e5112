//! The ways to prove who asks that a source's file may choose from.

use std::fmt;

use http::Method;
use http::header::HeaderValue;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{Oauth1, basic, key_problem};
use crate::context::Context;
use crate::source::Problem;

/// How requests prove who asks: one of the ways below.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// OAuth 1.0a: each request is signed with an application's two keys and a user's two.
    pub oauth1: Option<Oauth1>,
    /// A user and a password with each request (RFC 7617). Anybody in between can read them unless the address is https.
    pub basic: Option<Login>,
    /// A token with each request (RFC 6750). Write it as `${NAME}` or `${file:…}`.
    pub bearer: Option<Bearer>,
    /// A user and a password that never travel: they answer what the server asks (RFC 7616).
    pub digest: Option<Login>,
}

impl Auth {
    /// What is wrong with it; paths begin at its own keys.
    pub fn problems(&self) -> Vec<Problem> {
        let Self { oauth1, basic, bearer, digest } = self;
        let ways = [oauth1.is_some(), basic.is_some(), bearer.is_some(), digest.is_some()];
        if ways.iter().filter(|is_there| **is_there).count() != 1 {
            let message = "write one way: `basic: { user, password }`, `bearer: \"${TOKEN}\"`, `digest: { user, password }`, \
                           `oauth1: { consumer_key, consumer_secret, token, token_secret }`";
            return vec![Problem::new(Vec::<String>::new(), message)];
        }
        let at = |way: &'static str, problems: Vec<Problem>| {
            problems.into_iter().map(move |mut problem| {
                problem.path.insert(0, way.into());
                problem
            })
        };
        let mut problems = Vec::new();
        problems.extend(oauth1.iter().flat_map(|oauth1| at("oauth1", oauth1.problems())));
        problems.extend(basic.iter().flat_map(|login| at("basic", login.problems(true))));
        problems.extend(digest.iter().flat_map(|login| at("digest", login.problems(false))));
        let wrong = bearer.as_ref().and_then(|bearer| key_problem(&bearer.0));
        problems.extend(wrong.map(|message| Problem::new(["bearer"], message)));
        problems
    }

    /// The `Authorization` of one request, made anew for each; none where the server has to ask first (`digest`).
    /// `form` are the parameters of its body, as for [`Oauth1::sign`].
    pub fn authorize(
        &self,
        context: &Context,
        method: &Method,
        url: &Url,
        form: &[(String, String)],
    ) -> Option<HeaderValue> {
        if let Some(oauth1) = &self.oauth1 {
            return Some(oauth1.sign(context, method, url, form));
        }
        if let Some(login) = &self.basic {
            return Some(basic(&login.user, &login.password));
        }
        let mut value = HeaderValue::from_str(&format!("Bearer {}", self.bearer.as_ref()?.0)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

/// A user and a password.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user's name.
    pub user: String,
    /// The password. Write it as `${NAME}` or `${file:…}`, so that it stands in no YAML.
    pub password: String,
}

impl Login {
    fn problems(&self, is_basic: bool) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.user.is_empty() || self.user.contains(char::is_control) {
            problems.push(Problem::new(["user"], "is empty, or has a control character in it"));
        }
        // The first colon ends the user (RFC 7617, 2).
        if is_basic && self.user.contains(':') {
            problems.push(Problem::new(["user"], "has a colon in it, which cannot be sent this way"));
        }
        if self.password.contains(char::is_control) {
            problems.push(Problem::new(["password"], "has a line break or another control character in it"));
        }
        problems
    }
}

/// The user is no secret, but whose a source is need not stand in a log either.
impl fmt::Debug for Login {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Login").finish_non_exhaustive()
    }
}

/// A token.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Bearer(pub String);

impl fmt::Debug for Bearer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Bearer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::SystemClock;
    use serde_json::json;
    use std::sync::Arc;

    #[test]
    fn each_way_has_its_header_and_shows_nothing() {
        let context = Context::new(Arc::new(SystemClock));
        let url = "https://example.com/".parse().unwrap();
        let header = |value| {
            let auth: Auth = serde_json::from_value(value).unwrap();
            assert_eq!(auth.problems(), []);
            assert!(!format!("{auth:?}").contains("secret"), "{auth:?}");
            let header = auth.authorize(&context, &Method::GET, &url, &[]);
            header.map(|value| (value.is_sensitive(), value.to_str().unwrap().to_owned()))
        };
        // The example of RFC 7617, section 2.
        let basic = header(json!({ "basic": { "user": "Aladdin", "password": "open sesame" } }));
        assert_eq!(basic, Some((true, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".into())));
        assert_eq!(header(json!({ "bearer": "a-secret" })), Some((true, "Bearer a-secret".into())));
        assert_eq!(header(json!({ "digest": { "user": "a", "password": "secret" } })), None);
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let problems = |value| serde_json::from_value::<Auth>(value).unwrap().problems();
        assert_eq!(problems(json!({ "basic": { "user": "a:b", "password": "" } }))[0].path, ["basic", "user"]);
        assert_eq!(problems(json!({ "digest": { "user": "a:b", "password": "p" } })), []);
        assert_eq!(problems(json!({ "bearer": "two words" }))[0].path, ["bearer"]);
        assert_eq!(problems(json!({ "bearer": "a", "basic": { "user": "a", "password": "b" } })).len(), 1);
        assert_eq!(problems(json!({})).len(), 1);
    }
}
