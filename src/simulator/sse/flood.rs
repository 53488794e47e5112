//! Prepared events of about 1 KB, as fast as they are taken.

use std::sync::Arc;

use crate::simulator::stream::Maker;

/// How many events go into one write.
pub(super) const EVENTS: usize = 32;

const DIGITS: usize = 12;

/// Makes writes of events whose ids and numbers count.
pub(super) fn maker() -> Maker {
    let padding = "x".repeat(850);
    let event = format!(
        "id: {0}\nevent: trade\ndata: {{\"n\":\"{0}\",\"symbol\":\"BTC-USD\",\"price\":\"67123.45\",\"size\":\"0.00420000\",\"side\":\"buy\",\
         \"time\":\"2026-11-23T07:04:05.123456Z\",\"note\":\"{padding}\"}}\n\n",
        "0".repeat(DIGITS)
    );
    let places: Vec<usize> = event.match_indices(&"0".repeat(DIGITS)).map(|(at, _)| at).collect();
    let body = event.repeat(EVENTS);
    let head = format!("{:x}\r\n", body.len());
    let chunk = [head.as_bytes(), body.as_bytes(), b"\r\n"].concat();
    let (first, step) = (head.len(), event.len());
    Maker(Arc::new(move |write| {
        let mut chunk = chunk.clone();
        for index in 0..EVENTS {
            let number = format!("{:0DIGITS$}", write * EVENTS as u64 + index as u64 + 1);
            for place in &places {
                let at = first + index * step + place;
                chunk[at..at + DIGITS].copy_from_slice(number.as_bytes());
            }
        }
        chunk
    }))
}
