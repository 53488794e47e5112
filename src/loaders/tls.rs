//! TLS for the stores whose drivers take a configuration made here.

use anyhow::Context as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

use crate::store::Target;

/// The options of an address that [`config`] takes.
pub(super) const CA: (&str, &str) = ("ca", "a file with the certificates to trust, instead of the system's");
pub(super) const CERT: (&str, &str) = ("cert", "a file with the client's certificate");
pub(super) const KEY: (&str, &str) = ("cert_key", "a file with the key of the client's certificate");

/// What an address says of TLS: whom to trust, and who we are.
///
/// # Errors
/// When a file cannot be read, or only one half of a certificate is named.
pub(super) fn config(target: &mut Target) -> anyhow::Result<ClientConfig> {
    crate::context::install_crypto();
    let builder = ClientConfig::builder();
    let builder = match target.take(CA.0) {
        Some(file) => builder.with_root_certificates(roots(&file, CA.0)?),
        None => builder.with_platform_verifier().context("cannot use the system's certificates")?,
    };
    Ok(match pair(target)? {
        Some((cert, key)) => {
            let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&cert).and_then(Iterator::collect);
            let chain = chain.with_context(|| format!("cannot read the certificate {cert}"))?;
            let key = PrivateKeyDer::from_pem_file(&key).with_context(|| format!("cannot read the key {key}"))?;
            builder.with_client_auth_cert(chain, key).context("the certificate and the key do not go together")?
        }
        None => builder.with_no_client_auth(),
    })
}

/// The files of the client's certificate and its key.
///
/// # Errors
/// When only one is named.
pub(super) fn pair(target: &mut Target) -> anyhow::Result<Option<(String, String)>> {
    match (target.take(CERT.0), target.take(KEY.0)) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (None, None) => Ok(None),
        (Some(_), None) => anyhow::bail!("`cert` goes with `cert_key`, a file of the other half"),
        (None, Some(_)) => anyhow::bail!("`cert_key` goes with `cert`, a file of the other half"),
    }
}

/// The certificates in a file that `option` names.
///
/// # Errors
/// When it cannot be read, or has none.
pub(super) fn roots(file: &str, option: &str) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).with_context(|| format!("cannot read {option} {file}"))? {
        roots.add(certificate.with_context(|| format!("{option} {file} is damaged"))?)?;
    }
    anyhow::ensure!(!roots.is_empty(), "{option} {file} has no certificate in it");
    Ok(roots)
}
