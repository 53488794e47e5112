//! How a person is told that something is broken: one file per way. This file is the one list of them.
//!
//! To add one: write `alerts/<way>.rs` (a [`DestinationKind`], a [`Destination`], tests), then add its two lines here.
//! Tests then fail until `docs/alerts.md` has it.

pub mod command;
mod http;
pub mod slack;
pub mod smtp;
pub mod webhook;

use std::time::Duration;

use crate::alert::{Destination, DestinationKind, Kind, Wrong};
use crate::config::{Alert, nearest};
use crate::context::Context;
use crate::secrets;
use crate::store::Target;

/// Every way of telling.
pub const DESTINATIONS: &[DestinationKind] = &[command::KIND, slack::KIND, smtp::KIND, webhook::KIND];

/// How long a destination may take unless it is said otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A destination, ready to be told.
pub struct Opened {
    /// Which way it is.
    pub kind: &'static DestinationKind,
    /// What it is called.
    pub name: String,
    /// Its address as it may be shown.
    pub shown: String,
    /// What is told there; everything, when it is empty.
    pub only: Vec<Kind>,
    /// How long it may take.
    pub timeout: Duration,
    /// The destination itself.
    pub destination: Box<dyn Destination>,
}

/// Makes a destination of what the service's file says. No network yet.
///
/// # Errors
/// The key that is wrong, and why, in words that show nothing secret.
pub fn open(alert: &Alert, context: &Context) -> Result<Opened, Wrong> {
    let kind = kind_of(&alert.to).map_err(|why| ("to", why))?;
    let target = Target::parse(&alert.to, kind.options).map_err(|why| ("to", anyhow::Error::msg(why)))?;
    if !kind.has_query {
        target.finish(kind.options).map_err(|why| ("to", why))?;
    }
    if let Some(key) = alert.own_keys().find(|key| !kind.keys.contains(key)) {
        return Err((
            key,
            anyhow::anyhow!("a destination of the kind `{}` has no `{key}`; leave the key out", kind.name),
        ));
    }
    let shown = secrets::hide(&(kind.shown)(&target)).into_owned();
    let name = alert.name.clone().unwrap_or_else(|| default_name(kind, &target));
    let timeout = alert.timeout.map_or(TIMEOUT, |timeout| timeout.0);
    Ok(Opened {
        kind,
        name,
        shown,
        only: alert.only.clone(),
        timeout,
        destination: (kind.open)(alert, target, context)?,
    })
}

fn kind_of(to: &str) -> anyhow::Result<&'static DestinationKind> {
    let all = || DESTINATIONS.iter().flat_map(|kind| kind.schemes.iter().copied());
    let known = || all().collect::<Vec<_>>().join(", ");
    let Some((scheme, _)) = to.split_once(':') else {
        anyhow::bail!("this is no address; it begins with one of: {}", known());
    };
    let scheme = scheme.to_ascii_lowercase();
    if let Some(kind) = DESTINATIONS.iter().find(|kind| kind.schemes.contains(&scheme.as_str())) {
        return Ok(kind);
    }
    // Somebody may have written a secret where the scheme should be.
    match nearest(&scheme, all()) {
        Some(near) => anyhow::bail!("nobody is told by an address that begins so; did you mean `{near}:`?"),
        None => anyhow::bail!("nobody is told by an address that begins so; there are: {}", known()),
    }
}

/// What a destination is called unless it is named: its kind and its host, or its program.
fn default_name(kind: &DestinationKind, target: &Target) -> String {
    let place =
        if target.hosts().is_empty() { target.path().rsplit('/').next().unwrap_or_default() } else { target.hosts() };
    let words = place.split(|other: char| !other.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut name = words.fold(kind.name.to_owned(), |name, word| name + "-" + &word.to_ascii_lowercase());
    name.truncate(60);
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::context::SystemClock;

    fn context() -> Context {
        Context::new(Arc::new(SystemClock))
    }

    #[test]
    fn every_way_has_its_own_name_and_schemes_and_an_example_that_opens() {
        let (mut names, mut schemes) = (BTreeSet::new(), BTreeSet::new());
        for kind in DESTINATIONS {
            assert!(names.insert(kind.name), "{} is there twice", kind.name);
            assert!(kind.schemes.iter().all(|scheme| schemes.insert(*scheme)), "{} shares a scheme", kind.name);
            let options = serde_saphyr::options! { strict_booleans: true };
            let alert: Alert = serde_saphyr::from_str_with_options(kind.example, options).unwrap();
            let opened = open(&alert, &context()).unwrap_or_else(|(key, error)| panic!("{key}: {error:#}"));
            assert_eq!(opened.kind.name, kind.name);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_key_and_without_secrets() {
        let wrong = |alert: &Alert| {
            let (key, why) = open(alert, &context()).err().unwrap();
            format!("{key}: {why:#}")
        };
        let to = |to: &str| wrong(&Alert::new(to));
        assert_eq!(
            to("slak+https://h/secret"),
            "to: nobody is told by an address that begins so; did you mean `slack+https:`?"
        );
        assert_eq!(
            to("carrier-pigeon:home"),
            "to: nobody is told by an address that begins so; there are: command, slack+https, slack+http, smtp, smtps, https, http"
        );
        assert!(to("T0K3N").starts_with("to: this is no address; it begins with one of: command, "));
        assert_eq!(to("https:///path"), "to: the address names no host; write `https://HOST`");
        assert_eq!(to("smtp://h?tsl=none"), "to: `tsl` in the address means nothing; did you mean `tls`?");
        let extra = Alert { recipients: vec!["me@example.org".into()], ..Alert::new("https://h/") };
        assert_eq!(
            wrong(&extra),
            "recipients: a destination of the kind `webhook` has no `recipients`; leave the key out"
        );
    }

    #[test]
    fn what_is_shown_has_no_secret() {
        let shown = |alert: &Alert| {
            let opened = open(alert, &context()).unwrap_or_else(|(key, error)| panic!("{key}: {error:#}"));
            (opened.shown, opened.name)
        };
        let is = |alert: &Alert, expected: &str, name: &str| {
            assert_eq!(shown(alert), (expected.to_owned(), name.to_owned()));
        };
        is(
            &Alert::new("https://me:pw@h.example:8443/secret?key=secret"),
            "https://h.example:8443/…",
            "webhook-h-example-8443",
        );
        is(
            &Alert::new("slack+https://hooks.slack.example/services/T0/B0/x"),
            "slack+https://hooks.slack.example/…",
            "slack-hooks-slack-example",
        );
        is(&Alert::new("command:/usr/local/bin/page-me"), "command:/usr/local/bin/page-me", "command-page-me");
        let mail = Alert {
            from: Some("tap@example.org".into()),
            recipients: vec!["me@example.org".into()],
            ..Alert::new("smtp://user:pw@mail.example:587")
        };
        is(&mail, "smtp://mail.example:587", "smtp-mail-example-587");
    }
}
