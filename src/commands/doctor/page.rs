//! The live page's address: whether it can be listened on, or is.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use crate::config::Http;

use super::case::Case;
use super::finding::Finding;

const CONNECT_MAX: Duration = Duration::from_secs(2);

pub(super) fn check(case: &Case) -> Vec<Finding> {
    let Http::On(keys) = &case.settings.http else { return vec![Finding::ok("there is no page (`http: off`)")] };
    vec![listens(keys.listen, case.service().is_some())]
}

fn listens(address: SocketAddr, service_runs: bool) -> Finding {
    // What is listened on everywhere is reached from here by loopback.
    let mut to = address;
    if to.ip().is_unspecified() {
        to.set_ip(if to.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let answers = TcpStream::connect_timeout(&to, CONNECT_MAX).is_ok();
    match (service_runs, answers) {
        (true, true) => Finding::ok(format!("the page at {address} can be connected to")),
        (true, false) => Finding::warn(
            format!("a service runs, and nobody listens on {address}"),
            "see what it said at its start; it may run with `http: off`, or listen elsewhere (`--http`)",
        ),
        (false, true) => Finding::bad(
            format!("something else listens on {address}, where the page is to be"),
            "choose another address (`http: { listen: \"127.0.0.1:8081\" }`), or end what listens there (`ss -ltnp`)",
        ),
        (false, false) => match TcpListener::bind(address) {
            Ok(_) => Finding::ok(format!("the page can be at {address}")),
            Err(error) => Finding::bad(
                format!("{address}, where the page is to be, cannot be listened on: {error}"),
                "choose an address that this machine has, and a port above 1023 (`http: { listen: … }`)",
            ),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::text;
    use super::*;

    #[test]
    fn who_listens_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = listener.local_addr().unwrap();
        let mut found = vec![listens(taken, true), listens(taken, false)];
        drop(listener);
        found.extend([listens(taken, false), listens(taken, true)]);
        // Of the addresses for documentation, which no machine has.
        found.push(listens(SocketAddr::from(([192, 0, 2, 1], taken.port())), false));
        let text = text(&found).replace(&taken.to_string(), "HERE").replace(&taken.port().to_string(), "PORT");
        insta::assert_snapshot!(text, @r#"
            ok: the page at HERE can be connected to
            bad: something else listens on HERE, where the page is to be
                do: choose another address (`http: { listen: "127.0.0.1:8081" }`), or end what listens there (`ss -ltnp`)
            ok: the page can be at HERE
            warn: a service runs, and nobody listens on HERE
                do: see what it said at its start; it may run with `http: off`, or listen elsewhere (`--http`)
            bad: 192.0.2.1:PORT, where the page is to be, cannot be listened on: Cannot assign requested address (os error 99)
                do: choose an address that this machine has, and a port above 1023 (`http: { listen: … }`)
        "#);
    }
}
