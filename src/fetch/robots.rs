//! `robots.txt` of each site, after RFC 9309: fetched once a day, and asked before every request.
//!
//! robotxt parses and matches. Ours is what the RFC says about fetching (2.3.1: no such file allows everything, a
//! server that fails forbids everything; 2.4: an old copy serves for a day, longer only while there is no other; 2.5:
//! 500 KiB), and one thing about parsing: a `User-agent` is read up to its first character that no product token has, as
//! Google's parser does, so that a rule for `tapline/1.0` or `tapline bot` counts.

#[cfg(any(test, fuzzing))]
pub(super) mod checks;

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use http::StatusCode;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderValue, LOCATION, USER_AGENT};
use reqwest::{Client, Method, Request, Response};
use tokio::time::{Instant, timeout};
use url::Url;

use super::gate::{Heard, Member};
use super::{Failure, decode};
use crate::context::{Context, shown_url};
use crate::retry_after::retry_after;

/// How long what is known serves.
const FRESH: Duration = Duration::from_hours(24);
/// How long after a failure it is asked for again: this, doubled with each, up to an hour.
const AGAIN_FIRST: Duration = Duration::from_mins(1);
const AGAIN_MAX: Duration = Duration::from_hours(1);
/// How much of one is read: what the parser takes, and the byte after it, which tells that there is more.
const BYTES_MAX: usize = robotxt::BYTE_LIMIT + 1;
const TIME_MAX: Duration = Duration::from_secs(30);
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// RFC 9309, 2.3.1.2: at least five.
const REDIRECTS_MAX: usize = 5;
/// A longer `Crawl-delay` is a mistake, or means that nothing may be fetched, which `Disallow` says.
/// For how many agents a file is kept parsed.
const AGENTS_MAX: usize = 64;
const CRAWL_DELAY_MAX: Duration = Duration::from_hours(1);

/// What is known of one site's robots.txt.
#[derive(Debug)]
pub(super) struct Known {
    rules: Rules,
    until: Instant,
    failures: u32,
}

#[derive(Debug)]
enum Rules {
    /// The file.
    File(File),
    /// There is none.
    None,
    /// The server fails: nothing may be fetched. In words.
    Failing(String),
}

/// A file, and what it says to each agent that has asked so far.
#[derive(Debug, Default)]
struct File {
    bytes: Vec<u8>,
    parsed: HashMap<String, robotxt::Robots>,
}

impl File {
    fn new(bytes: &[u8]) -> Self {
        Self { bytes: with_tokens(bytes), parsed: HashMap::new() }
    }

    fn robots(&mut self, token: &str) -> &robotxt::Robots {
        // As many as anybody has; more are somebody's mistake, and are parsed again.
        if self.parsed.len() > AGENTS_MAX {
            self.parsed.clear();
        }
        self.parsed.entry(token.to_owned()).or_insert_with(|| robotxt::Robots::parse(&self.bytes, token))
    }
}

/// What may be asked of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why the page may not be fetched.
    pub(super) forbidden: Option<String>,
    pub(super) crawl_delay: Duration,
}

/// Who asks: a client, and what it calls itself.
pub(super) struct Asker<'a> {
    pub(super) client: &'a Client,
    pub(super) context: &'a Context,
    pub(super) member: &'a Member,
    pub(super) user_agent: &'a HeaderValue,
}

