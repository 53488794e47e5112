//! Whether the hosts that sources connect to can be reached: their names, connections, certificates, clocks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::time::{Instant, timeout_at};

use super::case::Case;
use super::clock;
use super::endpoint::{Endpoint, Endpoints, names};
use super::finding::Finding;
use super::probe::{Kinds, Probed, Prober, Reached};

/// So many are tried at once, and for so long in all.
const AT_ONCE: usize = 16;
const ALL_MAX: Duration = Duration::from_secs(30);

/// A certificate that ends sooner should have been renewed.
const RENEWED_BEFORE: TimeDelta = TimeDelta::days(7);

/// The dates of answers are cut to the second.
const AHEAD_OK: TimeDelta = TimeDelta::seconds(2);
const AHEAD_MAX: TimeDelta = TimeDelta::seconds(30);

/// Programs that use proxies look at these; tapline does not.
const PROXIES: &[&str] = &["HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"];

pub(super) fn check(case: &Case) -> BoxFuture<'_, Vec<Finding>> {
    async move {
        let (mut endpoints, mut silent) = (Endpoints::default(), BTreeSet::new());
        for source in case.sources.good.iter().filter(|source| source.enabled) {
            let upstream = source.settings.upstream();
            if upstream.is_empty() {
                silent.insert(source.kind.to_owned());
            }
            for endpoint in upstream.iter().filter_map(Endpoint::of) {
                endpoints.add(endpoint, &source.name);
            }
        }
        let mut findings = proxies(&|name| std::env::var_os(name).is_some(), !endpoints.0.is_empty());
        if endpoints.0.is_empty() {
            findings.push(Finding::ok("no source connects to anything that is known before"));
        }
        findings.extend(reach(case, &endpoints).await);
        if !silent.is_empty() {
            findings
                .push(Finding::ok(format!("where sources of kind {} connect to is not known before", names(&silent))));
        }
        findings
    }
    .boxed()
}

/// Tries all of them beside each other.
pub(super) async fn reach(case: &Case, endpoints: &Endpoints) -> Vec<Finding> {
    let prober = match Prober::new(Arc::clone(&case.clock)) {
        Ok(prober) => prober,
        Err(error) => {
            return vec![Finding::bad(
                format!("no connection can be secured: {error:#}"),
                "install the system's certificates (package ca-certificates)",
            )];
        }
    };
    let deadline = Instant::now() + ALL_MAX;
    let mut tries = Vec::new();
    for endpoint in endpoints.0.keys() {
        tries.push(timeout_at(deadline, prober.probe(endpoint)));
    }
    let results: Vec<_> = stream::iter(tries).buffered(AT_ONCE).collect().await;
    let (mut findings, mut ahead, mut late) = (Vec::new(), Vec::new(), 0);
    for ((endpoint, who), result) in endpoints.0.iter().zip(results) {
        let Ok(result) = result else {
            late += 1;
            continue;
        };
        if let Probed::Reached(reached) = &result {
            ahead.extend(reached.ahead.map(|ahead| (endpoint.to_string(), ahead)));
        }
        findings.extend(judge(endpoint, &names(who), &result, case.now()));
    }
    if late > 0 {
        findings.push(Finding::warn(
            format!("{late} hosts were not reached, or not looked at, within {}", humantime::format_duration(ALL_MAX)),
            "see what is said of the others; run this again once they are well",
        ));
    }
    findings.extend(clocks(ahead));
    findings
}

fn judge(endpoint: &Endpoint, who: &str, probed: &Probed, now: DateTime<Utc>) -> Vec<Finding> {
    let place = format!("{endpoint} ({who})");
    match probed {
        Probed::NoName(why) => vec![Finding::bad(
            format!("{place}: the name is not found: {why}"),
            "see that the name is right, and that names are found here at all (/etc/resolv.conf, the network of a container)",
        )],
        Probed::NoConnection(kinds) => vec![Finding::bad(
            format!("{place}: there is no connection: {}", kinds.failures()),
            "see that the host and the port are right, and what stands between (a firewall, a network of a container)",
        )],
        Probed::NoTls(why, todo) => vec![Finding::bad(format!("{place}: {why}"), *todo)],
        Probed::Reached(reached) => reached_findings(&place, reached, now),
    }
}

