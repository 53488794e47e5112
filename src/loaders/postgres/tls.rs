//! TLS as the addresses of `PostgreSQL` name it: `sslmode` and `sslrootcert`
//! (<https://www.postgresql.org/docs/current/libpq-ssl.html>).

use std::sync::Arc;

use anyhow::Context as _;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::loaders::tls::roots;
use crate::store::Target;

/// How a connection is secured.
#[derive(Clone)]
pub(super) struct SslMode {
    mode: tokio_postgres::config::SslMode,
    config: ClientConfig,
}

impl SslMode {
    /// Takes what the address says. `prefer`, the default, takes any certificate, as it takes no TLS at all; with
    /// `require` and `verify-full` the server must be the one that is named.
    pub(super) fn take(target: &mut Target) -> anyhow::Result<Self> {
        use tokio_postgres::config::SslMode as Mode;
        crate::context::install_crypto();
        let (mode, verifies) = match target.take_other("sslmode").as_deref() {
            Some("disable") => (Mode::Disable, false),
            None | Some("prefer") => (Mode::Prefer, false),
            Some("require" | "verify-full") => (Mode::Require, true),
            Some(other) => {
                anyhow::bail!("`sslmode={other}` is not known; there are: disable, prefer, require, verify-full")
            }
        };
        let builder = ClientConfig::builder();
        let config = match (target.take_other("sslrootcert"), verifies) {
            (Some(file), _) => builder.with_root_certificates(roots(&file, "sslrootcert")?),
            (None, true) => builder.with_platform_verifier().context("cannot use the system's certificates")?,
            (None, false) => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody)),
        };
        Ok(Self { mode, config: config.with_no_client_auth() })
    }

    pub(super) fn for_driver(&self) -> tokio_postgres::config::SslMode {
        self.mode
    }

    pub(super) fn connector(&self) -> MakeRustlsConnect {
        MakeRustlsConnect::new(self.config.clone())
    }
}

/// Takes whoever answers: where plain text would be taken too, a certificate that nobody signed is no worse.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = CryptoProvider::get_default().expect("invariant: it was chosen before");
        provider.signature_verification_algorithms.supported_schemes()
    }
}
