//! How a client of NATS shows who it is, and whom it trusts.

use std::path::PathBuf;

use async_nats::{ConnectError, ConnectErrorKind, ConnectOptions};

use crate::loaders::tls;
use crate::store::{StoreError, Target};

/// What the address says of it. Secret.
pub(super) struct Login {
    /// With a password, or alone as a token.
    user: Option<String>,
    password: Option<String>,
    creds: Option<PathBuf>,
    nkey: Option<String>,
    is_tls: bool,
    ca: Option<PathBuf>,
    client: Option<(PathBuf, PathBuf)>,
}

impl Login {
    pub(super) fn take(target: &mut Target) -> anyhow::Result<Self> {
        let (creds, nkey) = (target.take("creds"), target.take("nkey"));
        let both = creds.is_some() && nkey.is_some();
        anyhow::ensure!(!both, "`creds` and `nkey` are two ways to log in; leave one out");
        let client = tls::pair(target)?.map(|(cert, key)| (cert.into(), key.into()));
        let ca: Option<PathBuf> = target.take(tls::CA.0).map(Into::into);
        Ok(Self {
            user: target.user(),
            password: target.password(),
            creds: creds.map(Into::into),
            nkey,
            is_tls: target.scheme().ends_with("tls") || ca.is_some() || client.is_some(),
            ca,
            client,
        })
    }

    pub(super) async fn options(&self) -> anyhow::Result<ConnectOptions> {
        let mut options = ConnectOptions::new().require_tls(self.is_tls);
        options = match (&self.user, &self.password) {
            (Some(user), Some(password)) => options.user_and_password(user.clone(), password.clone()),
            (Some(token), None) => options.token(token.clone()),
            (None, _) => options,
        };
        if let Some(nkey) = &self.nkey {
            options = options.nkey(nkey.clone());
        }
        if let Some(creds) = &self.creds {
            let read = options.credentials_file(creds).await;
            options = read.map_err(|error| anyhow::anyhow!("the credentials in {}: {error}", creds.display()))?;
        }
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if let Some((cert, key)) = &self.client {
            options = options.add_client_certificate(cert.clone(), key.clone());
        }
        Ok(options)
    }
}

/// What a connection that could not be made means for the loop.
pub(super) fn connect_error(error: &ConnectError, cause: anyhow::Error) -> StoreError {
    match error.kind() {
        ConnectErrorKind::ServerParse
        | ConnectErrorKind::Authentication
        | ConnectErrorKind::AuthorizationViolation
        | ConnectErrorKind::Tls => StoreError::Stop(cause),
        // A certificate that is not trusted comes as an error of the socket.
        _ if format!("{cause:#}").contains("certificate") => StoreError::Stop(cause),
        _ => StoreError::Lost(cause),
    }
}
