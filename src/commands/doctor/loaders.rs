//! Whether each store can be loaded into, as far as it says without being sent anything.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};
use tokio::time::timeout;

use crate::config::Load;
use crate::context::Context;
use crate::loaders::{self, Opened};
use crate::pipeline::load::{Health, State, loader_key};
use crate::store::{StoreError, Target};

use super::case::Case;
use super::endpoint::{Endpoint, Endpoints};
use super::finding::Finding;
use super::network;

/// How long a store may take to answer.
const LOOK_MAX: Duration = Duration::from_secs(15);

const MEANWHILE: &str = "nothing is lost meanwhile: what is not loaded waits in the segments";

pub(super) fn check(case: &Case) -> BoxFuture<'_, Vec<Finding>> {
    async move {
        if case.settings.loaders.is_empty() {
            return vec![Finding::ok("there are no loaders")];
        }
        let context = Context::new(Arc::clone(&case.clock));
        let (mut looks, mut endpoints) = (Vec::new(), Endpoints::default());
        for config in &case.settings.loaders {
            looks.push(look(case, config, &context));
            // An address that is none was said by the check of files.
            let opened = loaders::open(&config.to, &context).ok();
            if let Some((endpoint, opened)) = opened.and_then(|opened| Some((http_endpoint(&config.to)?, opened))) {
                endpoints.add(endpoint, config.name.as_deref().unwrap_or(&opened.name));
            }
        }
        let (looked, reached) = tokio::join!(join_all(looks), network::reach(case, &endpoints));
        looked.into_iter().flatten().chain(reached).collect()
    }
    .boxed()
}

/// Where a store over HTTP is: its certificate is looked at as a source's is.
fn http_endpoint(to: &str) -> Option<Endpoint> {
    let target = Target::parse(to, &[]).ok()?;
    let scheme = target.scheme().rsplit('+').next()?.to_owned();
    let is_http = matches!(scheme.as_str(), "http" | "https");
    Endpoint::of(&target.url(&scheme).ok().filter(|_| is_http)?)
}

async fn look(case: &Case, config: &Load, context: &Context) -> Option<Finding> {
    let mut opened = loaders::open(&config.to, context).ok()?;
    let name = config.name.clone().unwrap_or_else(|| opened.name.clone());
    let health = health(case, &name);
    // A loader that runs is connected; some stores close one connection of a name for another.
    if case.service().is_some() && health.as_ref().is_some_and(|health| health.state == State::Loading) {
        return Some(Finding::ok(format!("{name}: the service is connected to {}", opened.shown)));
    }
    let looked = timeout(LOOK_MAX, opened.store.look()).await.unwrap_or_else(|_| {
        let most = humantime::format_duration(LOOK_MAX);
        Err(StoreError::Lost(anyhow::anyhow!("{}: no answer within {most}", opened.shown)))
    });
    let parked = health.filter(|health| case.service().is_some() && health.state == State::Parked);
    Some(judge(&name, &opened, looked, parked.and_then(|health| health.error)))
}

/// What the loader last said of itself.
fn health(case: &Case, name: &str) -> Option<Health> {
    let state = case.committed.as_ref().ok()?.state();
    serde_json::from_str(state.get(&loader_key(name))?.get()).ok()
}

fn judge(name: &str, opened: &Opened, looked: Result<(), StoreError>, parked: Option<String>) -> Finding {
    let (kind, to) = (opened.kind.name, &opened.shown);
    match looked {
        Ok(()) => match parked {
            Some(error) => Finding::bad(
                format!("{name}: {kind} at {to} answers, and the loader is parked: {error}"),
                format!("mend what is said there; the loader looks again by itself. {MEANWHILE}"),
            ),
            None => Finding::ok(format!("{name}: {kind} at {to} answers")),
        },
        Err(
            StoreError::Stop(cause) | StoreError::Refused(cause) | StoreError::Shrink(cause) | StoreError::Moved(cause),
        ) => Finding::bad(
            format!("{name}: it refuses: {cause:#}"),
            format!("mend the login or the address in `loaders:`. {MEANWHILE}"),
        ),
        Err(StoreError::Busy { cause, .. }) => Finding::warn(
            format!("{name}: it is busy, or not ready yet: {cause:#}"),
            format!("see how the store is; it is tried again by itself. {MEANWHILE}"),
        ),
        Err(StoreError::Lost(cause)) => Finding::bad(
            format!("{name}: it is not reached: {cause:#}"),
            format!("start the store, or mend its address in `loaders:`. {MEANWHILE}"),
        ),
    }
}
