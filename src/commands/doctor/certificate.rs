//! Certificates: verified as everywhere in tapline, and kept, so that it can be said what is wrong with one.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

/// So many names of a certificate are said.
const NAMES_MAX: usize = 4;

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    /// Whom it is for.
    pub(super) names: Vec<String>,
    pub(super) from: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
}

impl Said {
    /// Reads one; `None` when it is damaged.
    fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let read = Certificate::from_der(certificate).ok()?.tbs_certificate;
        let time = |time: x509_cert::time::Time| {
            DateTime::from_timestamp(i64::try_from(time.to_unix_duration().as_secs()).ok()?, 0)
        };
        let names = read.get::<SubjectAltName>().ok().flatten().map_or_else(Vec::new, |(_, names)| names.0);
        Some(Self {
            names: names.iter().filter_map(shown).collect(),
            from: time(read.validity.not_before)?,
            until: time(read.validity.not_after)?,
        })
    }

    /// The names in a few words.
    pub(super) fn names(&self) -> String {
        match &self.names[..] {
            [] => "nobody".to_owned(),
            names if names.len() <= NAMES_MAX => names.join(", "),
            names => format!("{} and {} more names", names[..NAMES_MAX].join(", "), names.len() - NAMES_MAX),
        }
    }
}

fn shown(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(name.to_string()),
        GeneralName::IpAddress(address) => match *address.as_bytes() {
            [a, b, c, d] => Some(std::net::Ipv4Addr::new(a, b, c, d).to_string()),
            ref bytes => Some(std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_string()),
        },
        _ => None,
    }
}

/// Verifies as another does, and keeps what it was shown.
#[derive(Debug)]
pub(super) struct Keeper {
    inner: Arc<dyn ServerCertVerifier>,
    said: Mutex<Option<Said>>,
}

impl Keeper {
    pub(super) fn new(inner: Arc<dyn ServerCertVerifier>) -> Self {
        Self { inner, said: Mutex::default() }
    }

    /// What the certificate said that was shown last.
    pub(super) fn said(&self) -> Option<Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ServerCertVerifier for Keeper {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = Said::read(certificate);
        self.inner.verify_server_cert(certificate, others, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Why TLS failed, and what to do, in words that name what the certificate says.
pub(super) fn refusal(error: &Error, said: Option<&Said>, host: &str) -> (String, &'static str) {
    let names = said.map_or_else(|| "another name".to_owned(), Said::names);
    let day = |at: fn(&Said) -> DateTime<Utc>| {
        said.map_or_else(String::new, |said| format!(" {}", at(said).format("%Y-%m-%d")))
    };
    let Error::InvalidCertificate(error) = error else {
        return (
            format!("TLS fails: {error}"),
            "see whether TLS is spoken at this port at all, and which versions (1.2 is the least)",
        );
    };
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            format!("its certificate has expired{}", day(|said| said.until)),
            "tell whoever runs the server, and see that this clock is right",
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            format!("its certificate is not valid before{}", day(|said| said.from)),
            "see that this clock is right; else tell whoever runs the server",
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => (
            format!("its certificate is for {names}, and not for {host}"),
            "use a name that the certificate is for, or tell whoever runs the server",
        ),
        CertificateError::UnknownIssuer => (
            "its certificate is signed by nobody whom this machine trusts".to_owned(),
            "install the system's certificates (package ca-certificates), or have your own authority among them (SSL_CERT_FILE names a file of them)",
        ),
        error => (format!("its certificate is refused: {error}"), "tell whoever runs the server"),
    }
}