fn reached_findings(place: &str, reached: &Reached, now: DateTime<Utc>) -> Vec<Finding> {
    let Reached { kinds, said, .. } = reached;
    let certificate = said.as_ref().map_or_else(String::new, |said| {
        format!("; certificate for {} until {}", said.names(), said.until.format("%Y-%m-%d"))
    });
    let mut findings = vec![Finding::ok(format!("{place}: reached {}{certificate}", kinds.successes()))];
    if kinds.has_both_results() {
        findings.push(Finding::warn(
            format!("{place}: one kind of address does not answer: {}", kinds.failures()),
            "each new connection may wait for it; switch that kind off on this machine, or mend its route",
        ));
    }
    if let Some(said) = said.as_ref().filter(|said| said.until - now < RENEWED_BEFORE) {
        findings.push(Finding::warn(
            format!("{place}: its certificate ends in {}", clock::words(said.until - now)),
            "whoever runs the server should have renewed it by now",
        ));
    }
    findings
}

impl Kinds {
    fn each(&self) -> impl Iterator<Item = (&'static str, &Result<Duration, String>)> {
        [("IPv4", &self.v4), ("IPv6", &self.v6)].into_iter().filter_map(|(kind, tried)| Some((kind, tried.as_ref()?)))
    }

    fn failures(&self) -> String {
        let failed = self.each().filter_map(|(kind, tried)| Some(format!("{kind} {}", tried.as_ref().err()?)));
        failed.collect::<Vec<_>>().join("; ")
    }

    fn successes(&self) -> String {
        let reached = self
            .each()
            .filter_map(|(kind, tried)| Some(format!("over {kind} in {} ms", tried.as_ref().ok()?.as_millis())));
        reached.collect::<Vec<_>>().join(", ")
    }

    fn has_both_results(&self) -> bool {
        self.each().any(|(_, tried)| tried.is_ok()) && self.each().any(|(_, tried)| tried.is_err())
    }
}

fn proxies(is_set: &dyn Fn(&str) -> bool, has_endpoints: bool) -> Vec<Finding> {
    let set: Vec<&str> = PROXIES.iter().copied().filter(|name| is_set(name)).collect();
    if set.is_empty() || !has_endpoints {
        return Vec::new();
    }
    vec![Finding::warn(
        format!("{} is set, and tapline goes through no proxy", set.join(", ")),
        "if this machine reaches others only by the proxy, sources are not reached: allow connections to their hosts",
    )]
}

/// What the clocks of hosts say of this one.
fn clocks(mut ahead: Vec<(String, TimeDelta)>) -> Option<Finding> {
    ahead.sort_by_key(|(_, ahead)| *ahead);
    let (host, median) = ahead.get(ahead.len() / 2)?;
    let count = ahead.len();
    if median.abs() <= AHEAD_OK {
        let others =
            ahead.iter().filter(|(_, ahead)| (*ahead - *median).abs() > AHEAD_MAX).map(|(host, _)| host.clone());
        let others: BTreeSet<String> = others.collect();
        let but = if others.is_empty() { String::new() } else { format!("; that of {} is wrong", names(&others)) };
        return Some(Finding::ok(format!("this clock agrees with those of {count} hosts, to the second or two{but}")));
    }
    let way = if *median > TimeDelta::zero() { "behind" } else { "ahead of" };
    let words = if count == 1 {
        format!("this clock is {} {way} that of {host}", clock::words(median.abs()))
    } else {
        format!("this clock is {} {way} those of hosts ({count} were asked)", clock::words(median.abs()))
    };
    let todo = "have a time service keep this clock right (systemd-timesyncd, chrony): every record bears its time";
    Some(if median.abs() > AHEAD_MAX && count > 1 { Finding::bad(words, todo) } else { Finding::warn(words, todo) })
}

#[cfg(test)]
mod tests {
    use super::super::certificate::Said;
    use super::super::finding::text;
    use super::*;

    fn endpoint(text: &str) -> Endpoint {
        Endpoint::of(&text.parse().unwrap()).unwrap()
    }

