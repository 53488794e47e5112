//! What carries segments into stores: one file per store. This file is the one list of them.
//!
//! To add one: write `loaders/<store>.rs` (a [`StoreKind`], a [`Store`], tests), then add its two
//! lines here. Tests then fail until `docs/loaders.md` has it.

pub mod amqp;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod mongodb;
pub mod mqtt;
pub mod nats;
pub mod postgres;
pub mod redis;
pub mod s3;
pub mod sqlite;
mod tls;

use crate::config::nearest;
use crate::context::Context;
use crate::secrets;
use crate::store::{Store, StoreKind, Target};

/// Every store.
pub const STORES: &[StoreKind] = &[
    amqp::KIND,
    http::clickhouse::KIND,
    http::couchdb::KIND,
    http::elasticsearch::ELASTICSEARCH,
    http::elasticsearch::OPENSEARCH,
    #[cfg(feature = "kafka")]
    kafka::KIND,
    mongodb::KIND,
    mqtt::KIND,
    nats::KIND,
    postgres::KIND,
    redis::KIND,
    s3::KIND,
    sqlite::KIND,
    http::webhook::KIND,
];

/// The schemes of stores that bring slow C code, and the feature that each is behind. The released image has them all.
const BEHIND: &[(&str, &str)] = &[("kafka", "kafka"), ("kafkas", "kafka-tls")];

/// A store of an address, ready to be connected.
pub struct Opened {
    /// Which store it is.
    pub kind: &'static StoreKind,
    /// The address as it may be shown.
    pub shown: String,
    /// What a loader to there is called unless it is named.
    pub name: String,
    /// The store itself.
    pub store: Box<dyn Store>,
}

/// Makes the store of an address. No network yet.
///
/// # Errors
/// What is wrong with the address, in words that show nothing secret.
pub fn open(to: &str, context: &Context) -> anyhow::Result<Opened> {
    let scheme = to.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let Some(kind) = STORES.iter().find(|kind| kind.schemes.contains(&scheme.as_str())) else {
        let all = || STORES.iter().flat_map(|kind| kind.schemes.iter().copied());
        // Where there is no scheme at all, the text says so better.
        Target::parse(to, &[]).map_err(anyhow::Error::msg)?;
        if let Some(why) = left_out(&scheme) {
            anyhow::bail!(why);
        }
        match nearest(&scheme, all()) {
            Some(near) => anyhow::bail!("`{scheme}` is no store; did you mean `{near}`?"),
            None => anyhow::bail!("`{scheme}` is no store; there are: {}", all().collect::<Vec<_>>().join(", ")),
        }
    };
    let target = Target::parse(to, kind.options).map_err(anyhow::Error::msg)?;
    let (shown, name) = (secrets::hide(&target.to_string()).into_owned(), target.default_name());
    Ok(Opened { kind, shown, name, store: (kind.open)(target, context)? })
}

/// What is said of a store that this build may be without.
fn left_out(scheme: &str) -> Option<String> {
    let (_, feature) = BEHIND.iter().find(|(behind, _)| *behind == scheme)?;
    Some(format!(
        "this build of tapline cannot load into {scheme}; build it with `--features {feature}`, or take the released image"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::context::SystemClock;

    #[test]
    fn every_store_has_its_own_name_and_schemes_and_an_example_that_opens() {
        let context = Context::new(Arc::new(SystemClock));
        let (mut names, mut schemes) = (BTreeSet::new(), BTreeSet::new());
        for kind in STORES {
            assert!(names.insert(kind.name), "{} is there twice", kind.name);
            assert!(kind.schemes.iter().all(|scheme| schemes.insert(*scheme)), "{} shares a scheme", kind.name);
            let opened = open(kind.example, &context).unwrap_or_else(|error| panic!("{}: {error:#}", kind.example));
            assert_eq!(opened.kind.name, kind.name);
            assert!(kind.limits.records > 0 && kind.limits.bytes > 0);
        }
        assert!(names.len() == STORES.len());
    }

    #[test]
    fn what_is_no_store_is_said() {
        let context = Context::new(Arc::new(SystemClock));
        let wrong = |to: &str| open(to, &context).err().unwrap().to_string();
        assert_eq!(wrong("sqlit:a.db"), "`sqlit` is no store; did you mean `sqlite`?");
        let of_kafka = "this build of tapline cannot load into kafka; build it with `--features kafka`, or take the released image";
        assert_eq!((left_out("kafka").as_deref(), left_out("ftp")), (Some(of_kafka), None));
        let said = open("kafka://h", &context).err().map(|error| error.to_string());
        assert_eq!(said.as_deref(), (!cfg!(feature = "kafka")).then_some(of_kafka));
        assert!(wrong("ftp://h").starts_with("`ftp` is no store; there are: "));
        assert!(wrong("a.db").starts_with("this is no address of a store"));
    }
}
