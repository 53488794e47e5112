//! Summaries of earthquakes as the USGS publishes them: `GeoJSON`, made anew at each step, with quakes that are revised and go out
//! of the list when they are older than it reaches.

use serde_json::{Value, json};

use super::EPOCH;
use crate::simulator::server::{Reply, Request};

/// One quake a minute of its own time: so many are in a summary of an hour, and of a day.
const FEEDS: [(&str, u64); 2] = [("all_hour", 60), ("all_day", 1440)];

/// Every other quake is revised so many steps after it was listed.
pub const REVISED_AFTER: u64 = 3;

/// A path of a summary.
pub(super) fn is_summary(path: &str) -> bool {
    reach(path).is_some()
}

fn reach(path: &str) -> Option<u64> {
    let feed = path.strip_prefix("/earthquakes/feed/v1.0/summary/")?.strip_suffix(".geojson")?;
    FEEDS.iter().find(|(name, _)| *name == feed).map(|(_, quakes)| *quakes)
}

/// What is in a summary at a step: the number of each quake, and whether it has been revised.
pub fn listed(step: u64, quakes: u64) -> impl Iterator<Item = (u64, bool)> {
    let first = (step + 1).saturating_sub(quakes);
    (first..=step).rev().map(move |number| (number, number.is_multiple_of(2) && step - number >= REVISED_AFTER))
}

pub(super) fn summary(request: &Request, path: &str, step: u64) -> Reply {
    let tag = format!("\"{step}\"");
    if request.header("if-none-match") == Some(&tag) {
        return Reply::new(304, "application/json", "").with("ETag", tag);
    }
    let features: Vec<Value> = listed(step, reach(path).unwrap_or(0)).map(feature).collect();
    let made = (EPOCH + i64::try_from(step).unwrap_or(0) * 60) * 1000;
    let body = json!({
        "type": "FeatureCollection",
        "metadata": { "generated": made, "url": "https://earthquake.usgs.gov/earthquakes/feed/v1.0/summary/all_day.geojson",
            "title": "USGS All Earthquakes, Past Day", "status": 200, "api": "1.14.1", "count": features.len() },
        "features": features, "bbox": [-179.9, -60.1, -3.5, 179.9, 70.2, 600],
    });
    Reply::new(200, "application/json; charset=utf-8", body.to_string())
        .with("ETag", tag)
        .with("Cache-Control", "public, max-age=60")
}

fn feature((number, is_revised): (u64, bool)) -> Value {
    let time = (EPOCH + i64::try_from(number).unwrap_or(0) * 60) * 1000;
    let (status, updated) = if is_revised { ("reviewed", time + 200_040) } else { ("automatic", time + 90_123) };
    let code = format!("{number:08}");
    json!({
        "type": "Feature",
        "properties": { "mag": 1.5, "place": "7 km NW of The Geysers, CA", "time": time, "updated": updated, "tz": null,
            "url": format!("https://earthquake.usgs.gov/earthquakes/eventpage/nc{code}"), "felt": null, "cdi": null, "mmi": null,
            "alert": null, "status": status, "tsunami": 0, "sig": 35, "net": "nc", "code": code, "ids": format!(",nc{code},"),
            "sources": ",nc,", "types": ",nearby-cities,origin,phase-data,", "nst": 12, "dmin": 0.0125, "rms": 0.02, "gap": 71,
            "magType": "md", "type": "earthquake", "title": "M 1.5 - 7 km NW of The Geysers, CA" },
        "geometry": { "type": "Point", "coordinates": [-122.809_166, 38.821_834, 1.92] },
        "id": format!("nc{code}"),
    })
}