    #[test]
    fn what_comes_of_a_probe_is_said() {
        let now: DateTime<Utc> = "2026-11-23T07:04:05Z".parse().unwrap();
        let at = endpoint("https://example.com/");
        let millis = |millis| Some(Ok(Duration::from_millis(millis)));
        let failed = || Some(Err("2001:db8::1: no answer within 5s".to_owned()));
        let reached = |kinds, days| {
            let until = now + TimeDelta::days(days);
            let said = Said { names: vec!["example.com".to_owned(), "*.example.com".to_owned()], from: now, until };
            Probed::Reached(Box::new(Reached { kinds, said: Some(said), ahead: None }))
        };
        let found: Vec<Finding> = [
            Probed::NoName("failed to lookup address information: Name or service not known".to_owned()),
            Probed::NoConnection(Kinds {
                v4: Some(Err("192.0.2.1: Connection refused (os error 111)".to_owned())),
                v6: failed(),
            }),
            Probed::NoTls("its certificate has expired 2026-11-01".to_owned(), "do something"),
            reached(Kinds { v4: millis(12), v6: millis(15) }, 60),
            reached(Kinds { v4: millis(12), v6: failed() }, 3),
        ]
        .iter()
        .flat_map(|probed| judge(&at, "one, two", probed, now))
        .collect();
        insta::assert_snapshot!(text(&found), @"
            bad: example.com:443 (one, two): the name is not found: failed to lookup address information: Name or service not known
                do: see that the name is right, and that names are found here at all (/etc/resolv.conf, the network of a container)
            bad: example.com:443 (one, two): there is no connection: IPv4 192.0.2.1: Connection refused (os error 111); IPv6 2001:db8::1: no answer within 5s
                do: see that the host and the port are right, and what stands between (a firewall, a network of a container)
            bad: example.com:443 (one, two): its certificate has expired 2026-11-01
                do: do something
            ok: example.com:443 (one, two): reached over IPv4 in 12 ms, over IPv6 in 15 ms; certificate for example.com, *.example.com until 2027-01-22
            ok: example.com:443 (one, two): reached over IPv4 in 12 ms; certificate for example.com, *.example.com until 2026-11-26
            warn: example.com:443 (one, two): one kind of address does not answer: IPv6 2001:db8::1: no answer within 5s
                do: each new connection may wait for it; switch that kind off on this machine, or mend its route
            warn: example.com:443 (one, two): its certificate ends in 3d
                do: whoever runs the server should have renewed it by now
        ");
    }

    #[test]
    fn clocks_of_hosts() {
        let of = |ahead: &[i64]| {
            let hosts = ahead.iter().enumerate();
            clocks(hosts.map(|(index, ahead)| (format!("host{index}:443"), TimeDelta::seconds(*ahead))).collect())
        };
        assert_eq!(of(&[]), None);
        let found: Vec<Finding> = [&[0, 1, -1][..], &[0, 1, 900], &[4, 5, 6], &[-300, -301, -299], &[3600], &[9]]
            .into_iter()
            .filter_map(of)
            .collect();
        insta::assert_snapshot!(text(&found), @"
            ok: this clock agrees with those of 3 hosts, to the second or two
            ok: this clock agrees with those of 3 hosts, to the second or two; that of host2:443 is wrong
            warn: this clock is 5s behind those of hosts (3 were asked)
                do: have a time service keep this clock right (systemd-timesyncd, chrony): every record bears its time
            bad: this clock is 5m ahead of those of hosts (3 were asked)
                do: have a time service keep this clock right (systemd-timesyncd, chrony): every record bears its time
            warn: this clock is 1h behind that of host0:443
                do: have a time service keep this clock right (systemd-timesyncd, chrony): every record bears its time
            warn: this clock is 9s behind that of host0:443
                do: have a time service keep this clock right (systemd-timesyncd, chrony): every record bears its time
        ");
    }

    #[test]
    fn proxies_are_not_used() {
        assert!(proxies(&|_| false, true).is_empty());
        assert!(proxies(&|_| true, false).is_empty());
        let found = proxies(&|name| name.eq_ignore_ascii_case("https_proxy"), true);
        insta::assert_snapshot!(text(&found), @"
            warn: HTTPS_PROXY, https_proxy is set, and tapline goes through no proxy
                do: if this machine reaches others only by the proxy, sources are not reached: allow connections to their hosts
        ");
    }
}