impl Asker<'_> {
    /// What the site of `url` allows.
    ///
    /// # Errors
    /// When its robots.txt cannot be asked for, and no old copy is there.
    pub(super) async fn verdict(&self, url: &Url) -> Result<Verdict, Failure> {
        let host = self.member.host();
        let origin = url.origin().ascii_serialization();
        let mut all = host.robots.lock().await;
        if all.get(&origin).is_none_or(|known| known.until <= Instant::now()) {
            let old = all.remove(&origin);
            let known = self.learn(url, old).await?;
            all.insert(origin.clone(), known);
        }
        let token = product_token(self.user_agent.to_str().unwrap_or_default());
        let known = all.get_mut(&origin).expect("invariant: it was put there if it was not");
        Ok(verdict(&mut known.rules, token, url))
    }

    async fn learn(&self, url: &Url, old: Option<Known>) -> Result<Known, Failure> {
        let failures = old.as_ref().map_or(0, |known| known.failures);
        let rules = match (self.fetch(url).await, old) {
            (Ok(Rules::Failing(_)) | Err(Failure::Lost(_)), Some(Known { rules: old @ Rules::File(_), .. })) => old,
            (Ok(Rules::Failing(why)), _) => {
                let wait = AGAIN_FIRST.saturating_mul(1 << failures.min(10)).min(AGAIN_MAX);
                return Ok(Known { rules: Rules::Failing(why), until: Instant::now() + wait, failures: failures + 1 });
            }
            (Ok(rules), _) => return Ok(Known { rules, until: Instant::now() + FRESH, failures: 0 }),
            (Err(failure), _) => return Err(failure),
        };
        Ok(Known { rules, until: Instant::now() + AGAIN_MAX, failures: failures + 1 })
    }

    async fn fetch(&self, page: &Url) -> Result<Rules, Failure> {
        let mut url = page.join("/robots.txt").map_err(|error| Failure::Lost(error.into()))?;
        for _ in 0..=REDIRECTS_MAX {
            let asked = timeout(TIME_MAX, self.ask(&url)).await;
            let answer = asked.unwrap_or_else(|_| {
                Err(Failure::Lost(anyhow::anyhow!("no_answer: {} does not come", shown_url(&url))))
            })?;
            match answer {
                Answer::Rules(rules) => return Ok(rules),
                Answer::Moved(to) => url = to,
            }
        }
        // Too many redirects are no file (2.3.1.2).
        Ok(Rules::None)
    }

    async fn ask(&self, url: &Url) -> Result<Answer, Failure> {
        self.context.check(url).map_err(|error| Failure::Lost(error.into()))?;
        let turn = self.member.turn().await?;
        let mut request = Request::new(Method::GET, url.clone());
        request.headers_mut().insert(USER_AGENT, self.user_agent.clone());
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let response = self.client.execute(request).await.map_err(|error| Failure::Lost(super::cause(error, url)))?;
        let status = response.status();
        let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|value| retry_after(value, self.context.now()));
        turn.heard(Heard { status: status.as_u16(), retry_after, chance: self.context.chance() });
        if status.is_redirection() {
            let to = response.headers().get(LOCATION).and_then(|to| std::str::from_utf8(to.as_bytes()).ok());
            let to = to.and_then(|to| url.join(to).ok()).filter(|to| matches!(to.scheme(), "http" | "https"));
            return Ok(to.map_or(Answer::Rules(Rules::None), Answer::Moved));
        }
        rules_of(status, response, url).await.map(Answer::Rules)
    }
}

enum Answer {
    Rules(Rules),
    Moved(Url),
}

/// What an answer means (RFC 9309, 2.3.1). 429 is a server that fails rather than one without the file, as Google has
/// it: it says nothing about what is allowed.
async fn rules_of(status: StatusCode, mut response: Response, url: &Url) -> Result<Rules, Failure> {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Ok(Rules::Failing(format!("{} answers {status}", shown_url(url))));
    }
    if !status.is_success() {
        return Ok(Rules::None);
    }
    let coded = response.headers().get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let codings = decode::codings(coded);
    let mut bytes = Vec::new();
    while bytes.len() < BYTES_MAX {
        let chunk = response.chunk().await.map_err(|error| Failure::Lost(error.without_url().into()))?;
        let Some(chunk) = chunk else { break };
        bytes.extend_from_slice(&chunk);
    }
    bytes.truncate(BYTES_MAX);
    if !codings.is_empty() {
        // Asked for as it is; who codes it all the same may do so within the same limit.
        bytes = decode::decode(bytes, &codings, BYTES_MAX as u64).map_err(anyhow::Error::from)?;
    }
    Ok(Rules::File(File::new(&bytes)))
}

