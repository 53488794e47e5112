//! The HTTP endpoint of a running service.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Http, HttpKeys};
use crate::context::Context;
use crate::pipeline::folder::Files;
use crate::report::trial::Report;
use crate::web::{self, Limits, Listening, Site, Token, Trial};

use super::parts::Parts;
use super::sources;

/// How long a stream is listened to by the form that tries a source.
const LISTEN: Duration = Duration::from_secs(8);

/// How long a source may take that somebody tries.
const TRY_MAX: Duration = Duration::from_secs(20);

/// A port that another program has is asked for again after this time.
const RETRY_EVERY: Duration = Duration::from_secs(30);

/// The endpoint, as long as it is there.
pub struct Serving {
    files: watch::Sender<Files>,
    started: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Serving {
    /// Starts the endpoint that the settings ask for. A port that cannot be had is said, and keeps nothing else.
    ///
    /// # Errors
    /// When the file of the token cannot be read or made.
    pub fn start(parts: &Parts, since: DateTime<Utc>) -> anyhow::Result<Self> {
        let (files, files_seen) = watch::channel(Files::default());
        let (started, is_started) = watch::channel(false);
        let stop = CancellationToken::new();
        let mut serving = Self { files, started, task: None, stop: stop.clone() };
        let Http::On(keys) = &parts.shared.settings.http else { return Ok(serving) };
        let token = token_of(keys, &parts.shared.context)?;
        let site = Site::new(web::Parts {
            fs: Arc::clone(&parts.fs),
            root: parts.root.clone(),
            context: parts.shared.context.clone(),
            writer: parts.shared.writer.clone(),
            files: files_seen,
            since,
            started: is_started,
            disk_free: parts.shared.settings.limits.disk_free,
            trial: Arc::new(Try(parts.shared.context.clone())),
            hosts: keys.hosts.clone(),
            token: token.as_deref().map(Token::new),
            beyond_loopback: !keys.listen.ip().is_loopback(),
        });
        let router = web::router(&Arc::new(site));
        let address = keys.listen;
        serving.task = Some(tokio::spawn(async move {
            if let Some(listening) = listen(address, &stop).await {
                web::serve(listening, router, Limits::default(), stop).await;
            }
        }));
        Ok(serving)
    }

    /// The files of the sources have been looked at.
    pub fn set_files(&self, files: Files) {
        self.files.send_replace(files);
    }

    /// The streams have been taken up.
    pub fn set_started(&self) {
        self.started.send_replace(true);
    }

    /// Ends it, with what is being answered.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Some(task) = self.task {
            task.await.ok();
        }
    }
}

/// The token that the settings name.
///
/// # Errors
/// When its file cannot be read or made.
pub fn token_of(keys: &HttpKeys, context: &Context) -> anyhow::Result<Option<String>> {
    match (&keys.token, &keys.token_file) {
        (Some(token), _) => Ok(Some(token.clone())),
        (None, Some(file)) => web::read_or_make(file, &context.random_token()).context("http.token_file").map(Some),
        (None, None) => Ok(None),
    }
}

/// Takes the port, as soon as it can be had.
async fn listen(address: SocketAddr, stop: &CancellationToken) -> Option<Listening> {
    let mut is_said = false;
    loop {
        match Listening::on(address).await {
            Ok(listening) => {
                tracing::info!("the page is at http://{}", listening.address);
                return Some(listening);
            }
            Err(error) if !std::mem::replace(&mut is_said, true) => {
                tracing::error!(%address, error = %error, "there is no page: the address cannot be listened on; everything else goes on, and it is tried again; set http.listen to another, or http: off");
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(RETRY_EVERY) => {}
        }
    }
}

/// Tries what somebody has typed into the form.
struct Try(Context);

#[async_trait]
impl Trial for Try {
    async fn try_source(&self, name: &str, yaml: &str) -> Result<Report, Vec<String>> {
        let config = sources::read_source(name, yaml)
            .map_err(|wrong| wrong.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        let mut source = config.open(&self.0).map_err(|error| vec![format!("{error:#}")])?;
        let listen = config.schedule.is_none().then_some(LISTEN);
        let tried = Report::of(&config.name, config.transform.as_ref(), source.as_mut(), listen, &self.0);
        tokio::time::timeout(TRY_MAX, tried)
            .await
            .map_err(|_| vec![format!("nothing came of it within {}", humantime::format_duration(TRY_MAX))])
    }
}
