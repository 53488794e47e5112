//! The bodies of X's errors, as they are documented and as users have reported them.

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use crate::simulator::server::Reply;

fn problem(kind: &str) -> String {
    format!("https://api.x.com/2/problems/{kind}")
}

pub(super) fn json(status: u16, body: &Value) -> Reply {
    Reply::new(status, "application/json; charset=utf-8", body.to_string())
}

/// A parameter that is not known, or not as it should be.
pub fn invalid(parameter: &str, value: &str, message: &str) -> Reply {
    json(
        400,
        &json!({
            "errors": [{ "parameters": { parameter: [value] }, "message": message }],
            "title": "Invalid Request",
            "detail": "One or more parameters to your request was invalid.",
            "type": problem("invalid-request"),
        }),
    )
}

/// No token, or a wrong one.
pub fn unauthorized() -> Reply {
    json(401, &json!({ "title": "Unauthorized", "type": "about:blank", "status": 401, "detail": "Unauthorized" }))
}

/// The credits are used up.
pub fn credits_depleted() -> Reply {
    json(
        402,
        &json!({ "title": "CreditsDepleted", "detail": "Your account does not have any credits left.", "type": problem("credits") }),
    )
}

/// The app is not attached to a project with access.
pub fn not_enrolled() -> Reply {
    json(
        403,
        &json!({
            "client_id": "10000001",
            "detail": "When authenticating requests to the Twitter API v2 endpoints, you must use keys and tokens from a Twitter developer App that is attached to a Project.",
            "registration_url": "https://developer.x.com/en/docs/projects/overview",
            "title": "Client Forbidden",
            "required_enrollment": "Appropriate Level of API Access",
            "reason": "client-not-enrolled",
            "type": problem("client-forbidden"),
        }),
    )
}

/// Signed where only a bearer token is taken.
pub fn unsupported_authentication() -> Reply {
    json(
        403,
        &json!({
            "title": "Unsupported Authentication",
            "detail": "Authenticating with OAuth 1.0a User Context is forbidden for this endpoint.  Supported authentication types are [OAuth 2.0 Application-Only].",
            "status": 403,
            "type": problem("unsupported-authentication"),
        }),
    )
}

/// There are no rules.
pub fn without_rules() -> Reply {
    json(
        409,
        &json!({
            "title": "ConnectionException",
            "detail": "You must define rules using the POST /2/tweets/search/stream/rules endpoint before connecting to filtered stream.",
            "connection_issue": "RuleConfigurationIssue",
            "type": problem("streaming-connection"),
        }),
    )
}

/// One connection too many.
pub fn too_many_connections() -> Reply {
    connection_issue(429, "TooManyConnections", "This stream is currently at the maximum allowed connection limit.")
}

/// Another issue with a connection.
pub fn connection_issue(status: u16, issue: &str, detail: &str) -> Reply {
    let body = json!({
        "title": "ConnectionException", "detail": detail, "connection_issue": issue, "type": problem("streaming-connection"),
    });
    json(status, &body)
}

/// No more posts in this month.
pub fn usage_capped() -> Reply {
    json(
        429,
        &json!({
            "account_id": 1, "product_name": "standard-basic", "title": "UsageCapExceeded", "period": "Monthly",
            "scope": "Product", "detail": "Usage cap exceeded: Monthly product cap", "type": problem("usage-capped"),
        }),
    )
}

/// Asked too often.
pub fn rate_limited() -> Reply {
    json(
        429,
        &json!({ "title": "Too Many Requests", "detail": "Too Many Requests", "type": "about:blank", "status": 429 }),
    )
}

/// Out of order.
pub fn unavailable() -> Reply {
    json(
        503,
        &json!({ "title": "Service Unavailable", "detail": "Service Unavailable", "type": "about:blank", "status": 503 }),
    )
}

/// A page where JSON should be.
pub fn html(status: u16) -> Reply {
    Reply::new(
        status,
        "text/html; charset=utf-8",
        "<html><head><title>X</title></head><body><h1>Something is technically wrong.</h1></body></html>",
    )
}

/// The headers of a rate window.
pub(super) fn with_window(reply: Reply, limit: u64, left: u64, reset: DateTime<Utc>) -> Reply {
    reply
        .with("x-rate-limit-limit", limit.to_string())
        .with("x-rate-limit-remaining", left.to_string())
        .with("x-rate-limit-reset", reset.timestamp().to_string())
}

/// The message with which a stream ends.
pub(super) fn disconnect(kind: &str, is_wrapped: bool) -> Vec<u8> {
    let control = json!({
        "title": "operational-disconnect", "disconnect_type": kind,
        "detail": "This stream has been disconnected upstream for operational reasons.",
        "type": problem("operational-disconnect"),
    });
    let message = if is_wrapped { json!({ "errors": [control] }) } else { control };
    format!("{message}\r\n").into_bytes()
}

/// A refusal of a rule.
pub(super) fn rule_error(value: &str, kind: &str, title: &str, details: Option<&str>, id: Option<&str>) -> Value {
    let mut error = json!({ "value": value, "title": title, "type": problem(kind) });
    if let Some(details) = details {
        error["details"] = json!([details]);
    }
    if let Some(id) = id {
        error["id"] = json!(id);
    }
    error
}