fn verdict(rules: &mut Rules, token: &str, url: &Url) -> Verdict {
    let none = Verdict { forbidden: None, crawl_delay: Duration::ZERO };
    let site = url.origin().ascii_serialization();
    match rules {
        Rules::None => none,
        Rules::Failing(why) => {
            let why =
                format!("robots_unknown: {why}, and until it does not, nothing of the site may be fetched (RFC 9309)");
            Verdict { forbidden: Some(why), ..none }
        }
        Rules::File(file) => {
            let robots = file.robots(token);
            let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
            let crawl_delay = robots.crawl_delay().unwrap_or_default().min(CRAWL_DELAY_MAX);
            let forbidden = (!robots.is_allowed(path)).then(|| {
                let rule = robots.rules().iter().find(|rule| !rule.is_allow() && rule.is_match(path));
                let rule = rule.map_or_else(String::new, |rule| format!(" (`Disallow: {}`)", rule.pattern().escape_debug()));
                format!(
                    "robots_forbidden: {site}/robots.txt does not allow `{token}` to fetch {}{rule}; if it does not apply \
                     to you, say why: `manners: {{ robots: {{ ignore: \"the reason\" }} }}`",
                    url.path()
                )
            });
            Verdict { forbidden, crawl_delay }
        }
    }
}

/// What a crawler is called in a robots.txt: the first word of its `User-Agent` (RFC 9309, 2.2.1).
pub(super) fn product_token(user_agent: &str) -> &str {
    let end = user_agent.find(|c: char| !is_token(c)).unwrap_or(user_agent.len());
    &user_agent[..end]
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == '-'
}

/// The file with each `User-agent` cut after its product token.
fn with_tokens(file: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(file.len());
    let rest = file.strip_prefix(BYTE_ORDER_MARK).unwrap_or(file);
    out.extend_from_slice(&file[..file.len() - rest.len()]);
    // What ends a line for the parser.
    for line in rest.split_inclusive(|byte| matches!(byte, b'\n' | b'\r' | b'\0')) {
        out.extend_from_slice(&cut_agent(line));
    }
    out
}

fn cut_agent(line: &[u8]) -> Cow<'_, [u8]> {
    let text = without_space(line);
    let is_agent = text.get(..10).is_some_and(|word| word.eq_ignore_ascii_case(b"user-agent"));
    // `User-agents` is something else.
    if !is_agent || !text.get(10).is_some_and(|next| matches!(next, b':' | b' ' | b'\t')) {
        return Cow::Borrowed(line);
    }
    let value = without_space(&text[10..]);
    let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii_start();
    let len = value.iter().take_while(|byte| is_token(char::from(**byte))).count();
    if len == 0 || value[len..].trim_ascii().is_empty() {
        return Cow::Borrowed(line);
    }
    Cow::Owned([b"User-agent: ", &value[..len], b"\n"].concat())
}

