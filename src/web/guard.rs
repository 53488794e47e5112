//! What every request must be before it is answered, and what every answer says of itself.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};

use super::site::Site;

/// The cookie that a browser keeps the token in.
const COOKIE: &str = "tapline_token";

/// No script but our own, nothing from elsewhere, no frame around it, forms only to here.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// What every answer says of itself.
const SAID: [(HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // With `no-referrer` a browser would hide the origin of our own forms, too.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Answers only what may be answered.
pub(super) async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let mut response = match allowed(&site, &request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused,
    };
    let headers = response.headers_mut();
    for (name, value) in SAID {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn refuse(status: StatusCode, why: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{why}\n")).into_response()
}

#[expect(clippy::result_large_err, reason = "the refusal is the answer")]
fn allowed(site: &Site, request: &Request) -> Result<(), Response> {
    let headers = request.headers();
    let host = one(headers, &header::HOST);
    if !host.is_some_and(|host| is_ours(site, host)) {
        // A name that somebody else has made to point here would let their page read ours (DNS rebinding).
        return Err(refuse(
            StatusCode::MISDIRECTED_REQUEST,
            "this is not asked for by a name that it goes by; add the name to http.hosts, or use 127.0.0.1",
        ));
    }
    if is_cross_site(headers, host.unwrap_or_default(), request.method()) {
        return Err(refuse(StatusCode::FORBIDDEN, "another site may not ask for this"));
    }
    if request.method() == Method::POST && site.token().is_none() {
        return Err(refuse(StatusCode::FORBIDDEN, "nothing may be sent here without a token; set http.token"));
    }
    if ![Method::GET, Method::HEAD, Method::POST].contains(request.method()) {
        return Err(refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET, HEAD and POST"));
    }
    match site.token() {
        Some(token) if !is_open(request.uri().path()) => {
            let sent = bearer(headers).or_else(|| cookie(headers));
            if sent.is_some_and(|sent| token.is(sent)) { Ok(()) } else { Err(ask(request)) }
        }
        _ => Ok(()),
    }
}

/// What says only whether all is well, or asks for the token itself.
fn is_open(path: &str) -> bool {
    matches!(path, "/health" | "/ready" | "/login") || path.starts_with("/assets/")
}

/// A person is asked for the token; a program is told.
fn ask(request: &Request) -> Response {
    let wants_page = one(request.headers(), &header::ACCEPT).is_some_and(|accept| accept.contains("text/html"));
    if wants_page && request.method() == Method::GET {
        return Redirect::to("/login").into_response();
    }
    let said = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, said, "the token is wanted, as `Authorization: Bearer …`\n").into_response()
}

/// The value of a header that is there once.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

/// Whether the name in `Host` is one of ours: an address of this machine's own, `localhost`, or one that the settings
/// name. The port is the browser's affair: a container's is published under another.
fn is_ours(site: &Site, host: &str) -> bool {
    let name = host_name(host);
    if name.eq_ignore_ascii_case("localhost") || site.hosts().iter().any(|known| known.eq_ignore_ascii_case(name)) {
        return true;
    }
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_ok_and(|address| {
        // An address cannot be made to point elsewhere, so any may be asked for where it is listened on.
        address.is_loopback() || site.listens_beyond_loopback()
    })
}

/// The name without the port.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Whether a page of another site asks. A link that somebody follows to a page here is none of that.
fn is_cross_site(headers: &HeaderMap, host: &str, method: &Method) -> bool {
    if let Some(origin) = headers.get(header::ORIGIN) {
        let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        let is_same = origin.is_some_and(|origin| origin.authority().is_some_and(|of| of.as_str() == host));
        return !is_same;
    }
    let site = headers.get("sec-fetch-site").and_then(|value| value.to_str().ok());
    let is_navigation = headers.get("sec-fetch-mode").is_some_and(|mode| mode == "navigate") && method == Method::GET;
    matches!(site, Some("cross-site" | "same-site")) && !is_navigation
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    one(headers, &header::AUTHORIZATION)?.strip_prefix("Bearer ").map(str::trim)
}

fn cookie(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|cookies| cookies.split(';')).find_map(|cookie| cookie.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// The header by which a browser keeps the token.
pub(super) fn keep(token: &str) -> String {
    format!("{COOKIE}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_without_ports() {
        for (host, name) in [
            ("localhost:8080", "localhost"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1", "127.0.0.1"),
            ("evil.example", "evil.example"),
        ] {
            assert_eq!(host_name(host), name);
        }
    }

    #[test]
    fn pages_of_other_sites_are_told_from_ours() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
        };
        for (pairs, is_cross) in [
            (&[][..], false),
            (&[("origin", "http://localhost:8080")], false),
            (&[("origin", "http://evil.example")], true),
            (&[("origin", "null")], true),
            (&[("origin", "http://localhost:9090")], true),
            (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")], true),
            (&[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")], false),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")], false),
            (&[("sec-fetch-site", "none"), ("sec-fetch-mode", "navigate")], false),
        ] {
            assert_eq!(is_cross_site(&headers(pairs), "localhost:8080", &Method::GET), is_cross, "{pairs:?}");
        }
    }
}
