//! Reaching an endpoint, one step after the other: its name, a connection over each kind of address, TLS, and the time that
//! it says. No page is fetched: of what speaks HTTP the head of `/robots.txt` is asked for, which has the server's date.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use crate::context::Clock;

use super::certificate::{Keeper, Said, refusal};
use super::endpoint::Endpoint;

const LOOKUP_MAX: Duration = Duration::from_secs(5);
const CONNECT_MAX: Duration = Duration::from_secs(5);
const TLS_MAX: Duration = Duration::from_secs(10);
const HEAD_MAX: Duration = Duration::from_secs(5);

/// So many addresses of each kind are tried.
const ADDRESSES_MAX: usize = 2;

/// The head of an answer has no more bytes that are looked at.
const HEAD_BYTES_MAX: u64 = 16 * 1024;

/// What reaches endpoints.
pub(super) struct Prober {
    verifier: Arc<dyn ServerCertVerifier>,
    clock: Arc<dyn Clock>,
}

/// What came of it. The first step that failed is the last that there is.
#[derive(Debug)]
pub(super) enum Probed {
    /// The name leads nowhere.
    NoName(String),
    /// No address answers: what each kind says.
    NoConnection(Kinds),
    /// There is a connection, and no TLS: why, and what to do.
    NoTls(String, &'static str),
    /// It is there.
    Reached(Box<Reached>),
}

/// An endpoint that was reached.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) kinds: Kinds,
    /// What its certificate says, where it has one.
    pub(super) said: Option<Said>,
    /// How far its clock is ahead of ours, where it says a time and is not this machine.
    pub(super) ahead: Option<TimeDelta>,
}

/// How connecting went, by the kind of address; `None` where there is no such address.
#[derive(Debug)]
pub(super) struct Kinds {
    pub(super) v4: Option<Result<Duration, String>>,
    pub(super) v6: Option<Result<Duration, String>>,
}

impl Prober {
    /// # Errors
    /// When the machine has no usable certificate store.
    pub(super) fn new(clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = rustls_platform_verifier::Verifier::new(provider)?;
        Ok(Self { verifier: Arc::new(verifier), clock })
    }

    pub(super) async fn probe(&self, endpoint: &Endpoint) -> Probed {
        let addresses = match resolve(endpoint).await {
            Ok(addresses) => addresses,
            Err(why) => return Probed::NoName(why),
        };
        let of = |is_v4: bool| {
            addresses.iter().copied().filter(move |address| address.is_ipv4() == is_v4).take(ADDRESSES_MAX)
        };
        let (v4, v6) = tokio::join!(connect(of(true).collect()), connect(of(false).collect()));
        let is_here = addresses.iter().all(|address| address.ip().is_loopback());
        let (v4_stream, v4) = v4;
        let (v6_stream, v6) = v6;
        let kinds = Kinds { v4, v6 };
        let Some(stream) = v4_stream.or(v6_stream) else { return Probed::NoConnection(kinds) };
        let (said, ahead) = if endpoint.is_secure {
            match self.secure(endpoint, stream).await {
                Ok(found) => found,
                Err((why, todo)) => return Probed::NoTls(why, todo),
            }
        } else {
            (None, self.ahead(endpoint, stream).await)
        };
        Probed::Reached(Box::new(Reached { kinds, said, ahead: ahead.filter(|_| !is_here) }))
    }

    /// Speaks TLS. The certificate is verified as tapline's HTTP client does.
    async fn secure(
        &self,
        endpoint: &Endpoint,
        stream: TcpStream,
    ) -> Result<(Option<Said>, Option<TimeDelta>), (String, &'static str)> {
        let keeper = Arc::new(Keeper::new(Arc::clone(&self.verifier)));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(|error| (format!("TLS cannot be set up: {error}"), ""))?;
        let mut config =
            config.dangerous().with_custom_certificate_verifier(Arc::clone(&keeper) as _).with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let Ok(name) = ServerName::try_from(endpoint.host.clone()) else {
            return Err((format!("{} is no name that a certificate can have", endpoint.host), "mend the address"));
        };
        let connector = TlsConnector::from(Arc::new(config));
        match timeout(TLS_MAX, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => Ok((keeper.said(), self.ahead(endpoint, stream).await)),
            Ok(Err(error)) => Err(match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
                Some(cause) => refusal(cause, keeper.said().as_ref(), &endpoint.host),
                None => (format!("TLS fails: {error}"), "see whether TLS is spoken at this port at all"),
            }),
            Err(_) => Err((
                format!("TLS: no answer within {}", humantime::format_duration(TLS_MAX)),
                "see whether TLS is spoken at this port, and what stands between (a firewall, a proxy)",
            )),
        }
    }

    /// How far the server's clock is ahead, by the date of its answer. That is cut to the second.
    async fn ahead(&self, endpoint: &Endpoint, stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<TimeDelta> {
        let date = timeout(HEAD_MAX, date(endpoint, stream)).await.ok()??;
        Some(date + TimeDelta::milliseconds(500) - self.clock.now())
    }
}

async fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = endpoint.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, endpoint.port)]);
    }
    match timeout(LOOKUP_MAX, lookup_host((endpoint.host.as_str(), endpoint.port))).await {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {}", humantime::format_duration(LOOKUP_MAX))),
    }
}

/// Connects to the first address that answers.
async fn connect(addresses: Vec<SocketAddr>) -> (Option<TcpStream>, Option<Result<Duration, String>>) {
    let mut failed = None;
    for address in addresses {
        let began = Instant::now();
        match timeout(CONNECT_MAX, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return (Some(stream), Some(Ok(began.elapsed()))),
            Ok(Err(error)) => failed = Some(Err(format!("{}: {error}", address.ip()))),
            Err(_) => {
                let most = humantime::format_duration(CONNECT_MAX);
                failed = Some(Err(format!("{}: no answer within {most}", address.ip())));
            }
        }
    }
    (None, failed)
}

/// The date in the head of an answer.
async fn date(endpoint: &Endpoint, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Option<DateTime<Utc>> {
    let version = env!("CARGO_PKG_VERSION");
    let request = format!(
        "HEAD /robots.txt HTTP/1.1\r\nHost: {endpoint}\r\nUser-Agent: tapline/{version} (doctor)\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut head = Vec::new();
    let mut limited = stream.take(HEAD_BYTES_MAX);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if limited.read_buf(&mut head).await.ok()? == 0 {
            break;
        }
    }
    date_of(&String::from_utf8_lossy(&head))
}

fn date_of(head: &str) -> Option<DateTime<Utc>> {
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("date").then(|| value.trim())
    });
    DateTime::parse_from_rfc2822(value?).ok().map(|date| date.to_utc())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_answers() {
        let head = "HTTP/1.1 404 Not Found\r\nServer: x\r\ndate: Mon, 23 Nov 2026 07:04:05 GMT\r\n\r\n";
        assert_eq!(date_of(head), Some("2026-11-23T07:04:05Z".parse().unwrap()));
        assert_eq!(date_of("HTTP/1.1 200 OK\r\n\r\n"), None);
        assert_eq!(date_of("SSH-2.0-OpenSSH_9.2\r\n"), None);
    }
}