/// What the parser takes for space before a word.
fn without_space(text: &[u8]) -> &[u8] {
    let length = text.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    &text[length..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(file: &str, agent: &str, url: &str) -> bool {
        let mut rules = Rules::File(File::new(file.as_bytes()));
        verdict(&mut rules, product_token(agent), &url.parse().unwrap()).forbidden.is_none()
    }

    /// The cases of google/robotstxt's tests of the protocol, those named `ID_…`, in our own table: the file, the
    /// agent, and which paths of a site may be fetched.
    #[test]
    fn g6_the_protocol() {
        let all: &[(&str, &str, &[&str], &[&str])] = &[
            // Lines, with the colon left out too.
            ("user-agent: FooBot\ndisallow: /\n", "FooBot", &[], &["/x/y"]),
            ("foo: FooBot\nbar: /\n", "FooBot", &["/x/y"], &[]),
            ("user-agent FooBot\ndisallow /\n", "FooBot", &[], &["/x/y"]),
            // Groups; rules outside of any count for nobody.
            (GROUPS, "FooBot", &["/x/b", "/z/d"], &["/y/c", "/foo/bar/"]),
            (GROUPS, "BarBot", &["/y/c", "/w/a"], &["/z/d", "/foo/bar/"]),
            (GROUPS, "BazBot", &["/z/d"], &["/foo/bar/"]),
            (OTHER_LINES, "FooBot", &[], &["/x"]),
            (OTHER_LINES, "BarBot", &[], &["/x"]),
            // Capitals in keys and agents.
            ("USER-AGENT: FooBot\nALLOW: /x/\nDISALLOW: /\n", "FooBot", &["/x/y"], &["/a/b"]),
            ("uSeR-aGeNt: FooBot\nAlLoW: /x/\ndIsAlLoW: /\n", "foobot", &["/x/y"], &["/a/b"]),
            ("User-Agent: FOO BAR\nAllow: /x/\nDisallow: /\n", "Foo", &["/x/y"], &["/a/b"]),
            ("User-Agent: FoO bAr\nAllow: /x/\nDisallow: /\n", "foo", &["/x/y"], &["/a/b"]),
            ("User-Agent: tapline/1.0\nDisallow: /\n", "tapline/0.9", &[], &["/"]),
            ("User-Agent: *\nDisallow: /\nUser-Agent: Foo Bar\nAllow: /x/\nDisallow: /\n", "Foo", &["/x/y"], &["/a"]),
            // With the mark of UTF-8 before it; a key that only begins alike; an end of a line that few know.
            ("\u{feff}User-Agent: foo bot\nDisallow: /\n", "foo", &[], &["/a"]),
            ("User-Agents: foo bot\nDisallow: /\n", "foo", &["/a"], &[]),
            ("User-Agent: foo bot\0Disallow: /\n", "foo", &[], &["/a"]),
            // The group for everybody is for those without one of their own.
            ("", "FooBot", &["/x/y"], &[]),
            ("user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /\n", "FooBot", &[], &["/x/y"]),
            ("user-agent: *\nallow: /\nuser-agent: FooBot\ndisallow: /\n", "BarBot", &["/x/y"], &[]),
            ("user-agent: FooBot\nallow: /\nuser-agent: BarBot\ndisallow: /\n", "QuxBot", &["/x/y"], &[]),
            // Paths know capitals.
            ("user-agent: FooBot\ndisallow: /x/\n", "FooBot", &[], &["/x/y"]),
            ("user-agent: FooBot\ndisallow: /X/\n", "FooBot", &["/x/y"], &[]),
            // The longest rule counts, and of two as long the one that allows.
            ("user-agent: FooBot\ndisallow: /x/page.html\nallow: /x/\n", "FooBot", &[], &["/x/page.html"]),
            ("user-agent: FooBot\nallow: /x/page.html\ndisallow: /x/\n", "FooBot", &["/x/page.html"], &["/x/"]),
            ("user-agent: FooBot\ndisallow: \nallow: \n", "FooBot", &["/x/page.html"], &[]),
            ("user-agent: FooBot\ndisallow: /\nallow: /\n", "FooBot", &["/x/page.html"], &[]),
            ("user-agent: FooBot\ndisallow: /x\nallow: /x/\n", "FooBot", &["/x/"], &["/x"]),
            ("user-agent: FooBot\nallow: /page\ndisallow: /*.html\n", "FooBot", &["/page"], &["/page.html"]),
            ("user-agent: FooBot\nallow: /x/page.\ndisallow: /*.html\n", "FooBot", &["/x/page.html"], &["/x/y.html"]),
            ("User-agent: *\nDisallow: /x/\nUser-agent: FooBot\nDisallow: /y/\n", "FooBot", &["/x/page"], &["/y/page"]),
            // What is escaped, and what is not.
            (
                "User-agent: FooBot\nDisallow: /\nAllow: /foo/bar?qux=taz&baz=http://foo.bar?tar&par\n",
                "FooBot",
                &["/foo/bar?qux=taz&baz=http://foo.bar?tar&par"],
                &["/foo/bar?qux=taz"],
            ),
            (
                "User-agent: FooBot\nDisallow: /\nAllow: /foo/bar/ツ\n",
                "FooBot",
                &["/foo/bar/%E3%83%84"],
                &["/foo/bar/"],
            ),
            ("User-agent: FooBot\nDisallow: /\nAllow: /foo/bar/%E3%83%84\n", "FooBot", &["/foo/bar/%E3%83%84"], &[]),
            // Wild cards and the end.
            (
                "user-agent: FooBot\ndisallow: /foo/bar/quz\nallow: /foo/*/qux\n",
                "FooBot",
                &["/foo/bar/qux", "/foo/x/qux", "/foo//qux"],
                &["/foo/bar/quz"],
            ),
            (
                "user-agent: FooBot\ndisallow: /foo/bar$\nallow: /foo/bar/qux\n",
                "FooBot",
                &["/foo/bar/qux", "/foo/bar/", "/foo/bar/baz"],
                &["/foo/bar"],
            ),
            (
                "User-agent: FooBot\n# Disallow: /\nDisallow: /foo/quz#qux\nAllow: /\n",
                "FooBot",
                &["/foo/bar"],
                &["/foo/quz"],
            ),
            // Ends of lines of every kind, and the mark of UTF-8 before the first.
            ("\u{feff}user-agent: FooBot\r\ndisallow: /x\rallow: /x/y", "FooBot", &["/x/y", "/z"], &["/x/z"]),
        ];
        for (file, agent, yes, no) in all {
            let at = |path: &str| allowed(file, agent, &format!("http://foo.bar{path}"));
            for path in *yes {
                assert!(at(path), "{path} is allowed to {agent} by\n{file}");
            }
            for path in *no {
                assert!(!at(path), "{path} is forbidden to {agent} by\n{file}");
            }
        }
    }

    const GROUPS: &str = "allow: /foo/bar/\n\nuser-agent: FooBot\ndisallow: /\nallow: /x/\nuser-agent: BarBot\ndisallow: /\n\
         allow: /y/\n\n\nallow: /w/\nuser-agent: BazBot\n\nuser-agent: FooBot\nallow: /z/\ndisallow: /\n";
    /// Lines that are not the protocol's own do not end a group of agents.
    const OTHER_LINES: &str = "User-agent: BarBot\nSitemap: https://foo.bar/sitemap\nUser-agent: *\nDisallow: /\n";

    #[test]
    fn tokens_of_agents() {
        for (agent, token) in
            [("tapline/0.1.0", "tapline"), ("My_Bot-x (me)", "My_Bot-x"), ("", ""), ("ツ", ""), ("a b", "a")]
        {
            assert_eq!(product_token(agent), token);
        }
    }

    #[test]
    fn what_is_forbidden_is_said_with_the_rule() {
        let mut rules = Rules::File(File::new(b"User-agent: *\nDisallow: /quote\nCrawl-delay: 2.5\n"));
        let said = verdict(&mut rules, "tapline", &"https://example.com/quote?key=secret".parse().unwrap());
        assert_eq!(said.crawl_delay, Duration::from_millis(2500));
        insta::assert_snapshot!(said.forbidden.unwrap(), @r#"robots_forbidden: https://example.com/robots.txt does not allow `tapline` to fetch /quote (`Disallow: /quote`); if it does not apply to you, say why: `manners: { robots: { ignore: "the reason" } }`"#);
    }

    #[test]
    fn whatever_the_file_it_is_read() {
        let page = "http://a/b".parse().unwrap();
        for file in [&b"\xff\xfe\0\0"[..], b"user-agent", b"user-agent:", b"User-agent:*\nDisallow:/b", &[b'*'; 4096]] {
            verdict(&mut Rules::File(File::new(file)), "tapline", &page);
        }
        let huge = [&b"User-agent: *\n"[..], &b"# filler\n".repeat(100_000), b"Disallow: /\n"].concat();
        let mut cut = Rules::File(File::new(&huge[..BYTES_MAX]));
        assert_eq!(verdict(&mut cut, "tapline", &page).forbidden, None, "what is beyond 500 KiB is not there");
    }
}
